"""Leaky integrate-and-fire neurons."""

from __future__ import annotations

import snntorch
from torch import Tensor

from snn_helpers.neurons.base import SpikingNeuron, register_neuron


@register_neuron
class Leaky(SpikingNeuron):
    """Leaky integrate-and-fire neurons, equal to `snntorch.Leaky`.

    Parameters
    ----------
    beta : float or Tensor, in [0, 1]
        Decay of the membrane per step, exp(-dt / tau).
    threshold : float or Tensor, > 0
        A membrane strictly above it fires.
    **options
        engine, surrogate, slope, learn ("beta", "threshold"), init_hidden, output: see `SpikingNeuron`, also for
        errors.

    Notes
    -----
    mem[t] = beta mem[t-1] + cur[t] - threshold spk[t-1]; spk[t] = 1 where mem[t] > threshold. No gradient flows through
    the reset's spike. J. K. Eshraghian et al., Proceedings of the IEEE 111 (2023), eq. 4 and 8.
    """

    kind = "leaky"

    def __init__(self, beta: float | Tensor = 0.9, threshold: float | Tensor = 1.0, **options):
        super().__init__({"beta": beta, "threshold": threshold}, **options)

    @staticmethod
    def equation(cur, spk, mem, *, beta, threshold):
        """Advance by one step: return the new (mem,)."""
        return (beta * mem + cur - spk.detach() * threshold,)

    @classmethod
    def new_snntorch(cls, numbers, spike_grad):
        """Return `snntorch.Leaky` with these very tensors."""
        neuron = snntorch.Leaky(0.0, spike_grad=spike_grad)
        neuron.beta, neuron.threshold = numbers["beta"], numbers["threshold"]
        return neuron
