"""Exercises of `07_spiking_resnet`: solutions and their checks."""

from __future__ import annotations

from collections.abc import Callable

import torch

from snn_helpers.lessons.answers import as_numbers, ask, exercise, refuse_if


def silence(block):
    """Make the branch of a ResidualBlock silent, and return the block."""
    with torch.no_grad():
        for parameter in block.outer.parameters():
            parameter.zero_()
    return block


@exercise(silence)
def check_silence(silence: Callable) -> str:
    """Check that `silence(block)` returns the block as the identity, with a branch that can still learn."""
    from snn_helpers.models.resnet import ResidualBlock
    from snn_helpers.over_time import accelerate

    counts = torch.randint(0, 3, (5, 2, 8, 6, 6), generator=torch.Generator().manual_seed(0)).float()
    for norm in ("none", "batch"):
        block = ResidualBlock(8, threshold=0.5, norm=norm)
        with torch.no_grad():  # as training may leave them: able to fire without any input
            (block.outer.weights.bias if norm == "none" else block.outer.norm.bias).fill_(1.0)
        silent = ask(silence, block)
        refuse_if(not isinstance(silent, ResidualBlock), f"return the block; got {type(silent).__name__}")
        out = accelerate(silent)(counts)
        refuse_if(not out.any(), "nothing comes out at all: keep the skip, silence the branch")
        branch = out - counts
        refuse_if(bool((branch == 1).all()), "the branch fires always: the last shift, its bias, is still there")
        refuse_if(bool(branch.any()), "the branch still fires: what its last neurons get must be zero, shift included")
        (out * torch.arange(1.0, 6.0).view(-1, 1, 1, 1, 1)).sum().backward()
        pull = sum(float(p.grad.abs().sum()) for p in silent.parameters() if p.grad is not None)
        refuse_if(pull < 1e-3, "the branch is silent for good: its gradient is zero, so it could never learn to speak")
    return "the block hands on what it gets, with and without normalisation, and its branch can still learn"


def match_hidden(target, channels, places, num_classes):
    """Return how many hidden neurons give a SpikingResNet of `target` parameters."""
    first, second = channels
    stem_and_down = 9 * 2 * first + 9 * first * second
    blocks = 2 * 9 * first * first + 2 * 9 * second * second
    weights_per_neuron = places * second + num_classes
    return round((target - stem_and_down - blocks) / weights_per_neuron)


@exercise(match_hidden)
def check_match_hidden(match_hidden: Callable) -> str:
    """Check that `match_hidden` gives a SpikingResNet of `target` parameters within 5 percent."""
    from snn_helpers.models.resnet import SpikingResNet

    asked = (
        (620_000, (32, 64), 34, 10),
        (620_000, (64, 96), 34, 10),
        (100_000, (8, 16), 34, 4),
        (300_000, (48, 48), 20, 20),
    )
    for target, channels, size, num_classes in asked:
        places = (size // 4) ** 2
        answer = ask(match_hidden, target, channels, places, num_classes)
        hidden = float(as_numbers("the number of hidden neurons", answer))
        refuse_if(hidden != int(hidden) or hidden < 1, f"neurons are counted in whole numbers from 1, not {hidden:g}")
        model = SpikingResNet(channels=channels, hidden=int(hidden), image_size=size, num_classes=num_classes)
        total = sum(parameter.numel() for parameter in model.parameters())
        full = sum(parameter.numel() for parameter in model.hidden.parameters())
        text = f"channels {channels} with {hidden:g} hidden neurons have {total:,} parameters, not {target:,}"
        right = abs(total - target) <= 0.05 * target
        share = full / (target - (total - full))  # of what is left for the hidden layer
        refuse_if(not right and share > places / 2, f"{text}: a neuron has a weight for each place of each channel")
        refuse_if(not right and abs(full - target) < 0.05 * target, f"{text}: the convolutions have parameters, too")
        refuse_if(not right, f"{text}: count six convolutions, and the weights of a hidden neuron as in the hint")
    return "four networks of different widths come out within 5 percent of the number asked for"
