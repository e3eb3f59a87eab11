"""Tensors as the CPU kernels want them: contiguous, channels-last, on a cache line."""

from __future__ import annotations

import math
import weakref

import numpy as np
import torch
from torch import Tensor

LINE = 64  # bytes of a cache line
SMALL = 2**18  # bytes; smaller arrays are not kept


class Stock:
    """Memory that was given back, kept for the next array of its size: each training step needs the same again.

    First touches of fresh memory, which the system clears page by page, were an eighth of a training step. Every change
    is one operation that no other thread can interrupt, so that there is no lock to wait for in a destructor.

    Parameters
    ----------
    limit : int
        Bytes kept at most; beyond, all are let go, so that sizes no longer in use do not pile up.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.kept: dict[int, list[np.ndarray]] = {}

    def take(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        """Return an uninitialised array on a cache line, whose memory comes back here when it is freed.

        Make a tensor of it, or views that NumPy lets outlive it will see their memory used again.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            buffer = self.kept[size].pop()
        except (KeyError, IndexError):
            buffer = np.empty(size + LINE, np.uint8)  # NumPy asks Linux for huge pages, torch does not
        start = -buffer.ctypes.data % LINE
        taken = buffer[start : start + size].view(dtype).reshape(shape)
        if size >= SMALL:
            weakref.finalize(taken, self._give_back, size, buffer).atexit = False
        return taken

    def _give_back(self, size: int, buffer: np.ndarray) -> None:
        if size > self.limit:
            return
        if size + sum(size * len(buffers) for size, buffers in [*self.kept.items()]) > self.limit:
            self.kept = {}
        self.kept.setdefault(size, []).append(buffer)


_stock = Stock(limit=2**29)
# What torch's own operations free, the GNU C library gives back to the system at once, which clears it page by page at
# the next step, if it is larger than any block freed before (up to 32 MB). So a block of about that size is freed here.
np.empty(2**25 - 2**16, np.uint8)


def empty(*shape: int, dtype=np.float32) -> Tensor:
    """Return an uninitialised tensor that starts on a cache line, in memory that an earlier one used if possible."""
    return torch.from_numpy(_stock.take(shape, dtype))  # which holds this very array


def array(tensor: Tensor, *shape: int) -> np.ndarray:
    """Return a tensor's memory (a copy where it is not contiguous) as an array, of another shape where one is given."""
    tensor = tensor.detach().contiguous()
    return (tensor.view(shape) if shape else tensor).numpy()


def channels_last(tensor: Tensor) -> Tensor:
    """Return [T, B, C, H, W] as contiguous [T, B, H, W, C]; no copy where memory already lies so."""
    return tensor.permute(0, 1, 3, 4, 2).contiguous()


def channels_first(tensor: Tensor) -> Tensor:
    """Return a view [T, B, C, H, W] of [T, B, H, W, C]."""
    return tensor.permute(0, 1, 4, 2, 3)


def weight_rows(weight: Tensor, groups: int) -> Tensor:
    """Return a convolution's weight as [k, k, groups, C / groups, n_out / groups]: a row for each tap and channel."""
    return weight.detach().unflatten(0, (groups, -1)).permute(3, 4, 0, 2, 1).contiguous()


def weight_rows_back(weight: Tensor) -> Tensor:
    """Return a convolution's weight [n_out, C, k, k] as [k, k, n_out, C], with the columns reversed.

    Reversed, since the gradient of an input comes from the pixel on the other side of the tap.
    """
    return weight.detach().permute(2, 3, 0, 1).flip(1).contiguous()
