"""Layers by torch's own kernels, in float32 whatever torch is set to: what runs where the Triton kernels do not.

TF32, which cuDNN uses unless told otherwise, keeps ten bits of a weight, and thousands of spikes differ. The way back
is a function of its own, since it runs when settings are others.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor
from torch.nn import functional as F


@contextlib.contextmanager
def tf32(allowed: bool):
    """Have cuDNN and cuBLAS use TF32, or not, and put their settings back afterwards."""
    backends = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "tf32" if allowed else "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before):
            backend.fp32_precision = precision


def convolve(
    frames: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 1, precision: str = "exact"
) -> Tensor:
    """Convolve [N, C, H, W]; under autocast in the half precision that it asks for."""
    if torch.is_autocast_enabled(frames.device.type):
        return F.conv2d(frames, weight, bias, stride, padding)
    return _Conv.apply(frames, weight, bias, stride, padding, precision == "tf32")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, precision: str = "exact") -> Tensor:
    """Connect fully; under autocast in the half precision that it asks for."""
    autocast = torch.is_autocast_enabled(x.device.type)
    return F.linear(x, weight, bias) if autocast else _Linear.apply(x, weight, bias, precision == "tf32")


_convolution_backward = torch.ops.aten.convolution_backward


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding, allow):
        """Compute the outputs, and keep what the way back needs."""
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.allow = stride, padding, allow
        with tf32(allow):
            return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx, grad):
        """Compute a gradient for each argument of `forward`."""
        x, weight = ctx.saved_tensors
        where = [len(weight)], [ctx.stride] * 2, [ctx.padding] * 2, [1, 1], False, [0, 0], 1
        with tf32(ctx.allow):
            grads = _convolution_backward(grad, x, weight, *where, list(ctx.needs_input_grad[:3]))
        return *grads, None, None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, allow):
        """Compute the outputs, and keep what the way back needs."""
        ctx.save_for_backward(x, weight)
        ctx.allow = allow
        with tf32(allow):
            return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        """Compute a gradient for each argument of `forward`."""
        x, weight = ctx.saved_tensors
        rows, wanted = grad.flatten(0, -2), ctx.needs_input_grad
        with tf32(ctx.allow):
            grad_x = grad @ weight if wanted[0] else None
            grad_weight = rows.t() @ x.flatten(0, -2) if wanted[1] else None
        return grad_x, grad_weight, rows.sum(0) if wanted[2] else None, None
