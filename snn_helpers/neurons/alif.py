"""Leaky neurons with an adaptive threshold, and the same in snnTorch's own form, which ships none."""

from __future__ import annotations

from typing import ClassVar

import snntorch
import torch
from torch import Tensor

from snn_helpers.neurons.base import SpikingNeuron, register_neuron


@register_neuron
class ALIF(SpikingNeuron):
    """Leaky neurons whose threshold rises with their own firing.

    Parameters
    ----------
    beta, threshold
        As for `Leaky`.
    rho : float or Tensor, in [0, 1]
        Decay of the adaptation per step, exp(-dt / tau_adaptation).
    adaptation : float or Tensor, >= 0
        How far a neuron that always fires raises its threshold; b in the source.
    **options
        engine, surrogate, slope, learn ("beta", "threshold", "rho", "adaptation"), init_hidden, output: see
        `SpikingNeuron`, also for errors.

    Notes
    -----
    With theta[t] = threshold + adaptation adapted[t]: adapted[t] = rho adapted[t-1] + (1 - rho) spk[t-1];
    mem[t] = beta mem[t-1] + cur[t] - theta[t-1] spk[t-1]; spk[t] = 1 where mem[t] > theta[t]. Gradients flow through
    the spikes that feed the adaptation, not through the reset's. G. Bellec et al., Long short-term memory and
    learning-to-learn in networks of spiking neurons, NeurIPS 2018, eq. 1 to 3 in discrete time.
    """

    kind = "alif"
    ranges: ClassVar = {**SpikingNeuron.ranges, "rho": (0, 1), "adaptation": (0, None)}
    states = ("mem", "adapted")

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        rho: float | Tensor = 0.97,
        adaptation: float | Tensor = 1.0,
        **options,
    ):
        super().__init__({"beta": beta, "threshold": threshold, "rho": rho, "adaptation": adaptation}, **options)

    @staticmethod
    def equation(cur, spk, mem, adapted, *, beta, threshold, rho, adaptation):
        """Advance by one step: return the new (mem, adapted)."""
        mem = beta * mem + cur - spk.detach() * (threshold + adaptation * adapted)
        return mem, rho * adapted + (1.0 - rho) * spk

    @staticmethod
    def excess(mem, adapted, threshold, adaptation, **_):
        """Return how far membranes are above the raised threshold."""
        return mem - (threshold + adaptation * adapted)

    @classmethod
    def new_snntorch(cls, numbers, spike_grad):
        """Return the same in snnTorch's form, with these very tensors."""
        return SNNTorchALIF(**numbers, spike_grad=spike_grad)


class SNNTorchALIF(snntorch.SpikingNeuron):
    """Leaky neuron with an adaptive threshold, to be called as (cur, mem, adapted) -> (spk, mem, adapted).

    Written from the equations of G. Bellec et al. 2018 alone, so that it can stand as a reference beside
    `ALIF`. With the spike s of the step before, which follows from its membrane and threshold:

        a <- rho a + (1 - rho) s,  u <- beta u + cur - (threshold + b a_before) s,  s <- 1 where u > threshold + b a

    Parameters
    ----------
    beta, threshold, rho, adaptation : Tensor []
        As for `ALIF`.
    spike_grad : callable
        Step function with a surrogate gradient, as snnTorch's neurons take it.
    """

    states = ALIF.states

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
