"""Spiking neurons as modules, one file a kind: over all time steps at once, or as one step of a network."""

from snn_helpers.neurons.alif import ALIF
from snn_helpers.neurons.base import NEURONS, SpikingNeuron, clamp_parameters, refuse_export, register_neuron, reset
from snn_helpers.neurons.delay import Delay
from snn_helpers.neurons.foreign import as_neuron
from snn_helpers.neurons.hidden import HiddenState
from snn_helpers.neurons.leaky import Leaky
from snn_helpers.neurons.listener import SPIKING, Listener
from snn_helpers.neurons.rleaky import RLeaky
from snn_helpers.neurons.synaptic import Synaptic

__all__ = [
    "ALIF",
    "NEURONS",
    "SPIKING",
    "Delay",
    "HiddenState",
    "Leaky",
    "Listener",
    "RLeaky",
    "SpikingNeuron",
    "Synaptic",
    "as_neuron",
    "clamp_parameters",
    "refuse_export",
    "register_neuron",
    "reset",
]
