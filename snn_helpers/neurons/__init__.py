"""Spiking neurons as modules: over all time steps at once, or one step at a time inside a loop."""

from snn_helpers.neurons.modules import ALIF, Leaky, Synaptic

__all__ = ["ALIF", "Leaky", "Synaptic"]
