"""Batch normalisation between two kernels: the small sums by channel, in float64, on the device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snn_helpers.engine.reference import BatchNorm


class Scaling(NamedTuple):
    """A normalisation as what it does to the currents: (cur - mean) deviation weight + bias, all [C].

    `mean`, `deviation` (its inverse) and `factor`, deviation times weight, are float64; the others float32.
    """

    mean: Tensor
    deviation: Tensor
    factor: Tensor
    weight: Tensor
    bias: Tensor

    @property
    def scale(self) -> Tensor:
        """What currents are multiplied by."""
        return self.factor.float()

    @property
    def shift(self) -> Tensor:
        """What is added to them then."""
        return (self.bias.double() - self.mean * self.factor).float()


def scaling(mean: Tensor, var: Tensor, norm: BatchNorm) -> Scaling:
    """Normalise by these statistics, float64 [C]."""
    weight = torch.ones_like(mean, dtype=torch.float32) if norm.weight is None else norm.weight.detach()
    bias = torch.zeros_like(mean, dtype=torch.float32) if norm.bias is None else norm.bias.detach()
    deviation = (var + norm.eps).rsqrt()
    return Scaling(mean, deviation, weight.double() * deviation, weight, bias)


def from_sums(sums: Tensor, squares: Tensor, size: int, bias: Tensor | None, norm: BatchNorm) -> Scaling:
    """Take this batch's statistics from sums over `size` currents without their bias, which moves the running mean."""
    mean = sums / size
    var = (squares / size - mean * mean).clamp(min=0)
    if norm.running_mean is not None:
        norm.running_mean.lerp_((mean if bias is None else mean + bias).float(), norm.momentum)
        norm.running_var.lerp_((var * (size / max(1, size - 1))).float(), norm.momentum)
    return scaling(mean, var, norm)


def running(bias: Tensor | None, norm: BatchNorm) -> Scaling:
    """Normalise currents without their bias by the running statistics."""
    mean = norm.running_mean.double()
    return scaling(mean if bias is None else mean - bias, norm.running_var.double(), norm)


def spread_coefficients(sums: Tensor, products: Tensor, size: int, by: Scaling) -> tuple[Tensor, Tensor, Tensor]:
    """Return offset, slope and scale [C]: the gradient behind batch statistics is scale du + offset + slope cur.

    `sums` and `products` are those of the gradient du, float64 (see `launch.NeuronGradients`), over `size` currents.
    """
    slope = -by.factor * by.deviation * products / size
    offset = -by.factor * sums / size - slope * by.mean
    return offset.float(), slope.float(), by.scale
