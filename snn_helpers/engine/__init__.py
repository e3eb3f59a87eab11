"""The arithmetic of neurons and spiking layers over time: tensors and numbers in, tensors out.

`reference` holds the equations in plain torch; `cpu` (event-driven, numba) and `cuda` (Triton) compute the
same, faster. Import the one you need: numba and Triton load on first use only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snn_helpers.engine.reference import BatchNorm as BatchNorm
    from snn_helpers.engine.reference import Neuron as Neuron
    from snn_helpers.engine.spikes import Spikes as Spikes

_HOMES = {"BatchNorm": "reference", "Neuron": "reference", "Spikes": "spikes"}

__all__ = [*_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
