"""Wrong answers to the exercises of notebook 04, with words of the message that each must get."""

import torch

from snn_helpers.models.resnet import ResidualBlock


def silenced(*names, threshold=None):
    """Return an answer that zeroes the parameters whose names end so, or raises the threshold."""

    @torch.no_grad()
    def silence(block):
        for name, parameter in block.named_parameters():
            if name.endswith(names):
                parameter.zero_()
        if threshold:
            block.outer.neurons.threshold = threshold
        return block

    return silence


def without_skip(block):
    norm = "batch" if hasattr(block.outer, "norm") else "none"
    block = ResidualBlock(8, skip="none", norm=norm)
    return silenced("weight", "bias")(block)


def matched(places=64, convs=True, rounded=int):
    def match_hidden(target, channels):
        first, second = channels
        in_convs = 9 * (2 * first + 2 * first * first + first * second + 2 * second * second) if convs else 0
        return rounded((target - in_convs) / (places * second))

    return match_hidden


WRONG = {
    "check_silence": [
        (silenced("outer.weights.weight"), "the branch fires always: the last shift"),
        (silenced("inner.weights.weight", "inner.weights.bias", "inner.norm.bias"), "the branch"),
        (without_skip, "nothing comes out at all: keep the skip"),
        (silenced(threshold=1e9), "the branch is silent for good"),
        (lambda block: "silent", "return the block; got str"),
    ],
    "check_values_after": [
        (lambda n: range(n + 1), "a place holds a spike or none: 0 or 1"),
        (lambda n: (0, 1), "this addition is not an OR"),
        (lambda n: range(2**n + 1), "it does not double the sum"),
        (lambda n: range(min(n, 1), n + 2), "both may be silent"),
    ],
    "check_match_hidden": [
        (matched(places=16), "8 x 8 places a channel are left"),
        (matched(convs=False), "the convolutions have parameters, too"),
        (matched(rounded=lambda value: value + 0.5), "neurons are counted in whole numbers"),
        (lambda target, channels: 128, "parameters, not"),
    ],
}
