"""Leaky integrate-and-fire neurons that are connected among themselves."""

from __future__ import annotations

import dataclasses

import snntorch
import torch
from torch import Tensor, nn

from snn_helpers._checks import check_int
from snn_helpers.engine.reference import Recurrence
from snn_helpers.neurons.base import SpikingNeuron, register_neuron

_GAIN = 0.3  # of the connections, before training


@register_neuron
class RLeaky(SpikingNeuron):
    """Leaky neurons, each of which also gets the layer's spikes of the step before, equal to `snntorch.RLeaky`.

    Parameters
    ----------
    features : int
        Neurons n of the layer; currents are [T, B, n].
    beta, threshold, **options
        As for `Leaky`.

    Attributes
    ----------
    recurrent : nn.Linear
        The connections V, `recurrent.weight` [n, n], without a bias. They are drawn with a standard deviation of
        `0.3 threshold / sqrt(n)`, so that a layer does not excite itself.

    Notes
    -----
    mem[t] = beta mem[t-1] + cur[t] + V spk[t-1] - threshold spk[t-1]; spk[t] = 1 where mem[t] > threshold. Gradients
    flow through the spikes that V takes, not through the reset's. J. K. Eshraghian et al., Proceedings of the IEEE 111
    (2023); G. Bellec et al., NeurIPS 2018, eq. 1 and 2, has the same connections.
    """

    kind = "rleaky"

    def __init__(self, features: int, beta: float | Tensor = 0.9, threshold: float | Tensor = 1.0, **options):
        super().__init__({"beta": beta, "threshold": threshold}, **options)
        self.recurrent = nn.Linear(check_int("features", features, low=1), features, bias=False)
        nn.init.normal_(self.recurrent.weight, 0, _GAIN * float(torch.as_tensor(threshold).mean()) * features**-0.5)

    @staticmethod
    def equation(cur, spk, mem, *, beta, threshold, drive):
        """Advance by one step: return the new (mem,); `drive` is V spk[t-1]."""
        return (beta * mem + cur + drive - spk.detach() * threshold,)

    def neuron(self):
        """Return equation, parameters and connections, as the engines take them."""
        recurrent = self._modules.get("recurrent")  # None while the base checks its parameters
        found = super().neuron()
        return found if recurrent is None else dataclasses.replace(found, recurrence=Recurrence(recurrent.weight, None))

    def _step_numbers(self, neuron, cur, spk):
        return neuron.tensors(cur) | {"drive": self.recurrent(spk)}

    def snntorch_neuron(self):
        """Return a new `snntorch.RLeaky` with these parameters and these very connections."""
        neuron = super().snntorch_neuron()
        neuron.recurrent = self.recurrent
        return neuron

    @classmethod
    def new_snntorch(cls, numbers, spike_grad):
        """Return `snntorch.RLeaky` with these very tensors; `snntorch_neuron` puts the connections in."""
        neuron = snntorch.RLeaky(0.0, linear_features=1, spike_grad=spike_grad)
        neuron.beta, neuron.threshold = numbers["beta"], numbers["threshold"]
        return neuron
