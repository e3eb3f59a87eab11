"""Connections of several delays: spikes as they are now, and as they were some steps before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from snn_helpers._checks import check_int
from snn_helpers.engine.spikes import Spikes, delayed
from snn_helpers.neurons.hidden import HiddenState


class Delay(HiddenState):
    """Copies of spikes, each delayed by a fixed number of steps, side by side: what follows connects to all of them.

    One step of a network, as neurons of `init_hidden=True` are; `accelerate` shifts all steps at once.

    Parameters
    ----------
    delays : sequence of int >= 0
        Steps, all different; 0 for the spikes as they are now.

    Raises
    ------
    TypeError, ValueError
        If there is no delay, one is negative or no whole number, or one is given twice.

    Notes
    -----
    out[t] = (spk[t - d] for d in delays) along axis 1, zeros before the first step. The delays are fixed here; I.
    Hammouamri et al., Learning delays in spiking neural networks using dilated convolutions with learnable spacings,
    ICLR 2024, learns them.

    Examples
    --------
    >>> delay = Delay([0, 2])
    >>> [delay(torch.tensor([[spk]])).tolist() for spk in (1.0, 2.0, 3.0)]
    [[[1.0, 0.0]], [[2.0, 0.0]], [[3.0, 1.0]]]
    """

    def __init__(self, delays: Sequence[int]):
        super().__init__()
        listed = delays if isinstance(delays, Iterable) and not isinstance(delays, str) else ()
        self.delays = tuple(check_int("delays", delay, low=0) for delay in listed)
        if not self.delays or len(set(self.delays)) < len(self.delays):
            raise ValueError(f"`delays` must be numbers of steps, all different, such as (0, 2, 4); got {delays!r}.")

    def forward(self, spk: Tensor) -> Tensor:
        """Compute one time step: spikes [B, C, ...] to [B, len(delays) C, ...]."""
        line = (spk.clone(), *self.hidden_for(spk))  # newest first; whoever gets the spikes may change them
        self.hidden = line[: max(self.delays)]
        zeros = torch.zeros_like(spk)
        return torch.cat([line[delay] if delay < len(line) else zeros for delay in self.delays], 1)

    def over_time(self, spk: Tensor | Spikes) -> Tensor | Spikes:
        """Compute all steps: spikes [T, B, C, ...] to [T, B, len(delays) C, ...]; `Spikes` stay in bytes."""
        return spk.delayed(self.delays) if isinstance(spk, Spikes) else delayed(spk, self.delays)

    def go_on(self, spk: Tensor) -> Tensor:
        """Compute further steps [T, B, C, ...] after those whose last spikes are the state; keep the last of these."""
        past = self.hidden_for(spk[0])
        line = torch.cat([torch.stack(past[::-1]), spk]) if past else spk
        self.hidden = tuple(line.flip(0)[: max(self.delays)])
        return delayed(line, self.delays)[len(past) :]

    def extra_repr(self) -> str:
        """Return the delays, as `print(model)` shows them."""
        return f"{self.delays}"
