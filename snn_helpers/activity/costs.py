"""What an answer costs: synaptic operations, layer by layer, beside the multiplications of a dense network."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from snn_helpers.over_time import InputListener, evaluating, over_time

PICOJOULES_PER_SPIKE = (0.9, 23.6)
"""Energy of one synaptic operation, in pJ: from the addition alone, 32-bit float in 45 nm (M. Horowitz, ISSCC 2014,
fig. 1.1.9), to the least that Loihi takes, simulated before it was made (M. Davies et al., IEEE Micro 38(1), 2018)."""
PICOJOULES_PER_MAC = 4.6
"""Energy of a 32-bit float multiplication and addition alone in 45 nm, in pJ (Horowitz 2014)."""


@dataclass(frozen=True)
class LayerCost:
    """What one layer's connections do for one recording, all steps together.

    Attributes
    ----------
    operations : float
        Synaptic operations: pairs of an input that is not zero and a weight that is not zero. NeuroBench's "effective".
    dense : float
        Multiply-accumulates of a network that does not look for zeros; places in the padding are not counted.
    spiking : bool
        The inputs were 0 or 1 throughout, so that an operation is an addition; else it is a multiplication, too.
    """

    operations: float
    dense: float
    spiking: bool


@dataclass(frozen=True)
class Energy:
    """Energy of one recording's synaptic operations in nJ, as a range; see `estimate_energy`."""

    low_nj: float
    high_nj: float
    dense_nj: float
    caveat: str


def synaptic_operations(model: nn.Module, frames: Tensor) -> dict[str, LayerCost]:
    """Count the synaptic operations of each layer's connections, in a mean recording.

    Parameters
    ----------
    model : nn.Module
        Any network whose connections are `nn.Conv2d` and `nn.Linear`.
    frames : Tensor [T, B, ...]
        What it is run on, in eval mode and without gradients.

    Returns
    -------
    dict of str to LayerCost
        By path of the connections' module, without a last part "weights".

    Notes
    -----
    As NeuroBench counts them (J. Yik et al., Nature Communications 16:1545, 2025): biases, normalisation and the
    neurons themselves are not counted, and an input of 2 counts as one multiplication.
    """
    counts: dict[str, LayerCost] = {}
    with contextlib.ExitStack() as hooks, evaluating(model):
        for path, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                count = partial(_count, counts, path.removesuffix(".weights"), module)
                hooks.callback(module.register_forward_pre_hook(InputListener(count)).remove)
        over_time(model)(frames)
    if not counts:
        raise ValueError(f"{type(model).__name__} ran through neither nn.Conv2d nor nn.Linear: nothing to count.")
    batch = frames.shape[1]
    return {name: LayerCost(c.operations / batch, c.dense / batch, c.spiking) for name, c in counts.items()}


def activation_sparsity(spikes: Mapping[str, np.ndarray]) -> float:
    """Return the share of zeros among all neurons, steps and recordings of the layers [T, B, ...] given."""
    if not spikes:
        raise ValueError("`spikes`: nothing was recorded; record with what=('spk',).")
    total = sum(spk.size for spk in spikes.values())
    return 1 - sum(int(np.count_nonzero(spk)) for spk in spikes.values()) / total


def estimate_energy(costs: Mapping[str, LayerCost]) -> Energy:
    """Return the energy of a recording's synaptic operations as a range, and the dense network's arithmetic.

    The range is between arithmetic alone and a chip that was measured; what really is paid depends on where weights and
    states are kept. No number of this kind compares two machines.
    """
    operations = sum(cost.operations for cost in costs.values())
    low, high = (1e-3 * picojoules * operations for picojoules in PICOJOULES_PER_SPIKE)
    caveat = (
        "low: additions alone, 45 nm (Horowitz 2014); high: 23.6 pJ an operation, simulated for Loihi (Davies et al. "
        "2018); dense: multiplications and additions alone. Neuron updates, memory for states and the camera are not "
        "in it."
    )
    return Energy(low, high, 1e-3 * PICOJOULES_PER_MAC * sum(cost.dense for cost in costs.values()), caveat)


def _count(counts: dict[str, LayerCost], name: str, weights: nn.Module, inputs: Tensor, times: int) -> None:
    """Add what `weights` do for inputs [..., C, H, W] or [..., features], `times` times."""
    before = counts.get(name, LayerCost(0.0, 0.0, True))
    live = inputs != 0
    fan_out, dense = _fan_out(weights, inputs)
    # Each input of a kind, summed over the batch first: the sums are whole numbers, far below 2^53.
    per_input = live.reshape(-1, *fan_out.shape).sum(0).double()
    counts[name] = LayerCost(
        before.operations + times * float((per_input * fan_out).sum()),
        before.dense + times * dense * (live.numel() // fan_out.numel()),
        before.spiking and bool((inputs[live].abs() == 1).all()),
    )


def _fan_out(weights: Any, inputs: Tensor) -> tuple[Tensor, float]:
    """Return the weights that are not zero behind each input, in the shape of one input, and all weights together."""
    live = (weights.weight.detach() != 0).double()
    if isinstance(weights, nn.Linear):
        return live.sum(0), float(live.numel())
    if isinstance(weights.padding, str) or weights.padding_mode != "zeros":
        raise ValueError("synaptic operations of a convolution are counted for padding by a number of zeros only.")
    channels, height, width = inputs.shape[-3:]
    like = torch.zeros(1, channels, height, width, dtype=torch.float64, device=live.device)
    # All outputs weigh the same, so that the kernels of a group are summed first, one kernel an input channel.
    behind = live.unflatten(0, (weights.groups, -1))
    options: dict[str, Any] = {"stride": weights.stride, "padding": weights.padding, "dilation": weights.dilation}
    options["groups"] = channels
    per_channel = [
        kernels.sum(1).reshape(channels, 1, *kernels.shape[-2:]) for kernels in (behind, torch.ones_like(behind))
    ]
    ones = torch.ones_like(F.conv2d(like, per_channel[0], **options))
    fan_out, every = (conv2d_input(like.shape, kernel, ones, **options)[0] for kernel in per_channel)
    return fan_out.round(), float(every.round().sum())
