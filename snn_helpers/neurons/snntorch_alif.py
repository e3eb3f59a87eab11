"""ALIF in snnTorch's own form, which ships none: one step a call, the state handed in and out."""

from __future__ import annotations

import snntorch
import torch
from torch import Tensor


class SNNTorchALIF(snntorch.SpikingNeuron):
    """Leaky neuron with an adaptive threshold, to be called as (cur, mem, adapted) -> (spk, mem, adapted).

    Written from the equations of G. Bellec et al. 2018 alone, so that it can stand as a reference beside
    `snn_helpers.ALIF`. With the spike s of the step before, which follows from its membrane and threshold:

        a <- rho a + (1 - rho) s,  u <- beta u + cur - (threshold + b a_before) s,  s <- 1 where u > threshold + b a

    Parameters
    ----------
    beta, rho : Tensor []
        Decays of membrane and adaptation per step, in [0, 1].
    threshold, adaptation : Tensor []
        Threshold at rest, and its rise b when the neuron always fires.
    spike_grad : callable
        Step function with a surrogate gradient, as snnTorch's neurons take it.
    """

    def __init__(self, beta: Tensor, threshold: Tensor, rho: Tensor, adaptation: Tensor, spike_grad):
        super().__init__(threshold=1.0, spike_grad=spike_grad)
        self.beta, self.threshold, self.rho, self.adaptation = beta, threshold, rho, adaptation

    def forward(self, cur: Tensor, mem: Tensor | None = None, adapted: Tensor | None = None):
        """Advance by one step; None starts at zero.

        Parameters
        ----------
        cur, mem, adapted : Tensor [B, ...]
            Input current, membrane, adaptation a in [0, 1].

        Returns
        -------
        spk, mem, adapted : Tensor [B, ...]
            Spikes in {0, 1} and the new state.
        """
        zero = torch.zeros_like(cur)
        adapted = zero if adapted is None else adapted
        threshold = self.threshold + self.adaptation * adapted
        spk = zero if mem is None else self.spike_grad(mem - threshold)  # nothing fired before the first step
        mem = zero if mem is None else mem
        mem = self.beta * mem + cur - spk.detach() * threshold
        adapted = self.rho * adapted + (1.0 - self.rho) * spk
        return self.spike_grad(mem - (self.threshold + self.adaptation * adapted)), mem, adapted
