"""Checks of the exercises of notebook 04: what a skip hands on, what sums of spikes can be, and parameters matched."""

from __future__ import annotations

from collections.abc import Callable

import torch

from snn_helpers.lessons.answers import as_numbers, ask, exercise, refuse_if


@exercise
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


@exercise
def check_values_after(values_after: Callable) -> str:
    """Check `values_after(n)`, what one place can hold at one step after n blocks that add spike by spike."""
    from snn_helpers.models.resnet import ResidualBlock
    from snn_helpers.over_time import accelerate

    def values(n: int) -> list[float]:
        answer = sorted(ask(values_after, n))
        return [float(as_numbers("each value", value)) for value in answer]

    refuse_if(values(0) == [0], "before any block a place holds a spike or none: 0 or 1")
    refuse_if(values(0) != [0, 1], f"before any block a place holds 0 or 1, not {values(0)}")
    one = values(1)
    refuse_if(one == [0, 1], "a sum of two spikes is 2: this addition is not an OR")
    refuse_if(one == [1, 2], "both may be silent: 0 is possible")
    refuse_if(one != [0, 1, 2], f"one block adds at most one spike to 0 or 1, which gives 0, 1 or 2, not {one}")
    three = values(3)
    refuse_if(max(three) == 8, "each block adds one spike, it does not double the sum")
    refuse_if(three != [0, 1, 2, 3, 4], f"three blocks add at most three spikes to 0 or 1: not {three}")
    spk = torch.ones(3, 1, 4, 5, 5)
    for n in range(1, 3):
        block = ResidualBlock(4, norm="none")
        torch.nn.init.ones_(block.inner.weights.weight), torch.nn.init.ones_(block.outer.weights.weight)
        spk = accelerate(block)(spk).detach()
        refuse_if(float(spk.max()) != max(values(n)), f"blocks that always fire reach {float(spk.max()):g} after {n}")
    return "0 to n + 1, and blocks that always fire reach the largest"


@exercise
def check_match_hidden(match_hidden: Callable) -> str:
    """Check that `match_hidden(target, channels)` gives a SpikingResNet of `target` parameters within 5 percent."""
    from snn_helpers.models.resnet import SpikingResNet

    for target, channels in ((620_000, (32, 64)), (620_000, (64, 96)), (100_000, (8, 16)), (300_000, (48, 48))):
        hidden = float(as_numbers("the number of hidden neurons", ask(match_hidden, target, channels)))
        refuse_if(hidden != int(hidden) or hidden < 1, f"neurons are counted in whole numbers from 1, not {hidden:g}")
        model = SpikingResNet(channels=channels, hidden=int(hidden))
        total = sum(parameter.numel() for parameter in model.parameters())
        full = sum(parameter.numel() for parameter in model.hidden.parameters())
        found = f"channels {channels} with {hidden:g} hidden neurons have {total:,} parameters, not {target:,}"
        right = abs(total - target) <= 0.05 * target
        share = full / (target - (total - full))  # of what is left for the hidden layer
        refuse_if(
            not right and (abs(share - 4) < 0.2 or abs(share - 0.25) < 0.02),
            f"{found}: after two halvings of 34 pixels, 8 x 8 places a channel are left",
        )
        refuse_if(not right and abs(full - target) < 0.05 * target, f"{found}: the convolutions have parameters, too")
        refuse_if(not right, found)
    return "four networks of different widths come out within 5 percent of the number asked for"
