"""Name the part of a network whose numbers stopped being finite, and the way back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from snn_helpers.activity.taps import attach


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Say whether all values of all tensors are numbers and finite."""
    return all(torch.isfinite(tensor).all() for tensor in tensors)


def broken_weights_or_gradients(model: nn.Module) -> str | None:
    """Name the layer whose weights or gradients stopped being finite; the backward pass meets the last first."""
    layers = parameters_by_layer(model)
    for name, parameters in layers.items():
        if not all_finite(parameters):
            return f"the weights of {name}"
    for name, parameters in reversed(layers.items()):
        if not all_finite(weight.grad for weight in parameters if weight.grad is not None):
            return f"the gradients of {name}"
    return None


def parameters_by_layer(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the parameters by layer: those of modules that stand beside neurons called "neurons", else by module."""
    found: dict[str, list[nn.Parameter]] = {}
    for path, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own:
            parent = path.rpartition(".")[0]
            name = parent if parent and hasattr(model.get_submodule(parent), "neurons") else path
            found.setdefault(name or type(module).__name__, []).extend(own)
    return found


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """Return the norm of each layer's gradients, by the name that a log has for it."""
    return {
        f"gradient_norm/{name}": float(torch.stack([p.grad.norm() for p in layer if p.grad is not None]).norm())
        for name, layer in parameters_by_layer(model).items()
    }


@torch.no_grad()
def broken_membranes(model: nn.Module, frames: Tensor) -> str | None:
    """Name the layer whose membranes are the first that are no numbers; for a model whose engine computes on."""
    broken: list[str] = []

    def on_layer(name, spk, mem, whole):
        if mem is not None and not mem.isfinite().all():
            broken.append(name)

    with attach(model, None, on_layer):
        model(frames)
    return f"the membranes of {broken[0]}" if broken else None


def way_back(last: Path, lr: float) -> str:
    """Return the advice to a user whose run broke at a learning rate; `last` is its checkpoint, if there is one."""
    if not last.exists():
        return f"No checkpoint was written before. Begin anew with a lower `lr` than {lr:g}."
    return (
        f"{last} holds the last good state. Begin a new run from it with a lower `lr` than {lr:g}: "
        f"`--init_from {last} --lr ...`."
    )
