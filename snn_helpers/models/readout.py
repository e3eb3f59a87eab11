"""How output spikes become a class: one rule, for the whole recording and for every step of it."""

from __future__ import annotations

import torch
from torch import Tensor


def decide(output: tuple[Tensor, Tensor]) -> Tensor:
    """Return the class of each recording, int64 [B]: the neuron with most spikes, of equals the higher membrane.

    Parameters
    ----------
    output : (spk_rec, mem_rec), each [T, B, classes]
        What a network answers, for example a `SpikeOutput`.
    """
    spk_rec, mem_rec = output
    return _most(spk_rec.sum(0), mem_rec.mean(0))


def decide_so_far(spk_rec: Tensor, mem_rec: Tensor) -> Tensor:
    """Return what `decide` would answer if the recording ended after each step.

    Parameters
    ----------
    spk_rec, mem_rec : Tensor [T, B, classes]
        Output spikes and membranes.

    Returns
    -------
    Tensor int64 [T, B]
        The last row is `decide`'s.
    """
    steps = torch.arange(1, len(spk_rec) + 1, device=spk_rec.device).view(-1, 1, 1)
    return _most(spk_rec.cumsum(0), mem_rec.cumsum(0) / steps)


def _most(counts: Tensor, membrane: Tensor) -> Tensor:
    """Break ties of counts by the membrane, which is squeezed to less than one spike."""
    return (counts + torch.sigmoid(membrane) / 2).argmax(-1)
