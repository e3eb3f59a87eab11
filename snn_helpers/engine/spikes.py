"""Spikes between layers: one byte each, with a way for gradients to pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MOST_A_PIXEL = 32  # events; recordings have fewer in a step, but for pixels that are broken


@dataclass(frozen=True)
class Spikes:
    """Spikes or event counts over time, one byte each, and the gradient's way through them.

    Parameters
    ----------
    count : uint8 Tensor [T, B, ...]
        0 or 1 for spikes; more for event counts and sums of spikes. Images are [T, B, C, H, W], channels-last in
        memory.
    path : float Tensor of the same shape, or None
        Carries no numbers (its memory is one zero): it only stands in autograd's graph where float spikes would, and
        receives their gradient. None where no gradient is wanted.
    mem : float Tensor of the same shape, or None
        The membranes, where asked for; detached.
    events : (int, int) or None
        The most in any step of any recording, and all of them, where an engine has counted.
    most : int
        What no count is above, where it is known to be less than a byte holds: 1 for spikes.
    """

    count: Tensor
    path: Tensor | None = None
    mem: Tensor | None = None
    events: tuple[int, int] | None = None
    most: int = 255

    @classmethod
    def of(cls, spk_rec: Tensor | Spikes, mem: Tensor | None = None) -> Spikes:
        """Return spikes or counts [T, B, ...] of any type as `Spikes`; a gradient that they ask for reaches them.

        Raises
        ------
        ValueError
            If they are not whole numbers in [0, 255].
        """
        if isinstance(spk_rec, Spikes):
            return spk_rec
        if spk_rec.dtype == torch.uint8:
            return cls(spk_rec, None, mem)
        count, path = _FromFloat.apply(spk_rec)
        if not _alike(count, spk_rec.detach()):
            raise ValueError("event counts must be whole numbers in [0, 255]; got others (or NaN).")
        return cls(count, path if spk_rec.requires_grad else None, mem)

    @property
    def shape(self) -> torch.Size:
        """Shape of the spikes, [T, B, ...]."""
        return self.count.shape

    def float(self) -> Tensor:
        """Return the spikes as a float32 tensor with gradient."""
        return self.count.float() if self.path is None else _ToFloat.apply(self.count, self.path)

    def fraction(self) -> Tensor:
        """Return the mean of the spikes as a scalar; its gradient reaches the spikes that were fired only."""
        if self.events is not None:
            total = torch.tensor(self.events[1], dtype=torch.float32, device=self.count.device)
        else:  # in two steps, the first along memory: three times as fast
            total = self.count.sum(2, dtype=torch.int32).sum().float()
        mean = total / self.count.numel()
        return mean if self.path is None else _Mean.apply(mean, self.count, self.path)

    def flatten(self) -> Spikes:
        """Return the spikes as [T, B, features], in the order of `torch.flatten` (channels, rows, columns)."""
        return Spikes(self.count.flatten(2), None if self.path is None else self.path.flatten(2), most=self.most)

    def delayed(self, delays: Sequence[int]) -> Spikes:
        """Return these spikes [T, B, C, ...] as they were some steps before, side by side; see `delayed`."""
        count = delayed(self.count.movedim(2, -1), delays, -1).movedim(-1, 2)
        path = None if self.path is None else _Delayed.apply(self.path, tuple(delays))
        return Spikes(count, path, most=self.most)

    def _refuse_wrapped(self, other: Spikes, count: Tensor) -> None:
        """Refuse a sum that went beyond a byte."""
        wrapped = (count < self.count).any()
        if count.is_cuda:  # to look at it would wait for the device, and is impossible in a CUDA graph
            torch._assert_async(~wrapped, "spikes add up to more than 255, and `Spikes` count to 255")
        elif not count.is_meta and wrapped:
            total = int(self.count.int().add(other.count).max())
            raise ValueError(f"spikes add up to {total}, and `Spikes` count to 255: add them as float tensors instead.")

    def __add__(self, other: Spikes) -> Spikes:
        """Add spike by spike (a residual connection): counts add up, the gradient goes both ways.

        Raises
        ------
        ValueError
            If the shapes differ, or a sum is more than 255, which a byte does not hold.
        """
        if self.shape != other.shape:
            raise ValueError(f"spikes to be added differ in shape: {tuple(self.shape)} and {tuple(other.shape)}.")
        count, most = self.count + other.count, min(255, self.most + other.most)
        if self.most + other.most > 255:
            self._refuse_wrapped(other, count)
        if self.path is None and other.path is None:
            return Spikes(count, most=most)
        paths = [s.path if s.path is not None else no_path(s.count) for s in (self, other)]
        return Spikes(count, _Merge.apply(*paths), most=most)


def delayed(values: Tensor, delays: Sequence[int], dim: int = 2) -> Tensor:
    """Return values [T, B, C, ...] delayed by numbers of steps, joined along an axis; zeros before the first step."""
    steps = [max(0, len(values) - delay) for delay in delays]
    padded = [
        torch.cat([values.new_zeros(len(values) - kept, *values.shape[1:]), values[:kept]]) if delay else values
        for delay, kept in zip(delays, steps)
    ]
    return torch.cat(padded, dim)


def few_a_pixel(spikes: Spikes) -> bool:
    """Whether event-driven sums are as precise as products: a count is so many additions there, each rounded."""
    return spikes.most <= MOST_A_PIXEL or int(spikes.count.max()) <= MOST_A_PIXEL


def _alike(count: Tensor, spk: Tensor) -> bool:
    """Whether counts are the same numbers as spikes of another type."""
    if spk.device.type == "cpu" and spk.dtype == torch.float32:  # a third of the time: no whole tensor is converted
        return np.array_equal(count.numpy(), spk.numpy())
    return torch.equal(count.to(spk.dtype), spk)


def no_path(like: Tensor) -> Tensor:
    """Return a float32 zero, expanded to the shape of `like`."""
    return torch.zeros((), dtype=torch.float32, device=like.device).expand(like.shape)


class _FromFloat(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spk):
        count = spk.to(torch.uint8)
        ctx.mark_non_differentiable(count)
        ctx.set_materialize_grads(False)  # else zeros are made for the counts
        return count, no_path(count)

    @staticmethod
    def backward(ctx, _, grad):
        return grad


class _ToFloat(torch.autograd.Function):
    @staticmethod
    def forward(ctx, count, path):
        return count.to(path.dtype)

    @staticmethod
    def backward(ctx, grad):
        return None, grad


class _Merge(torch.autograd.Function):
    @staticmethod
    def forward(ctx, first, second):
        return no_path(first)

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


class _Delayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, path, delays):
        ctx.delays = delays
        steps, batch, channels, *rest = path.shape
        return path.new_zeros(()).expand(steps, batch, len(delays) * channels, *rest)

    @staticmethod
    def backward(ctx, grad):
        parts = grad.chunk(len(ctx.delays), 2)
        total = torch.zeros_like(parts[0])
        for delay, part in zip(ctx.delays, parts):
            steps = max(0, len(part) - delay)
            total[:steps] += part[len(part) - steps :]
        return total, None


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mean, count, path):
        ctx.save_for_backward(count)
        return mean.clone()

    @staticmethod
    def backward(ctx, grad):
        # of spikes that were fired only
        (count,) = ctx.saved_tensors
        return None, None, count * (grad / count.numel())
