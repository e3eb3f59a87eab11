"""Name the part of a network whose numbers stopped being finite, and the way back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from snn_helpers.models.network import SpikingNetwork


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Say whether all values of all tensors are numbers and finite."""
    return all(torch.isfinite(tensor).all() for tensor in tensors)


def broken_weights_or_gradients(model: SpikingNetwork) -> str | None:
    """Name the layer whose weights or gradients stopped being finite; the backward pass meets the last first."""
    layers = model.spiking_layers()
    for name, layer in layers.items():
        if not all_finite(layer.parameters()):
            return f"the weights of {name}"
    for name, layer in reversed(layers.items()):
        if not all_finite(weight.grad for weight in layer.parameters() if weight.grad is not None):
            return f"the gradients of {name}"
    return None


def broken_membranes(model: SpikingNetwork, frames: Tensor) -> str | None:
    """Name the layer whose membranes are the first that are no numbers; for a model on the "snntorch" engine.

    The other engines refuse such currents; the loop over snnTorch computes on.
    """
    broken: list[str] = []
    with torch.no_grad():
        model(frames, watch=lambda name, spk, mem: broken.extend([] if mem.isfinite().all() else [name]))
    return f"the membranes of {broken[0]}" if broken else None


def way_back(last: Path, lr: float) -> str:
    """Return the advice to a user whose run broke at a learning rate; `last` is its checkpoint, if there is one."""
    if not last.exists():
        return f"No checkpoint was written before. Begin anew with a lower `lr` than {lr:g}."
    return (
        f"{last} holds the last good state. Begin a new run from it with a lower `lr` than {lr:g}: "
        f"`--init_from {last} --lr ...`."
    )
