"""What notebook 10 measures of a spiking network: its operations, what they take, and answers for fewer of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from snn_helpers._checks import check_choice
from snn_helpers.activity import Decisions, anytime, decisions, synaptic_operations
from snn_helpers.lessons.results import check_results_home
from snn_helpers.stats import wilson_interval

if TYPE_CHECKING:
    from snn_helpers.models.network import SpikingNetwork


@dataclass(frozen=True)
class CostBudget:
    """How much notebook 10 does in a profile.

    Attributes
    ----------
    recordings : int
        Recordings of a split to score.
    counted : int
        Of them, to count operations in.
    trained : int
        Recordings that the ordinary networks learn from.
    widths, seeds, epochs
        Of the ordinary networks: channels of their first layer, trainings of each, passes over the recordings.
    tuned : int
        Recordings to learn from with rounded weights.
    streamed : int
        Recordings to stream.
    short : dict
        Settings of a spiking network to train where there is none for the data.
    """

    recordings: int
    counted: int
    trained: int
    widths: tuple[int, ...]
    seeds: int
    epochs: int
    tuned: int
    streamed: int
    short: Mapping[str, Any]


_BUDGETS = {
    "smoke": CostBudget(40, 8, 100, (2, 4), 2, 1, 50, 2, {"num_samples": 50, "epochs": 1, "batch_size": 25}),
    "teach": CostBudget(500, 32, 4000, (2, 4, 8), 3, 6, 700, 10, {"num_samples": 1000, "epochs": 3}),
    "full": CostBudget(1000, 64, 4000, (2, 3, 4, 6, 8, 12), 5, 12, 4000, 100, {"num_samples": 4000, "epochs": 8}),
}


@dataclass(frozen=True)
class EnergySource:
    """What one publication says an operation takes, in pJ; None where it does not say."""

    name: str
    addition: float | None
    multiplication: float | None
    words: str

    @property
    def picojoules(self) -> dict[str, float | None]:
        """Price of each kind of operation; a multiplication comes with the addition to a sum."""
        return {"addition": self.addition, "multiplication": self.multiplication}


_HOROWITZ = "M. Horowitz, ISSCC 2014, 45 nm"
ENERGY_SOURCES = (
    EnergySource("32-bit float, arithmetic", 0.9, 4.6, f"{_HOROWITZ}: addition 0.9 pJ, multiplication 3.7 pJ"),
    EnergySource("8-bit weights, arithmetic", 0.1, 0.3, f"{_HOROWITZ}: 32-bit sum 0.1 pJ, 8-bit multiplication 0.2 pJ"),
    EnergySource(
        "8-bit weights, 8 KB memory",
        1.35,
        1.55,
        f"{_HOROWITZ}: as above, plus 1.25 pJ to read 8 of 64 bits",
    ),
    EnergySource(
        "32-bit float, 1 MB memory",
        50.9,
        54.6,
        f"{_HOROWITZ}: as the first row, plus 50 pJ to read 32 of 64 bits",
    ),
    EnergySource(
        "ODIN, measured",
        12.7,
        None,
        "C. Frenkel et al., IEEE TBioCAS 13(1), 2019: 28 nm, at least 12.7 pJ per synaptic operation",
    ),
    EnergySource(
        "Loihi, simulated",
        23.6,
        None,
        "M. Davies et al., IEEE Micro 38(1), 2018: 14 nm, at least 23.6 pJ per synaptic operation",
    ),
    EnergySource(  # AlexNet's convolutions: 278 mW at 35 images/s of 666 million multiplications
        "Eyeriss, measured",
        None,
        12.0,
        "Y.-H. Chen et al., IEEE JSSC 52(1), 2017: 65 nm, about 12 pJ per multiplication",
    ),
)
"""Energy of an operation by source, without camera and memory outside a chip; rows of different sources do not compare.

Loihi's number is from simulations before the chip was made, "consistent with early post-silicon characterization".
"""


def cost_budget(profile: str) -> CostBudget:
    """Return what notebook 10 may spend in `profile`, "smoke", "teach" or "full", where its findings can be kept."""
    check_results_home()
    return _BUDGETS[check_choice("profile", profile, tuple(_BUDGETS))]


def operations_by_step(model: nn.Module, frames: Tensor) -> np.ndarray:
    """Return the synaptic operations of each time step of frames [T, B, ...], a mean recording: float [T]."""
    so_far = [
        sum(cost.operations for cost in synaptic_operations(model, frames[:steps]).values())
        for steps in range(1, len(frames) + 1)
    ]
    return np.diff(so_far, prepend=0.0)


@torch.inference_mode()
def spiking_answers(network: nn.Module, frames: Tensor) -> np.ndarray:
    """Return the class that a spiking network answers for each of the recordings [T, N, ...], int64 [N]."""
    return _decided(network, frames).final


@torch.inference_mode()
def _decided(network: nn.Module, frames: Tensor) -> Decisions:
    out = network(frames)
    return decisions(out.spk_rec.numpy(), out.mem_rec.numpy())


def cost_row(
    network: nn.Module, bits: int, frames: Tensor, labels: np.ndarray, counted: int
) -> tuple[float, float, float, float, float]:
    """Return accuracy, its 95 % interval, kilobytes of weights, and operations, for `plots.draw_bits`.

    Parameters
    ----------
    network : nn.Module
        Spiking.
    bits : int
        Of a weight.
    frames : Tensor [T, N, ...]
        Recordings.
    labels : ndarray [N]
        Their classes.
    counted : int
        Recordings, the first ones, to count operations in.
    """
    hits = int((spiking_answers(network, frames) == labels).sum())
    weights = sum(weight.numel() for weight in network.parameters() if weight.dim() > 1)
    costs = synaptic_operations(network, frames[:, :counted]).values()
    share, bounds = hits / len(labels), wilson_interval(hits, len(labels))
    return share, *bounds, weights * bits / 8e3, sum(cost.operations for cost in costs)


@torch.inference_mode()
def stop_early(
    network: nn.Module, frames: Tensor, labels: np.ndarray, lead: float, step_ms: float
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Stop each recording as soon as the first class leads the second by so many output spikes.

    Parameters
    ----------
    network : nn.Module
        Spiking.
    frames : Tensor [T, N, ...]
        Recordings.
    labels : ndarray [N]
        Their classes.
    lead : float
        Spikes; a recording that never gets there is seen to its end.
    step_ms : float
        Length of a step.

    Returns
    -------
    right : bool ndarray [N]
        Whether the answer at that step is the class.
    stop : int64 ndarray [N]
        The last step that was computed.
    curve : (elapsed_ms, accuracy, low, high), each [T]
        Of all recordings, if time ended earlier.
    """
    out = network(frames)
    first, second = out.spk_rec.cumsum(0).topk(2).values.unbind(-1)
    sure = (first - second >= lead).numpy()
    stop = np.where(sure.any(0), sure.argmax(0), len(sure) - 1)
    decided = decisions(out.spk_rec.numpy(), out.mem_rec.numpy())
    curve = anytime(decided, labels, step_ms)
    right = decided.so_far[stop, np.arange(len(stop))] == labels
    return right, stop, (curve.elapsed_ms, curve.accuracy, curve.low, curve.high)


def colleagues_network(model: SpikingNetwork) -> tuple[SpikingNetwork, str]:
    """Return a copy that fires as the network does, with one channel's weights many times larger, and that layer.

    A normalisation behind the weights undoes the factor. A network without normalisations is copied as it is.
    """
    copied = copy.deepcopy(model).eval()
    layers = copied.spiking_layers()
    normed = [name for name, layer in layers.items() if getattr(layer, "norm", None) is not None]
    if not normed:
        return copied, list(layers)[min(1, len(layers) - 1)]
    name = normed[min(1, len(normed) - 1)]
    layer, channel, factor = layers[name], 0, 400.0
    with torch.no_grad():
        layer.weights.weight[channel] *= factor
        layer.norm.running_mean[channel] *= factor
        variance, eps = layer.norm.running_var, layer.norm.eps
        variance[channel] = factor**2 * (variance[channel] + eps) - eps
    return copied, name


def colleagues_rounding(weight: Tensor, bits: int) -> Tensor:
    """Round weights as the colleague of notebook 10 does: the planted fault is one scale for all of a layer."""
    scale = weight.abs().amax() / (2 ** (bits - 1) - 1)
    return torch.round(weight / scale) * scale


def with_average_pools(model: nn.Module) -> nn.Module:
    """Return a copy in which average pools stand where the max-pools were: another network, which NIR can say."""
    copied = copy.deepcopy(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.MaxPool2d):
            copied.set_submodule(name, nn.AvgPool2d(module.kernel_size, module.stride, module.padding))
    return copied


@torch.inference_mode()
def spikes_that_differ(ways: Mapping[str, tuple[Callable[[], Tensor], nn.Module]], frames: Tensor) -> dict[str, int]:
    """Compare a network's output spikes with those of its other forms, and say how many differ, or why there are none.

    Parameters
    ----------
    ways : mapping of name to (function, network)
        What runs the other form, and the spiking network that it was made from. What refuses raises an ImportError,
        for a package that is not installed, or a ValueError.
    frames : Tensor [T, B, ...]
        What the network is run on.

    Returns
    -------
    dict of name to int
        Output spikes that differ, for each form that ran.
    """
    differ = {}
    for name, (run, network) in ways.items():
        try:
            spk = run()
        except (ImportError, ValueError) as refusal:
            print(f"{name}: refused: {refusal}")
            continue
        if isinstance(spk, Tensor):
            differ[name] = int((spk != network(frames).spk_rec).sum())
            print(f"{name}: {differ[name]} output spikes differ")
    return differ
