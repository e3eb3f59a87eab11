"""Event-driven spiking layers on a CPU: what a model calls.

Each function takes and returns tensors (or `Spikes`, one byte a spike) over the whole time, with autograd. The result
equals `reference.py` spike for spike; only the order of the sums in a convolution differs, hence a current's last bits.
Where those decide, results may differ: a membrane within rounding of the threshold may fire or not, and of two currents
within rounding of each other either may win its pool window and get the gradient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from snn_helpers._checks import NotANumberError, check_choice, check_int
from snn_helpers.engine import kernels
from snn_helpers.engine.cpu.conv_kernels import make_window
from snn_helpers.engine.cpu.functions import (
    ConvCurrents,
    ConvNeurons,
    CurrentNeurons,
    Linear,
    MaxPool,
    NormCurrents,
    count_events,
    current_sums,
)
from snn_helpers.engine.cpu.generated import Generated, generate
from snn_helpers.engine.cpu.memory import array, channels_first, channels_last
from snn_helpers.engine.cpu.runtime import EngineCompileError as EngineCompileError
from snn_helpers.engine.kernels import Kernel, find_kernel
from snn_helpers.engine.reference import BatchNorm, Neuron, run
from snn_helpers.engine.spikes import Spikes, few_a_pixel

__all__ = ["EngineCompileError", "conv", "conv_layer", "conv_norm", "fire", "linear", "max_pool", "neurons", "warm_up"]

PATHS = ("auto", "events", "dense")
# Events per input from which the library's convolution is used, by side of the pool and whether currents are kept
# (`_keeps_currents`), measured on layers of 2 to 64 channels and 34 x 34 to 8 x 8 pixels, 3x3, two cores. A wider
# window has more taps an event, where the library gains: there it is 3 / side of that.
DENSE_FROM = {(1, False): 0.2, (1, True): 0.12, (2, False): 0.3, (2, True): 0.2}

MOST = 7  # side of a convolution's window
FEW_CHANNELS = 4  # into a layer: statistics then come from the products of what its windows see


def neurons(cur: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Run one layer of neurons over time; the same as `reference.run`, bit for bit, which runs what has no kernel.

    Parameters
    ----------
    cur : float32 Tensor [T, B, ...]
        Input currents; half precision under autocast is converted.
    neuron : Neuron
        Equation and parameters.

    Returns
    -------
    spk_rec, mem_rec : float32 Tensor [T, B, ...]
        Spikes in {0, 1} and membranes, both with gradient.

    Raises
    ------
    TypeError, ValueError
        If the currents are not float32 on the CPU, are not [T, B, ...], are empty or contain NaN.
    """
    cur = kernels.float32_under_autocast(kernels.check_currents(cur))
    _check_supported("cur", cur)
    _check_no_nan("cur", cur)
    kernel = find_kernel("neurons", neuron, "cpu")
    return run(cur, neuron) if isinstance(kernel, str) else kernel.function(cur, neuron)


@torch.autocast("cpu", enabled=False)
def linear(spikes: Spikes | Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Fully connected layer on spikes, event-driven.

    Parameters
    ----------
    spikes : Spikes or Tensor [T, B, n_in] or [T, B, C, H, W]
        Spikes or counts of any type, see `Spikes.of`. Images are taken in the order of `torch.flatten`.
    weight : float32 Tensor [n_out, n_in]
        As in `torch.nn.Linear`.
    bias : float32 Tensor [n_out] or None
        Added to the currents.

    Returns
    -------
    float32 Tensor [T, B, n_out]
        Currents.

    Raises
    ------
    TypeError, ValueError
        If types or shapes do not fit, or weight or bias contain NaN.
    """
    spikes = Spikes.of(spikes)
    count, path = spikes.count, spikes.path
    _check_supported("spikes", count, weight)
    if count.dim() not in (3, 5) or 0 in count.shape[:2] or weight.dim() != 2 or count[0, 0].numel() != weight.shape[1]:
        raise ValueError(
            f"`spikes` must be [T, B, {weight.shape[1]}] (or images of as many pixels), as `weight` "
            f"{tuple(weight.shape)} asks for; got {tuple(count.shape)}."
        )
    _check_no_nan("weight", weight)
    _check_channels("bias", bias, weight.shape[0])
    bias = torch.zeros(weight.shape[0]) if bias is None else bias
    if count.dim() == 5:  # bring the weights into the spikes' order in memory, not the spikes into the weights'
        count = channels_last(count)
        path = None if path is None else path.permute(0, 1, 3, 4, 2)
        _, _, height, width, channels = count.shape
        weight = weight.view(-1, channels, height, width).permute(0, 2, 3, 1)
    return Linear.apply(count.contiguous(), path, weight, bias)


def max_pool(spikes: Spikes) -> Spikes:
    """2x2 max-pool of spikes or counts [T, B, C, H, W], as `torch.nn.MaxPool2d(2)` of each step."""
    count, path = MaxPool.apply(channels_last(spikes.count), spikes.path)
    return Spikes(channels_first(count), None if spikes.path is None else path, most=spikes.most)


@torch.autocast("cpu", enabled=False)
def conv(
    spikes: Spikes | Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0, dilation: int | tuple[int, ...] = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Convolution of spikes, event-driven but for the gradient of the input, which is the library's.

    Parameters
    ----------
    spikes : Spikes or Tensor [T, B, C, H, W] or [T, B, C, L]
        Spikes or counts of any type, see `Spikes.of`.
    weight : float32 Tensor [n_out, C / groups, k, k] or [n_out, C / groups, k]
        As in `torch.nn.Conv2d` or `torch.nn.Conv1d`; a window of at most 7 a side.
    bias : float32 Tensor [n_out] or None
        Added to the currents.
    stride, padding, dilation : int, or one for each side
        In pixels, as in `torch.nn.Conv2d`.
    groups : int
        Channels are convolved in so many groups, each with its own; C: each on its own.

    Returns
    -------
    float32 Tensor [T, B, n_out, rows, columns] or [T, B, n_out, length]
        Currents, in memory as torch has them.

    Raises
    ------
    TypeError, ValueError
        If types, shapes or options do not fit, or weight or bias contain NaN.
    """
    spikes = Spikes.of(spikes)
    count, path, sides = spikes.count, spikes.path, weight.dim() - 2
    _check_supported("spikes", count, weight)
    if sides not in (1, 2) or max(weight.shape[2:]) > MOST:
        raise ValueError(f"`weight` must have a window of 1 or 2 sides of at most {MOST}; got {tuple(weight.shape)}.")
    stride, padding, dilation = (
        _sides(name, given, sides, low)
        for name, given, low in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1))
    )
    channels = weight.shape[1] * check_int("groups", groups, low=1)
    if len(weight) % groups or count.dim() != sides + 3 or count.shape[2] != channels or count.numel() == 0:
        raise ValueError(
            f"`spikes` must be [T, B, {channels}, {'H, W' if sides == 2 else 'L'}] and not empty, and `groups` divide "
            f"n_out, as `weight` {tuple(weight.shape)} with {groups} groups asks for; got {tuple(count.shape)}."
        )
    _check_no_nan("weight", weight)
    _check_channels("bias", bias, len(weight))
    if sides == 1:
        count, path, weight = count.unsqueeze(3), None if path is None else path.unsqueeze(3), weight.unsqueeze(2)
    window = make_window(tuple(count.shape[3:]), tuple(weight.shape[2:]), stride, padding, dilation, groups)
    if min(window.image) < 1:
        raise ValueError(f"`spikes` {tuple(count.shape)} with their padding are smaller than the window.")
    shape, last = count.shape[:2], channels_last(count)
    capacity, _ = spikes.events or count_events(last)
    path = None if path is None else path.flatten(0, 1)[None]
    bias = torch.zeros(len(weight)) if bias is None else bias
    # A step of a recording needs no other: all are recordings of one step, so that threads can share them out.
    cur, _ = ConvCurrents.apply(last.flatten(0, 1)[None], path, weight, bias, window, capacity, False, True)
    cur = cur.view(*shape, *cur.shape[2:])
    return cur if sides == 2 else cur.squeeze(3)


def _sides(name: str, given: int | tuple[int, ...], sides: int, low: int) -> tuple[int, int]:
    """Return an option for rows and columns; one side is columns."""
    each = tuple(given) if isinstance(given, tuple | list) else (given,) * sides
    if len(each) != sides:
        raise ValueError(f"`{name}` must be a number, or one for each of {sides} sides; got {given!r}.")
    each = tuple(check_int(name, one, low=low) for one in each)
    return each if sides == 2 else (low, *each)


@torch.autocast("cpu", enabled=False)
def conv_layer(
    spikes: Spikes | Tensor,
    weight: Tensor,
    bias: Tensor | None,
    neuron: Neuron,
    *,
    padding: int = 1,
    stride: int = 1,
    norm: BatchNorm | None = None,
    pool: int = 1,
    path: str = "auto",
    keep_mem: bool = False,
) -> Spikes:
    """Spiking convolution, optional batch norm, optional 2x2 max-pool, neurons, in one pass.

    Parameters
    ----------
    spikes : Spikes or Tensor [T, B, C, H, W]
        Input spikes or event counts of any type, see `Spikes.of`.
    weight, bias : float32 Tensor [n_out, C, k, k], [n_out] or None
        As in `torch.nn.Conv2d`.
    neuron : Neuron
        Equation and parameters.
    padding : int, less than k
        Zeros around the image.
    stride : int
        In pixels; 1 where there is a pool.
    norm : BatchNorm or None
        Normalisation over time and batch, or over the batch in each step.
    pool : {1, 2}
        Side of the max-pool windows; what is left over at the right and at the bottom is dropped.
    path : {'auto', 'events', 'dense'}
        Touch only the events, or convolve with the library; 'auto' decides by counting the events.
    keep_mem : bool
        Return the membranes, too.

    Returns
    -------
    Spikes [T, B, n_out, rows, columns]
        Output spikes; `mem` is None unless asked for.

    Raises
    ------
    TypeError, ValueError
        If types or shapes do not fit, or weight, bias or the normalisation contain NaN.
    """
    spikes = Spikes.of(spikes)
    check_choice("path", path, PATHS)
    _check_conv(spikes.count, weight, bias, padding, norm, pool)
    check_int("stride", stride, low=1, high=1 if pool == 2 else None)
    options = {"padding": padding, "stride": stride}
    kernel = find_kernel("conv_layer", neuron, "cpu")
    if isinstance(kernel, str):
        return kernels.dense_conv_layer(spikes, weight, bias, neuron, norm, pool, keep_mem, **options)
    return kernel.function(spikes, weight, bias, options, neuron, norm, pool, path, keep_mem)


@torch.autocast("cpu", enabled=False)
def conv_norm(
    spikes: Spikes | Tensor, weight: Tensor, bias: Tensor | None, norm: BatchNorm, *, padding: int = 1, stride: int = 1
) -> Tensor:
    """Convolution and batch norm in training, event-driven, for what comes before neurons in another way.

    Parameters, and what is raised, are those of `conv_layer`.

    Returns
    -------
    float32 Tensor [T, B, n_out, rows, columns]
        Normalised currents, channels-last in memory.
    """
    spikes = Spikes.of(spikes)
    _check_conv(spikes.count, weight, bias, padding, norm, 1)
    norm, count = _with_affine(norm, len(weight)), channels_last(spikes.count)
    window = make_window(count.shape[2:4], weight.shape[2:], (stride, stride), (padding, padding))
    shift, apart = _apart(bias, weight)
    capacity, _ = spikes.events or count_events(count)
    cur, sums = ConvCurrents.apply(count, spikes.path, weight, shift, window, capacity, True, False)
    cur, *statistics = NormCurrents.apply(cur, sums, norm.weight, norm.bias, norm.eps, norm.each_step)
    _update_running(norm, *statistics, cur[:, :, 0].numel(), apart)
    return cur


def fire(cur: Tensor, neuron: Neuron) -> Spikes | None:
    """Run neurons over currents [T, B, C, H, W] that lie channels-last in memory; None where there is no kernel."""
    made = generate(neuron, layer=True)
    if isinstance(made, str) or made.try_out(torch.ones(1, *cur.shape[1:]), neuron, partial(_fire, made)):
        return None
    count, path, _ = _currents_to_spikes(cur, None, None, made, 1, False, neuron.tensors(cur).values())
    return Spikes(channels_first(count), path, events=count_events(count), most=1)


def _make(neuron: Neuron, layer: bool = False) -> Kernel | str:
    """Return the kernel for these neurons, alone or in a layer with a convolution, or why there is none."""
    made = generate(neuron, layer)
    return made if isinstance(made, str) else Kernel(partial(_conv_layer, made) if layer else made.run, generated=True)


def _conv_layer(made: Generated, spikes, weight, bias, options, neuron, norm, pool, path, keep_mem) -> Spikes:
    padding, stride = options["padding"], options["stride"]
    window = make_window(tuple(spikes.shape[3:]), weight.shape[2:], (stride, stride), (padding, padding))
    if not made.tried:
        sides = (size // pool for size in window.image)
        made.try_out(torch.ones(1, spikes.shape[1], len(weight), *sides), neuron, partial(_fire, made))
    if made.reason:
        return kernels.dense_conv_layer(spikes, weight, bias, neuron, norm, pool, keep_mem, **options)
    apart, shift = None, torch.zeros(len(weight)) if bias is None else bias
    if norm is not None:
        norm = _with_affine(norm, len(weight))
        if norm.training:
            shift, apart = _apart(bias, weight)
    count = channels_last(spikes.count)
    capacity, total = spikes.events or count_events(count)
    numbers = neuron.tensors(weight).values()
    keep_cur = _keeps_currents(spikes, norm, pool, (weight.shape[2], padding, stride) == (3, 1, 1))
    many = total > _dense_from(weight.shape[2], pool, keep_cur) * count.numel()
    if path == "dense" or (path == "auto" and (many or not few_a_pixel(spikes))):
        cur = F.conv2d(
            spikes.float().flatten(0, 1), weight.contiguous(memory_format=torch.channels_last), shift, **options
        ).unflatten(0, count.shape[:2])
        result = _currents_to_spikes(cur, None, norm, made, pool, keep_mem, numbers, apart)
    elif keep_cur:
        statistics = norm is not None and norm.training
        cur, sums = ConvCurrents.apply(count, spikes.path, weight, shift, window, capacity, statistics, False)
        result = _currents_to_spikes(cur, sums, norm, made, pool, keep_mem, numbers, apart)
    else:
        if norm is not None:
            weight, shift = _normalised(count, weight, shift, norm, apart)
        result = ConvNeurons.apply(count, spikes.path, weight, shift, window, made, pool, capacity, keep_mem, *numbers)
    out_count, out_path, mem = result
    mem = None if mem is None else channels_first(mem)
    return Spikes(channels_first(out_count), out_path, mem, count_events(out_count), most=1)


def _apart(bias: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return what is added to currents before statistics of the batch, and what these take away again.

    Kept apart, the size of a bias costs no digits; it gets a gradient, of zero.
    """
    return (torch.zeros(len(weight)), None) if bias is None else (0.0 * bias, bias.detach())


def _dense_from(side: int, pool: int, keep_cur: bool) -> float:
    """Return how many events an input has from which the library's convolution is faster."""
    return DENSE_FROM[pool, keep_cur] * min(1.0, 3 / side)


def _with_affine(norm: BatchNorm, channels: int) -> BatchNorm:
    weight = torch.ones(channels) if norm.weight is None else norm.weight
    return dataclasses.replace(norm, weight=weight, bias=torch.zeros(channels) if norm.bias is None else norm.bias)


def _keeps_currents(spikes: Spikes, norm: BatchNorm | None, pool: int, is_usual: bool) -> bool:
    """Whether an event-driven layer keeps its currents, or sums them where it needs them, and never all at once.

    The gradient of the input is dense where batch statistics spread it over all pixels, and where no pool has losers.
    Then it is the library's, and to keep the currents that it starts from costs less than to sum them again. Statistics
    of themselves ask for all currents, too, but in a first layer, where it is 3x3 with padding 1.
    """
    wants_gradient = torch.is_grad_enabled() and spikes.path is not None and spikes.path.requires_grad
    if norm is not None and norm.training:
        return wants_gradient or norm.each_step or spikes.count.shape[2] > FEW_CHANNELS or not is_usual
    return wants_gradient and pool == 1


def _normalised(count, weight, bias, norm: BatchNorm, apart: Tensor | None) -> tuple[Tensor, Tensor]:
    """Fold batch normalisation into the weights: return them and the shift."""
    if norm.training:
        size = count[..., 0].numel()
        total, squares = current_sums(count, weight)
        mean = total / size
        var = (squares / size - mean * mean).clamp(min=0)
        _update_running(norm, mean[None], var[None], size, apart)
    else:
        mean, var = norm.running_mean.double(), norm.running_var.double()
    mean = mean - bias
    scale = norm.weight / torch.sqrt(var + norm.eps)
    shift = norm.bias - mean * scale
    return weight * scale.float()[:, None, None, None], shift.float()


def _currents_to_spikes(
    cur: Tensor, sums: Tensor | None, norm: BatchNorm | None, made: Generated, pool: int, keep_mem: bool,
    numbers: Iterable[Tensor], apart: Tensor | None = None,
) -> tuple:  # fmt: skip
    """Lead currents [T, B, C, H, W] through normalisation, pool and neurons; return counts, path and membranes."""
    if norm is None or not norm.training:
        cur = cur if norm is None else norm.apply(cur.flatten(0, 1)).unflatten(0, cur.shape[:2])
        return CurrentNeurons.apply(cur, None, None, None, 0.0, False, made, pool, keep_mem, *numbers)[:3]
    *result, means, variances = CurrentNeurons.apply(
        cur, sums, norm.weight, norm.bias, norm.eps, norm.each_step, made, pool, keep_mem, *numbers
    )
    _update_running(norm, means, variances, cur[:, :, 0].numel(), apart)
    return tuple(result)


def _fire(made: Generated, cur: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Run a layer's neurons alone, on currents [T, B, C, H, W]."""
    count, path, mem = _currents_to_spikes(cur, None, None, made, 1, True, neuron.tensors(cur).values())
    return Spikes(channels_first(count), path).float(), channels_first(mem)


@torch.no_grad()
def _update_running(norm: BatchNorm, means: Tensor, variances: Tensor, size: int, apart: Tensor | None) -> None:
    """Update running statistics by those of the whole or of each step, [1 or T, C], of `size` values in all."""
    if norm.running_mean is None:
        return
    each = size // len(means)
    for mean, var in zip(means, variances):
        norm.running_mean.lerp_(mean.float(), norm.momentum)
        norm.running_var.lerp_((var * (each / max(1, each - 1))).float(), norm.momentum)
    if apart is not None:
        norm.running_mean.add_(apart, alpha=1 - (1 - norm.momentum) ** len(means))


def warm_up() -> None:
    """Compile all kernels, or load them from the disk cache, by running one small step of everything.

    Raises
    ------
    EngineCompileError
        If a kernel cannot be compiled here.
    """
    count = torch.ones(2, 1, 1, 4, 4, dtype=torch.uint8)
    weight = torch.full((8, 1, 3, 3), 0.25, requires_grad=True)
    inner, outer = torch.full((8, 8, 3, 3), 0.1, requires_grad=True), torch.full((2, 32), 0.1, requires_grad=True)
    norm = BatchNorm(torch.ones(8), torch.zeros(8), torch.zeros(8), torch.ones(8), True)
    neuron = Neuron("leaky", _leaky, {"beta": 0.9, "threshold": 1.0})
    spikes = conv_layer(count, weight, None, neuron, norm=norm, path="events")
    spikes = max_pool(conv_layer(spikes, inner, None, neuron, norm=norm, path="events"))
    spikes = conv_layer(spikes, inner, None, neuron, norm=norm, path="dense")
    spk_rec, mem_rec = neurons(linear(spikes, outer), neuron)
    (spk_rec + mem_rec).sum().backward()


def _leaky(cur, spk, mem, *, beta, threshold):
    return (beta * mem + cur - spk.detach() * threshold,)


def _check_supported(name: str, *tensors: Tensor | None) -> None:
    for tensor in tensors:
        if tensor is None or (tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.uint8)):
            continue
        what = f"dtype {tensor.dtype}" if tensor.device.type == "cpu" else f"device {tensor.device}"
        raise TypeError(
            f"`{name}`: the CPU engine computes in float32 (and uint8 for spikes) on the CPU; got {what}. "
            "Use the reference engine for it."
        )


def _check_no_nan(name: str, tensor: Tensor) -> None:
    if np.isnan(array(tensor).min(initial=0)):  # not by torch: its threads spin on for a while, beside the kernels'
        raise NotANumberError(f"`{name}` contains NaN.")


def _check_channels(name: str, tensor: Tensor | None, channels: int) -> None:
    if tensor is None:
        return
    _check_supported(name, tensor)
    if tuple(tensor.shape) != (channels,):
        raise ValueError(f"`{name}` must be [{channels}], as `weight` asks for; got {tuple(tensor.shape)}.")
    _check_no_nan(name, tensor)


def _check_conv(
    count: Tensor, weight: Tensor, bias: Tensor | None, padding: int, norm: BatchNorm | None, pool: int
) -> None:
    _check_supported("spikes", count, weight)
    if pool not in (1, 2):
        raise ValueError(f"`pool` must be one of 1, 2; got {pool!r}.")
    if weight.dim() != 4 or weight.shape[2] != weight.shape[3] or weight.shape[2] > MOST:
        raise ValueError(f"`weight` must be [n_out, C, k, k], with k at most {MOST}; got {tuple(weight.shape)}.")
    if not 0 <= padding < weight.shape[2]:
        raise ValueError(f"`padding` must be in [0, {weight.shape[2] - 1}]; got {padding}.")
    if count.dim() != 5:
        raise ValueError(f"`spikes` must be [T, B, C, H, W], 5 axes; got {count.dim()}: {tuple(count.shape)}.")
    channels = weight.shape[1]
    if count.shape[2] != channels:
        where = [axis for axis, size in enumerate(count.shape) if size == channels]
        hint = f" Axis {where[0]} is {channels} long: is it the channel axis?" if where else ""
        raise ValueError(
            f"`spikes` must be [T, B, C, H, W] with {channels} channels on axis 2, as `weight` asks for; got "
            f"{tuple(count.shape)}.{hint}"
        )
    if count.numel() == 0 or min(count.shape[3:]) + 2 * padding - weight.shape[2] + 1 < pool:
        raise ValueError(
            f"`spikes` must have at least one step, one recording and one pixel; got {tuple(count.shape)}."
        )
    _check_no_nan("weight", weight)
    _check_channels("bias", bias, len(weight))
    if norm is None:
        return
    for name in ("weight", "bias", "running_mean", "running_var"):
        _check_channels(f"norm.{name}", getattr(norm, name), len(weight))
    if norm.training and count[:, :, 0].numel() == 1:
        raise ValueError("batch statistics need more than one value a channel: more steps, recordings or pixels.")


kernels.register_kernel("cpu", "linear", None, Kernel(linear))
kernels.register_maker("cpu", "neurons", _make)
kernels.register_maker("cpu", "conv_layer", partial(_make, layer=True))
