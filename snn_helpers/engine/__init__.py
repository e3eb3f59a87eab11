"""The arithmetic of neurons and spiking layers over time: tensors and numbers in, tensors out.

`reference` runs a neuron's equation in plain torch. Faster, `cpu` (event-driven, numba) computes the same for all
equations that it can generate code from, and `cuda` (Triton) for the kinds that it has kernels for; `kernels` knows
which. numba and Triton load on first use only.
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
