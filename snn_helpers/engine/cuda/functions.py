"""Spiking layers on a GPU as autograd functions over the Triton kernels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snn_helpers.engine.cuda import launch
from snn_helpers.engine.cuda import norm as batch_norm
from snn_helpers.engine.cuda.launch import Equation, Shape
from snn_helpers.engine.reference import BatchNorm
from snn_helpers.engine.spikes import no_path


class Settings(NamedTuple):
    """What a layer does, beside its tensors."""

    shape: Shape
    equation: Equation
    norm: BatchNorm | None
    parts: int  # of weights and gradients: 2 for float32's quality, 1 for that of one float16 product
    wants_gradient: bool
    keep_mem: bool


def _channels_last(images: Tensor) -> Tensor:
    """Return [T, B, C, H, W] as contiguous [T, B, H, W, C]: a view where it is so in memory."""
    return images.permute(0, 1, 3, 4, 2).contiguous()


def _images(images: Tensor) -> Tensor:
    return images.permute(0, 1, 4, 2, 3)


def is_first(shape: Shape, settings: Settings, path: Tensor | None) -> bool:
    """Whether a layer is computed from the patches of its input, without currents in memory."""
    if path is not None and path.requires_grad:
        return False
    if settings.norm is not None and not settings.norm.training and settings.wants_gradient:
        return False
    return shape.n_in * shape.patch(shape.pool) ** 2 <= launch.PATCH_LIMIT


class ConvLayer(torch.autograd.Function):
    """Convolution, batch normalisation, max-pool and neurons: uint8 counts [T, B, C, H, W] to the same."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx, count, path, weight, bias, norm_weight, norm_bias, numbers, settings):
        """Compute the outputs, and keep what the way back needs."""
        with torch.cuda.device_of(count):
            weight = weight.contiguous()
            ctx.first = is_first(settings.shape, settings, path)
            layer = _first_forward if ctx.first else _forward
            spk, mem, ctx.scaling, saved = layer(count, weight, bias, numbers, settings)
        if settings.wants_gradient:
            ctx.save_for_backward(weight, numbers, mem, *saved)
        ctx.settings = settings
        spk, mem = _images(spk), _images(mem) if settings.keep_mem else None
        ctx.mark_non_differentiable(*(tensor for tensor in (spk, mem) if tensor is not None))
        ctx.set_materialize_grads(False)
        return spk, no_path(spk), mem

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, _, grad_spk, __):
        """Compute a gradient for each argument of `forward`."""
        if grad_spk is None:
            return (None,) * 8
        with torch.cuda.device_of(grad_spk):
            layer = _first_backward if ctx.first else _backward
            grads = layer(ctx, _channels_last(grad_spk.float()))
        return tuple(grad if wanted else None for grad, wanted in zip(grads, ctx.needs_input_grad))


def _new_outputs(settings: Settings, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return uninitialised spikes, membranes and winners [T, B, HP, WP, N]; the latter two where they are kept."""
    shape = settings.shape
    size = shape.num_steps, shape.batch, *shape.pooled, shape.n_out
    spk = torch.empty(size, dtype=torch.uint8, device=device)
    mem = torch.empty(size, device=device) if settings.wants_gradient or settings.keep_mem else None
    return spk, mem, None if mem is None or shape.pool == 1 else torch.empty_like(spk)


def _first_forward(count, weight, bias, numbers, settings):
    shape, norm, scaling = settings.shape, settings.norm, None
    scale, shift, sign, sums = None, bias, None, ()
    if norm is not None and norm.training:
        squares, total = launch.first_statistics(count, shape)
        flat = weight.double().flatten(1)
        seen = flat @ squares
        scaling = batch_norm.from_sums(flat @ total, (seen * flat).sum(1), shape.rows, bias, norm)
        sums = seen, total
    elif norm is not None:
        scaling = batch_norm.running(bias, norm)
    if scaling is not None:
        scale, shift = scaling.scale.abs(), scaling.shift
        sign = scaling.weight  # what is largest under a negative factor is smallest without it
    spk, mem, arg = _new_outputs(settings, count.device)
    launch.first_forward(
        count, weight, launch.largest(weight), settings.parts, shape, numbers, settings.equation, sign=sign,
        scale=scale, shift=shift, spk=spk, mem=mem, arg=arg,
    )  # fmt: skip
    return spk, mem, scaling, (count, arg, *sums)


def _first_backward(ctx, grad_spk):
    weight, numbers, mem, count, arg, *statistics = ctx.saved_tensors
    settings, shape, by = ctx.settings, ctx.settings.shape, ctx.scaling
    back = launch.neurons_backward(
        grad_spk, mem, numbers, settings.equation, shape.neurons, shape.n_out, by_channel=True,
        learn=ctx.needs_input_grad[6],
    )  # fmt: skip
    windows = launch.first_weight_gradient(count, back.cur, arg, back.amax, shape, settings.parts)
    of_bias, of_norm = back.sums.float(), (None, None)
    if by is not None:  # batch statistics: all that they ask for is known of the windows
        seen, total = statistics
        windows, size = windows.double(), shape.rows
        flat = weight.double().flatten(1)
        products = by.deviation * ((flat * windows).sum(1) - by.mean * back.sums)
        windows = by.factor[:, None] * (
            windows
            - (back.sums / size)[:, None] * total
            - (products * by.deviation / size)[:, None] * (seen - by.mean[:, None] * total)
        )
        of_bias, of_norm = torch.zeros_like(of_bias), (products.float(), back.sums.float())
    return None, None, windows.float().view_as(weight), of_bias, *of_norm, back.numbers, None


def _split_forward(weight: Tensor, amax: Tensor, settings: Settings, sign: Tensor | None = None) -> launch.Split:
    n_out, n_in, size, _ = weight.shape
    taps = size * size
    strides = 0, n_in * taps, 0, taps, 1
    return launch.split(weight, amax, settings.parts, k=n_in, n=n_out, taps=taps, strides=strides, sign=sign)


def _forward(count, weight, bias, numbers, settings):
    shape, norm, equation = settings.shape, settings.norm, settings.equation
    count, amax = _channels_last(count), launch.largest(weight)
    spk, mem, arg = _new_outputs(settings, count.device)
    scaling, scale, shift, cur, sign = None, None, bias, None, None
    batch_statistics = norm is not None and norm.training
    if norm is not None and not batch_statistics:
        scaling = batch_norm.running(bias, norm)
        scale, shift = scaling.scale, scaling.shift
    keeps_cur = norm is not None and settings.wants_gradient
    if shape.pool == 2 and not batch_statistics and not keeps_cur:
        if scaling is not None:
            scale, sign = scale.abs(), scaling.weight
        pooled = launch.pooled_products(count, _split_forward(weight, amax, settings, sign), shape, arg)
        mem = pooled if mem is not None else None  # in place
        launch.neurons_forward(
            pooled, numbers, equation, shape.neurons, shape.n_out, scale=scale, shift=shift, spk=spk, mem=mem
        )
    else:
        split = _split_forward(weight, amax, settings)
        cur, sums, squares = launch.products(count, split, shape, stats=batch_statistics)
        cur = cur.unflatten(0, (shape.num_steps, shape.batch))
        if batch_statistics:
            scaling = batch_norm.from_sums(sums, squares, shape.rows, bias, norm)
            scale, shift = scaling.scale, scaling.shift
        if shape.pool == 1 and mem is not None and not keeps_cur:
            mem = cur
        launch.neurons_forward(
            cur, numbers, equation, shape.neurons, shape.n_out, image=shape.out, pool=shape.pool, scale=scale,
            shift=shift, spk=spk, mem=mem, arg=arg,
        )  # fmt: skip
    return spk, mem, scaling, (count, amax, arg, cur if keeps_cur else None)


def _backward(ctx, grad_spk):
    weight, numbers, mem, count, amax, arg, cur = ctx.saved_tensors
    settings, shape, by = ctx.settings, ctx.settings.shape, ctx.scaling
    norm = None if by is None else (cur, by.mean.float(), by.deviation.float(), by.weight, by.bias)
    back = launch.neurons_backward(
        grad_spk, mem, numbers, settings.equation, shape.neurons, shape.n_out, image=shape.out, pool=shape.pool,
        by_channel=True, norm=norm, arg=arg, learn=ctx.needs_input_grad[6],
    )  # fmt: skip
    of_bias, of_norm, top, through = back.sums.float(), (None, None), back.amax, None
    if by is not None:
        of_norm = back.products.float(), of_bias
        top = top * by.scale.abs().amax()
        if settings.norm.training:
            through = cur, *batch_norm.spread_coefficients(back.sums, back.products, shape.rows, by)
            of_bias = torch.zeros_like(of_bias)
        else:
            zero = torch.zeros_like(by.scale)
            through, of_bias = (cur, zero, zero, by.scale), (by.factor * back.sums).float()
    grad = launch.spread(back.cur, arg, top, shape, settings.parts, through)
    of_weight = launch.weight_gradient(count, grad, top, shape).permute(2, 3, 0, 1)
    of_path = None
    if ctx.needs_input_grad[1]:
        n_out, n_in, size, _ = weight.shape
        taps = size * size
        strides = 0, taps, 0, n_in * taps, 1
        split = launch.split(weight, amax, settings.parts, k=n_out, n=n_in, taps=taps, strides=strides, flip=True)
        of_input = launch.products(grad, split, shape, transposed=True, amax=top)[0]
        of_path = _images(of_input.unflatten(0, (shape.num_steps, shape.batch)))
    return None, of_path, of_weight, of_bias, *of_norm, back.numbers, None


class Linear(torch.autograd.Function):
    """Fully connected layer: uint8 counts [T, B, n_in], or images [T, B, H, W, C] channels-last, to currents."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx, count, path, weight, bias, parts):
        """Compute the outputs, and keep what the way back needs."""
        with torch.cuda.device_of(count):
            weight = weight.contiguous()
            shape = _linear_shape(count, weight)
            amax, (c, p) = launch.largest(weight), _pixels(count)
            split = launch.split(weight, amax, parts, k=c * p, k0=c, n=shape.n_out, taps=1, strides=(0, c * p, 1, p, 0))
            out = launch.products(count, split, shape)[0].view(*count.shape[:2], shape.n_out)
            out = out if bias is None else out + bias
        ctx.save_for_backward(count, weight, amax)
        ctx.parts = parts
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, grad):
        """Compute a gradient for each argument of `forward`."""
        count, weight, amax = ctx.saved_tensors
        shape, (c, p) = _linear_shape(count, weight), _pixels(count)
        of_path, of_weight = None, None
        with torch.cuda.device_of(count):
            grad = grad.float().contiguous()
            top = launch.largest(grad)
            parts = launch.spread(grad, None, top, shape, ctx.parts)
            if ctx.needs_input_grad[2]:
                of_weight = launch.weight_gradient(count, parts, top, shape).view(-1, p, c).transpose(1, 2)
                of_weight = of_weight.reshape(weight.shape)
            if ctx.needs_input_grad[1]:
                strides = 1, p, 0, c * p, 0
                split = launch.split(weight, amax, ctx.parts, k=shape.n_out, n=c * p, n0=c, taps=1, strides=strides)
                of_path = launch.products(parts, split, shape, transposed=True, amax=top)[0].view(count.shape)
            of_bias = grad.sum((0, 1)) if ctx.needs_input_grad[3] else None
        return None, of_path, of_weight, of_bias, None


def _linear_shape(count: Tensor, weight: Tensor) -> Shape:
    return Shape(count.shape[0], count.shape[1], weight.shape[1], 1, 1, weight.shape[0], 1, 1, 0, 1)


def _pixels(count: Tensor) -> tuple[int, int]:
    """Return channels and pixels of the counts, in memory in that order from the fastest."""
    return (count.shape[2], 1) if count.dim() == 3 else (count.shape[4], count.shape[2] * count.shape[3])


class Neurons(torch.autograd.Function):
    """Neurons alone: currents float32 [T, B, ...] to spikes and membranes."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx, cur, numbers, equation):
        """Compute the outputs, and keep what the way back needs."""
        cur = cur.contiguous()
        spk, mem = torch.empty_like(cur), torch.empty_like(cur)
        with torch.cuda.device_of(cur):
            launch.neurons_forward(cur, numbers, equation, cur[0].numel(), 1, spk=spk, mem=mem)
        ctx.save_for_backward(mem, numbers)
        ctx.equation = equation
        ctx.set_materialize_grads(False)
        return spk, mem

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, grad_spk, grad_mem):
        """Compute a gradient for each argument of `forward`."""
        mem, numbers = ctx.saved_tensors
        if grad_spk is None and grad_mem is None:
            return None, None, None
        grad_spk = torch.zeros_like(mem) if grad_spk is None else grad_spk.contiguous()
        grad_mem = None if grad_mem is None else grad_mem.contiguous()
        with torch.cuda.device_of(mem):
            back = launch.neurons_backward(
                grad_spk, mem, numbers, ctx.equation, mem[0].numel(), 1, grad_mem=grad_mem,
                learn=ctx.needs_input_grad[1],
            )  # fmt: skip
        return back.cur, back.numbers, None
