"""Which kernel computes what, and the door to neurons over time on any engine.

Kernels are registered by device, operation ("neurons", "conv_layer", "linear") and kind of neurons. What none serves
runs by `reference.run`, exactly, and never by a kernel for something else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from snn_helpers._checks import check_choice
from snn_helpers.engine.reference import BatchNorm, Neuron, run
from snn_helpers.engine.spikes import Spikes

ENGINES = ("auto", "reference", "cpu", "cuda")
OPERATIONS = ("neurons", "conv_layer", "linear")
# What the kernels on a GPU know: they are told kind and surrogate by place, and take all numbers in this order.
KINDS = ("leaky", "synaptic", "alif")
NUMBERS = ("beta", "threshold", "alpha", "rho", "adaptation")
SURROGATES = ("fast_sigmoid", "compact", "atan")


class Kernel(NamedTuple):
    """A function that computes an operation for one kind of neurons, and for which settings of theirs."""

    function: Callable
    surrogates: Collection[str] = ()
    learns: bool = True  # gives the neurons' numbers their gradients
    generated: bool = False  # from the neurons' equation


_KERNELS: dict[tuple[str, str, str | None], Kernel] = {}
_MAKERS: dict[tuple[str, str], Callable[[Neuron], Kernel | str]] = {}


def register_kernel(device: str, operation: str, kind: str | None, kernel: Kernel) -> None:
    """Have a kernel serve neurons of a kind from now on.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Type of the device.
    operation : {"neurons", "conv_layer", "linear"}
        What it computes. A function for "neurons" is called as (cur, neuron) and returns (spk_rec, mem_rec), each
        [T, B, ...], with gradients: what `reference.run` returns.
    kind : str or None
        Kind of the neurons; None for an operation without any.
    kernel : Kernel
        The function, and what it can do.
    """
    _KERNELS[device, check_choice("operation", operation, OPERATIONS), kind] = kernel


def register_maker(device: str, operation: str, maker: Callable[[Neuron], Kernel | str]) -> None:
    """Have kernels made for neurons that no registered one serves: `maker` returns one, or why it cannot."""
    _MAKERS[device, operation] = maker


def find_kernel(operation: str, neuron: Neuron | None, device: torch.device | str) -> Kernel | str:
    """Return the kernel for an operation with these neurons on a device, or why there is none.

    Only what is independent of the input is asked: its type and shape may still ask for the reference.
    """
    device, kind = torch.device(device).type, None if neuron is None else neuron.kind
    if device not in ENGINES:
        return f"there are no kernels for the device {device!r}"
    importlib.import_module(f"snn_helpers.engine.{device}")  # registers its own
    kernel = _KERNELS.get((device, check_choice("operation", operation, OPERATIONS), kind))
    reason = f"no kernel on {device!r} computes `{operation}`" + ("" if kind is None else f" for the kind {kind!r}")
    if kernel is not None:
        reason = None if neuron is None else _lacks(kernel, neuron)
    if reason is not None and (device, operation) in _MAKERS:
        return _MAKERS[device, operation](neuron)
    return kernel if reason is None else reason


def _lacks(kernel: Kernel, neuron: Neuron) -> str | None:
    """Return what a kernel of their kind cannot do for these neurons, or None."""
    for name, value in neuron.numbers.items():
        if isinstance(value, Tensor) and (value.numel() != 1 or value.dim() > 1):
            return f"`{name}` has a number a neuron, and the kernel takes one number a layer"
    if callable(neuron.surrogate):
        return "the surrogate gradient is a function of one's own; the kernel knows " + ", ".join(kernel.surrogates)
    if neuron.surrogate not in kernel.surrogates:
        return f"the kernel has no surrogate gradient {neuron.surrogate!r}; it knows " + ", ".join(kernel.surrogates)
    if neuron.learns and not kernel.learns:
        return "the kernel has no gradient of learned numbers"
    return None


def serves(operation: str, neuron: Neuron | None, device: torch.device | str) -> str | None:
    """Return None where a kernel computes an operation with these neurons on a device, else the reason why none does.

    Examples
    --------
    >>> serves("linear", None, "meta")
    "there are no kernels for the device 'meta'"
    """
    found = find_kernel(operation, neuron, device)
    return found if isinstance(found, str) else None


def neurons(cur: Tensor, neuron: Neuron, engine: str = "auto") -> tuple[Tensor, Tensor]:
    """Run one layer of neurons over time: by a kernel where one serves, else by the reference.

    Parameters
    ----------
    cur : float Tensor [T, B, ...]
        Input currents.
    neuron : Neuron
        Equation and numbers.
    engine : {"auto", "reference", "cpu", "cuda"}
        "auto": by where the currents are. Currents in half precision under autocast are computed in float32.

    Returns
    -------
    spk_rec, mem_rec : Tensor [T, B, ...]
        Spikes in {0, 1} and membranes.

    Raises
    ------
    TypeError, ValueError
        If the currents are not [T, B, ...] with at least one step and recording, or not what the engine takes.
    """
    check_choice("engine", engine, ENGINES)
    cur, device = float32_under_autocast(check_currents(cur)), cur.device.type
    if engine == "auto":
        engine = device if device in ENGINES and cur.dtype == torch.float32 else "reference"
    if engine == "reference":
        return run(cur, neuron)
    return importlib.import_module(f"snn_helpers.engine.{engine}").neurons(cur, neuron)


def check_currents(cur: Tensor) -> Tensor:
    """Return currents after checking that they are [T, B, ...], and not empty."""
    if cur.dim() < 2 or cur.numel() == 0:
        raise ValueError(f"`cur` must be [T, B, ...] with at least one step and recording; got {tuple(cur.shape)}.")
    return cur


def float32_under_autocast(cur: Tensor) -> Tensor:
    """Return currents that autocast has made half precision as float32, in which neurons are always computed."""
    half = cur.dtype in (torch.float16, torch.bfloat16)
    return cur.float() if half and torch.is_autocast_enabled(cur.device.type) else cur


def dense_conv_layer(
    spikes: Spikes,
    weight: Tensor,
    bias: Tensor | None,
    neuron: Neuron,
    norm: BatchNorm | None,
    pool: int,
    keep_mem: bool,
    *,
    convolve: Callable = F.conv2d,
    engine: str = "auto",
    **options: int,
) -> Spikes:
    """Compute `cpu.conv_layer` by the library, all steps folded into the batch, with neurons of any kind after it."""
    cur = convolve(spikes.float().flatten(0, 1), weight, bias, **{"padding": 1, **options})
    cur = cur if norm is None else norm.apply(cur, len(spikes.count))
    cur = F.max_pool2d(cur, pool) if pool > 1 else cur
    spk_rec, mem_rec = neurons(cur.unflatten(0, spikes.shape[:2]), neuron, engine)
    return Spikes.of(spk_rec, mem_rec.detach() if keep_mem else None)
