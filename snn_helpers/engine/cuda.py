"""Spiking layers on a GPU: time folded into the batch for convolutions, one Triton kernel each way for neurons.

On a GPU the cost of a step-by-step loop is kernel launches. The same three functions as `cpu.py`: `conv_layer`,
`linear`, `neurons`. Without Triton, and for what the kernels do not do (gradients of the neuron's numbers), `neurons`
is the reference's.

Convolutions and fully connected layers compute in float32, forward and backward, whatever torch is set to: TF32, which
cuDNN uses unless told otherwise, keeps ten bits of a weight, and thousands of spikes differ. Under autocast they are
computed in the half precision that was asked for.
"""

from __future__ import annotations

import contextlib
import functools
import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from snn_helpers.engine.kernels import (
    KINDS,
    SURROGATES,
    Kernel,
    check_currents,
    dense_conv_layer,
    find_kernel,
    number_tensors,
    register_kernel,
)
from snn_helpers.engine.reference import BatchNorm, Neuron, run
from snn_helpers.engine.spikes import Spikes

try:
    import triton
    import triton.language as tl
except ImportError:  # no Triton for this platform
    triton = None

BLOCK = 256  # neurons a program

if triton is not None:

    @triton.jit
    def _forward(cur, spk, mem, numbers, num_steps, total, KIND: tl.constexpr, WIDTH: tl.constexpr):
        lane = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
        inside = lane < total
        beta, threshold, alpha = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
        rho, gain = tl.load(numbers + 3), tl.load(numbers + 4)
        u = tl.zeros([WIDTH], tl.float32)
        s = tl.zeros([WIDTH], tl.float32)
        extra = tl.zeros([WIDTH], tl.float32)
        for t in range(num_steps):
            at = t * total + lane
            x = tl.load(cur + at, mask=inside, other=0.0).to(tl.float32)
            now = threshold
            reset = s * threshold
            if KIND == 1:
                extra = alpha * extra + x
                x = extra
            if KIND == 2:
                reset = s * (threshold + gain * extra)
                extra = rho * extra + (1.0 - rho) * s
                now = threshold + gain * extra
            u = beta * u + x - reset
            s = (u - now > 0).to(tl.float32)
            tl.store(spk + at, s, mask=inside)
            tl.store(mem + at, u, mask=inside)

    @triton.jit
    def _adaptation(spk, extra, numbers, num_steps, total, WIDTH: tl.constexpr):
        lane = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
        inside = lane < total
        rho = tl.load(numbers + 3)
        a = tl.zeros([WIDTH], tl.float32)
        for t in range(num_steps):
            tl.store(extra + t * total + lane, a, mask=inside)
            s = tl.load(spk + t * total + lane, mask=inside, other=0.0)
            a = rho * a + (1.0 - rho) * s

    @triton.jit
    def _backward(
        grad_spk, grad_mem, spk, mem, extra, grad_cur, numbers, slope, num_steps, total,
        KIND: tl.constexpr, SURROGATE: tl.constexpr, WIDTH: tl.constexpr,
    ):  # fmt: skip
        lane = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
        inside = lane < total
        beta, threshold, alpha = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
        rho, gain = tl.load(numbers + 3), tl.load(numbers + 4)
        of_mem = tl.zeros([WIDTH], tl.float32)
        of_extra = tl.zeros([WIDTH], tl.float32)
        for back in range(num_steps):
            at = (num_steps - 1 - back) * total + lane
            g = tl.load(grad_spk + at, mask=inside, other=0.0).to(tl.float32)
            excess = tl.load(mem + at, mask=inside, other=0.0) - threshold
            if KIND == 2:
                excess = excess - gain * tl.load(extra + at, mask=inside, other=0.0)
                g = g + (1.0 - rho) * of_extra
            if SURROGATE == 1:
                g = g * tl.maximum(1.0 - 0.5 * slope * tl.abs(excess), 0.0)
            elif SURROGATE == 2:
                turn = 1.5707963267948966 * slope * excess
                g = g * (0.5 * slope / (1.0 + turn * turn))
            else:
                r = 1.0 / (1.0 + slope * tl.abs(excess))
                g = g * r * r
            if KIND == 2:
                s = tl.load(spk + at, mask=inside, other=0.0)
                of_extra = gain * (-g - s * of_mem) + rho * of_extra
            of_mem = g + beta * of_mem + tl.load(grad_mem + at, mask=inside, other=0.0).to(tl.float32)
            if KIND == 1:
                of_extra = of_mem + alpha * of_extra
                tl.store(grad_cur + at, of_extra, mask=inside)
            else:
                tl.store(grad_cur + at, of_mem, mask=inside)


class _Neurons(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx, cur, neuron, numbers):
        """Compute the outputs, and keep what the way back needs."""
        cur = cur.contiguous()
        num_steps, total = cur.shape[0], cur[0].numel()
        spk, mem = torch.empty_like(cur), torch.empty_like(cur)
        kind, grid = KINDS.index(neuron.kind), (triton.cdiv(total, BLOCK),)
        _forward[grid](cur, spk, mem, numbers, num_steps, total, KIND=kind, WIDTH=BLOCK, enable_fp_fusion=False)
        ctx.save_for_backward(spk, mem, numbers)
        ctx.neuron = neuron
        return spk, mem

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, grad_spk, grad_mem):
        """Compute a gradient for each argument of `forward`."""
        spk, mem, numbers = ctx.saved_tensors
        neuron, kind = ctx.neuron, KINDS.index(ctx.neuron.kind)
        num_steps, total = spk.shape[0], spk[0].numel()
        grad_cur, grid = torch.empty_like(mem), (triton.cdiv(total, BLOCK),)
        extra = mem
        if neuron.kind == "alif":
            extra = torch.empty_like(mem)
            _adaptation[grid](spk, extra, numbers, num_steps, total, WIDTH=BLOCK)
        _backward[grid](
            grad_spk.contiguous(), grad_mem.contiguous(), spk, mem, extra, grad_cur, numbers, neuron.slope, num_steps,
            total, KIND=kind, SURROGATE=SURROGATES.index(neuron.surrogate), WIDTH=BLOCK,
        )  # fmt: skip
        return grad_cur, None, None


@functools.lru_cache(maxsize=1)
def _warn_without_triton() -> None:
    warnings.warn("Triton is not installed: the neurons run step by step, which is slower.", stacklevel=3)


def neurons(cur: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Run one layer of neurons over time; the same as `reference.run`, in float32 also under autocast.

    Parameters
    ----------
    cur : float Tensor [T, B, ...]
        Input currents.
    neuron : Neuron
        Equation and parameters.

    Returns
    -------
    spk_rec, mem_rec : Tensor [T, B, ...]
        Spikes in {0, 1} and membranes.

    Raises
    ------
    ValueError
        If the currents are not [T, B, ...] with at least one step and recording.
    """
    cur = check_currents(cur if cur.dtype == torch.float64 else cur.float())
    if triton is None:
        _warn_without_triton()
        return run(cur, neuron)
    kernel = find_kernel("neurons", neuron, "cuda")
    return run(cur, neuron) if isinstance(kernel, str) or cur.dtype == torch.float64 else kernel.function(cur, neuron)


def _neurons(cur: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    return _Neurons.apply(cur, neuron, torch.stack(number_tensors(neuron, cur.device)).detach())


def linear(spikes: Spikes | Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Fully connected layer on spikes [T, B, ...]; images are flattened. Returns currents [T, B, n_out]."""
    return _exactly(_Linear, F.linear, Spikes.of(spikes).float().flatten(2), weight, bias)


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
) -> Spikes:
    """Spiking convolution; see `cpu.conv_layer`. `path` is accepted for the same call and has no effect.

    Returns
    -------
    Spikes [T, B, n_out, H // pool, W // pool]
        Output spikes; `mem` is None unless asked for.
    """

    def convolve(frames, weight, bias, padding):
        return _exactly(_Conv, functools.partial(F.conv2d, padding=padding), frames, weight, bias)

    return dense_conv_layer(
        Spikes.of(spikes), weight, bias, neuron, norm, pool, keep_mem, convolve=convolve, engine="cuda"
    )


@contextlib.contextmanager
def _without_tf32():
    backends = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before):
            backend.fp32_precision = precision


def _exactly(function, plain, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute without TF32 in both directions, or by the plain function where autocast chooses the precision."""
    autocast = torch.is_autocast_enabled(x.device.type)
    return plain(x, weight, bias) if autocast else function.apply(x, weight, bias)


_convolution_backward = torch.ops.aten.convolution_backward


class _Conv(torch.autograd.Function):
    """3x3 convolution with padding 1; the way back is a function of its own, since it runs when settings are others."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        """Compute the outputs, and keep what the way back needs."""
        ctx.save_for_backward(x, weight)
        with _without_tf32():
            return F.conv2d(x, weight, bias, padding=1)

    @staticmethod
    def backward(ctx, grad):
        """Compute a gradient for each argument of `forward`."""
        x, weight = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad)
        with _without_tf32():
            return _convolution_backward(
                grad, x, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
            )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        """Compute the outputs, and keep what the way back needs."""
        ctx.save_for_backward(x, weight)
        with _without_tf32():
            return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        """Compute a gradient for each argument of `forward`."""
        x, weight = ctx.saved_tensors
        rows, (wants_x, wants_weight, wants_bias) = grad.flatten(0, -2), ctx.needs_input_grad
        with _without_tf32():
            grad_x = grad @ weight if wants_x else None
            grad_weight = rows.t() @ x.flatten(0, -2) if wants_weight else None
        return grad_x, grad_weight, rows.sum(0) if wants_bias else None


if triton is not None:
    for _kind in KINDS:
        register_kernel("cuda", "neurons", _kind, Kernel(_neurons, SURROGATES, learns=False))
        register_kernel("cuda", "conv_layer", _kind, Kernel(conv_layer, SURROGATES, learns=False))
register_kernel("cuda", "linear", None, Kernel(linear))
