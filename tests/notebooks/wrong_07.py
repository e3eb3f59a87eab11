"""Wrong answers to the exercises of notebook 07, with words of the message that each must get."""

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


def matched(per_place=True, convs=True, rounded=int):
    def match_hidden(target, channels, places, num_classes):
        first, second = channels
        in_convs = 9 * (2 * first + 2 * first * first + first * second + 2 * second * second) if convs else 0
        return rounded((target - in_convs) / ((places if per_place else 1) * second))

    return match_hidden


WRONG = {
    "silence": [
        (silenced("outer.weights.weight"), "the branch fires always: the last shift"),
        (silenced("inner.weights.weight", "inner.weights.bias", "inner.norm.bias"), "the branch"),
        (without_skip, "nothing comes out at all: keep the skip"),
        (silenced(threshold=1e9), "the branch is silent for good"),
        (lambda block: "silent", "return the block; got str"),
    ],
    "match_hidden": [
        (matched(per_place=False), "a neuron has a weight for each place of each channel"),
        (matched(convs=False), "the convolutions have parameters, too"),
        (matched(rounded=lambda value: value + 0.5), "neurons are counted in whole numbers"),
        (lambda target, channels, places, num_classes: 128, "parameters, not"),
    ],
}
