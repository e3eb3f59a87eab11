"""Spiking layers on a GPU: all time steps of a layer in a few Triton kernels, with the spikes of float32.

The same three functions as `cpu` has: `conv_layer`, `linear`, `neurons`. Products run on the tensor cores in float16,
twice, so that currents are float32's to its last bits (see `parts`); the currents of a first layer are never in memory,
those of the others only where batch statistics ask for them; membranes are kept after the pool, and all else is
computed again on the way back. Nothing waits for the device, so that a whole train step fits into a CUDA graph (see
`graphs`).

Where Triton is missing or the GPU is older than it needs, and for what no kernel knows, torch's own kernels run, with
TF32 switched off inside.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings

import torch
from torch import Tensor

from snn_helpers._checks import check_choice
from snn_helpers.engine import kernels
from snn_helpers.engine.cuda import plain
from snn_helpers.engine.kernels import KINDS, SURROGATES, Kernel, find_kernel, register_kernel
from snn_helpers.engine.reference import BatchNorm, Neuron, run
from snn_helpers.engine.spikes import Spikes

PRECISIONS = ("exact", "tf32", "float16")
CAPABILITY = (8, 0)  # of the oldest GPU that the kernels are compiled for
SIZES = (1, 2, 3, 4, 5)  # of square convolution kernels


@functools.cache
def no_kernels(device: torch.device) -> str | None:
    """Return None where the Triton kernels run on a device, else the reason why they do not."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if device.type != "cuda":
        return None if os.environ.get("TRITON_INTERPRET") == "1" else f"the device is {device.type!r}"
    if torch.version.hip is not None:
        return "they are not tested on AMD's GPUs"
    capability = torch.cuda.get_device_capability(device)
    if capability < CAPABILITY:
        needed, has = (".".join(map(str, version)) for version in (CAPABILITY, capability))
        return f"they need compute capability {needed}, and this GPU has {has}"
    return None


@functools.cache
def _warn(device: torch.device) -> None:
    reason = no_kernels(device)
    message = f"The GPU's kernels do not run here: {reason}. torch's run instead, as exactly but slower."
    warnings.warn(message, stacklevel=4)


def _usable(device: torch.device) -> bool:
    if no_kernels(device) is None:
        return True
    _warn(device)
    return False


def neurons(cur: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Run one layer of neurons over time as `engine.neurons` does, in float32 also under autocast."""
    kernels.check_currents(cur)
    if cur.dtype == torch.float64:
        return run(cur, neuron)
    kernel = find_kernel("neurons", neuron, "cuda")
    if isinstance(kernel, str) or not _usable(cur.device):
        return run(cur.float(), neuron)
    return kernel.function(cur.float(), neuron)


def _neurons(cur: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    from snn_helpers.engine.cuda.functions import Neurons
    from snn_helpers.engine.cuda.launch import Equation, numbers_of

    return Neurons.apply(cur, numbers_of(neuron, cur.device), Equation.of(neuron))


def _parts(precision: str, device: torch.device) -> int:
    """Return how many float16 parts make a weight: two are exact; autocast asks for half precision."""
    half = device.type != "meta" and torch.is_autocast_enabled(device.type)
    return 2 if precision == "exact" and not half else 1


def linear(spikes: Spikes | Tensor, weight: Tensor, bias: Tensor | None = None, *, precision: str = "exact") -> Tensor:
    """Fully connected layer on spikes [T, B, ...]; images are flattened. Returns currents [T, B, n_out].

    Raises
    ------
    ValueError
        If the shapes do not fit or the precision is unknown.
    """
    check_choice("precision", precision, PRECISIONS)
    spikes = Spikes.of(spikes)
    count, path = spikes.count, spikes.path
    if count.dim() < 3 or weight.dim() != 2 or count[0, 0].numel() != weight.shape[1]:
        raise ValueError(
            f"`spikes` must be [T, B, {weight.shape[1]}] (or images of as many pixels), as `weight` "
            f"{tuple(weight.shape)} asks for; got {tuple(count.shape)}."
        )
    known = weight.dtype == torch.float32 and count.numel() < 2**31
    if precision == "tf32" or not known or not _usable(count.device):
        return plain.linear(spikes.float().flatten(2), weight, bias, precision)
    from snn_helpers.engine.cuda.functions import Linear

    if count.dim() == 5:  # the weights are brought into the spikes' order in memory, not the spikes into the weights'
        count = count.permute(0, 1, 3, 4, 2)
        path = None if path is None else path.permute(0, 1, 3, 4, 2)
    elif count.dim() != 3:
        count, path = count.flatten(2), None if path is None else path.flatten(2)
    return Linear.apply(count.contiguous(), path, weight, bias, _parts(precision, count.device))


def conv_layer(
    spikes: Spikes | Tensor,
    weight: Tensor,
    bias: Tensor | None,
    neuron: Neuron,
    *,
    norm: BatchNorm | None = None,
    pool: int = 1,
    path: str = "auto",
    keep_mem: bool = False,
    stride: int = 1,
    padding: int = 1,
    precision: str = "exact",
) -> Spikes:
    """Spiking convolution, optional batch norm, optional 2x2 max-pool, neurons: `cpu.conv_layer` on a GPU.

    Parameters
    ----------
    spikes, weight, bias, neuron, norm, pool, keep_mem
        As for `cpu.conv_layer`; kernels are square.
    path : str
        No effect here.
    stride, padding : int
        As in `torch.nn.Conv2d`.
    precision : {'exact', 'tf32', 'float16'}
        'exact': spikes are those of float32. The others keep ten or eleven bits of a weight, and thousands of spikes
        differ.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the pool or the precision is unknown.
    """
    check_choice("precision", precision, PRECISIONS)
    spikes = Spikes.of(spikes)
    _check_shapes(spikes.count, weight, pool, stride, padding)
    kernel = find_kernel("conv_layer", neuron, "cuda")
    device, known = spikes.count.device, weight.dtype == torch.float32 and weight.shape[2] in SIZES
    if isinstance(kernel, str) or precision == "tf32" or not known or not _usable(device):
        convolve = functools.partial(plain.convolve, stride=stride, precision=precision)
        return kernels.dense_conv_layer(
            spikes, weight, bias, neuron, norm, pool, keep_mem, convolve=convolve, engine="cuda", padding=padding
        )
    return _conv_layer(spikes, weight, bias, neuron, norm, pool, keep_mem, stride, padding, _parts(precision, device))


def _conv_layer(spikes, weight, bias, neuron, norm, pool, keep_mem, stride, padding, parts) -> Spikes:
    from snn_helpers.engine.cuda.functions import ConvLayer, Settings
    from snn_helpers.engine.cuda.launch import Equation, Shape, numbers_of

    num_steps, batch, n_in, height, width = spikes.shape
    shape = Shape(num_steps, batch, n_in, height, width, weight.shape[0], weight.shape[2], stride, padding, pool)
    numbers = numbers_of(neuron, weight.device)
    norm_weight, norm_bias = (None, None) if norm is None else (norm.weight, norm.bias)
    tensors = spikes.path, weight, bias, norm_weight, norm_bias, numbers
    wanted = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
    settings = Settings(shape, Equation.of(neuron), norm, parts, wanted, keep_mem)
    count, way, mem = ConvLayer.apply(spikes.count, *tensors, settings)
    return Spikes(count, way if wanted else None, mem)


def _check_shapes(count: Tensor, weight: Tensor, pool: int, stride: int, padding: int) -> None:
    if pool not in (1, 2):
        raise ValueError(f"`pool` must be one of 1, 2; got {pool!r}.")
    if weight.dim() != 4 or weight.shape[2] != weight.shape[3]:
        raise ValueError(f"`weight` must be [n_out, C, size, size]; got {tuple(weight.shape)}.")
    if count.dim() != 5 or count.shape[2] != weight.shape[1]:
        raise ValueError(
            f"`spikes` must be [T, B, C, H, W] with {weight.shape[1]} channels on axis 2, as `weight` asks for; got "
            f"{tuple(count.shape)}."
        )
    out = [(side + 2 * padding - weight.shape[2]) // stride + 1 for side in count.shape[3:]]
    if count.numel() == 0 or min(out) < pool:
        raise ValueError(
            f"`spikes` must have at least one step, one recording and one pixel; got {tuple(count.shape)} for "
            f"kernels of {weight.shape[2]} pixels and a pool of {pool}."
        )


for _kind in KINDS:
    register_kernel("cuda", "neurons", _kind, Kernel(_neurons, SURROGATES))
    register_kernel("cuda", "conv_layer", _kind, Kernel(conv_layer, SURROGATES))
register_kernel("cuda", "linear", None, Kernel(linear))
