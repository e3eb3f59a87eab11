"""The arithmetic of neurons and spiking layers over time: tensors and numbers in, tensors out.

`reference` runs a neuron's equation in plain torch; `cpu` (event-driven, numba) and `cuda` (Triton) compute the same,
faster, for the kinds that they have kernels for; `kernels` knows which. numba and Triton load on first use only.
"""

from snn_helpers.engine.kernels import Kernel, neurons, register_kernel, serves
from snn_helpers.engine.reference import SURROGATES, BatchNorm, Neuron, register_surrogate
from snn_helpers.engine.spikes import Spikes

__all__ = [
    "SURROGATES",
    "BatchNorm",
    "Kernel",
    "Neuron",
    "Spikes",
    "neurons",
    "register_kernel",
    "register_surrogate",
    "serves",
]
