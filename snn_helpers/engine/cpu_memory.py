"""Tensors as the CPU kernels want them: contiguous, channels-last, on a cache line."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def empty(*shape: int, dtype=np.float32) -> Tensor:
    """Return an uninitialised tensor that starts on a cache line.

    NumPy asks Linux for huge pages, torch does not: first touches of fresh memory were a quarter of a training step.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = np.empty(size + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return torch.from_numpy(buffer[start : start + size].view(dtype).reshape(shape))


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


def weight_rows(weight: Tensor) -> Tensor:
    """Return a convolution's weight [n_out, C, 3, 3] as [3, 3, C, n_out]: a row for each tap and input channel."""
    return weight.detach().permute(2, 3, 1, 0).contiguous()


def weight_rows_back(weight: Tensor) -> Tensor:
    """Return a convolution's weight [n_out, C, 3, 3] as [3, 3, n_out, C], with the columns reversed.

    Reversed, since the gradient of an input comes from the pixel on the other side of the tap.
    """
    return weight.detach().permute(2, 3, 0, 1).flip(1).contiguous()
