"""Leaky neurons behind a synapse."""

from __future__ import annotations

from typing import ClassVar

import snntorch
from torch import Tensor

from snn_helpers.neurons.base import SpikingNeuron, register_neuron


@register_neuron
class Synaptic(SpikingNeuron):
    """Leaky neurons behind a synapse whose current decays, too; equal to `snntorch.Synaptic`.

    Parameters
    ----------
    alpha : float or Tensor, in [0, 1]
        Decay of the synaptic current per step, exp(-dt / tau_syn).
    beta, threshold
        As for `Leaky`.
    **options
        engine, surrogate, slope, learn ("alpha", "beta", "threshold"), init_hidden, output: see `SpikingNeuron`,
        also for errors.

    Notes
    -----
    syn[t] = alpha syn[t-1] + cur[t]; mem[t] = beta mem[t-1] + syn[t] - threshold spk[t-1]; spk[t] = 1 where
    mem[t] > threshold.
    """

    kind = "synaptic"
    ranges: ClassVar = {**SpikingNeuron.ranges, "alpha": (0, 1)}
    states = ("syn", "mem")

    def __init__(
        self, alpha: float | Tensor = 0.9, beta: float | Tensor = 0.9, threshold: float | Tensor = 1.0, **options
    ):
        super().__init__({"alpha": alpha, "beta": beta, "threshold": threshold}, **options)

    @staticmethod
    def equation(cur, spk, syn, mem, *, alpha, beta, threshold):
        """Advance by one step: return the new (syn, mem)."""
        syn = alpha * syn + cur
        return syn, beta * mem + syn - spk.detach() * threshold

    @classmethod
    def new_snntorch(cls, numbers, spike_grad):
        """Return `snntorch.Synaptic` with these very tensors."""
        neuron = snntorch.Synaptic(0.0, 0.0, spike_grad=spike_grad)
        neuron.alpha, neuron.beta, neuron.threshold = (numbers[name] for name in ("alpha", "beta", "threshold"))
        return neuron
