"""What recorded spikes and decisions say: rates, intervals, dead neurons, when a network decides, and how well by then.

Arrays in, plain dataclasses out. Spikes are [T, B, ...]; a neuron is a place in the last axes, over all recordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from snn_helpers._checks import check_float, check_int, check_labels
from snn_helpers.models.readout import decide_so_far
from snn_helpers.stats import wilson_interval

SATURATED = 0.95
"""Share of steps with a spike from which on a neuron counts as saturated."""


@dataclass(frozen=True)
class Rates:
    """How often the neurons of a layer fire.

    Attributes
    ----------
    spike_fraction : float
        Share of steps with a spike, all neurons together.
    per_neuron : float64 ndarray [...]
        The same for each neuron, in the layer's shape.
    dead : float in [0, 1]
        Share of neurons that never fire, in no recording.
    saturated : float in [0, 1]
        Share of neurons that fire in more than `SATURATED` of the steps.
    """

    spike_fraction: float
    per_neuron: np.ndarray
    dead: float
    saturated: float

    def rate_hz(self, step_ms: float) -> float:
        """Return the mean rate in spikes a second, for steps of `step_ms`."""
        return self.spike_fraction * 1000 / check_float("step_ms", step_ms, low=0, above=True)


def firing_rates(spikes: Mapping[str, np.ndarray], saturated: float = SATURATED) -> dict[str, Rates]:
    """Return each layer's firing rates and its shares of dead and saturated neurons.

    Parameters
    ----------
    spikes : mapping of layer name to ndarray [T, B, ...]
        For example `recording.spk`.
    saturated : float in [0, 1]
        A neuron that fires in more than this share of steps is saturated.

    Examples
    --------
    >>> toy = np.array([[[0, 1, 0]], [[0, 1, 1]], [[0, 1, 0]], [[0, 1, 0]]])  # [T = 4, B = 1, 3 neurons]
    >>> rates = firing_rates({"toy": toy})["toy"]
    >>> rates.per_neuron.tolist(), round(rates.dead, 3), round(rates.saturated, 3)
    ([0.0, 1.0, 0.25], 0.333, 0.333)
    """
    if not spikes:
        raise ValueError("`spikes`: nothing was recorded; record with what=('spk',).")
    found = {}
    for name, spk in spikes.items():
        spk = _spikes(name, spk)
        fired = np.count_nonzero(spk, axis=(0, 1)) / (spk.shape[0] * spk.shape[1])
        found[name] = Rates(float(fired.mean()), fired, float((fired == 0).mean()), float((fired > saturated).mean()))
    return found


@dataclass(frozen=True)
class Intervals:
    """Times between consecutive spikes of the same neuron in the same recording.

    Attributes
    ----------
    steps : int64 ndarray [n]
        Each interval, in steps.
    mean : float
        Their mean; NaN if no neuron fired twice.
    variation : float
        Their standard deviation over the mean: 0 for a clock, 1 for a Poisson process in fine steps.
    """

    steps: np.ndarray
    mean: float
    variation: float


def inter_spike_intervals(spk: np.ndarray) -> Intervals:
    """Return all inter-spike intervals of spikes [T, B, ...].

    Examples
    --------
    >>> inter_spike_intervals(np.array([1, 0, 1, 1, 0, 1]).reshape(6, 1, 1)).steps.tolist()
    [2, 1, 2]
    """
    trains = _spikes("spk", spk).reshape(len(spk), -1).T  # [neurons of all recordings, T]
    train, step = np.nonzero(trains)
    same = train[1:] == train[:-1]
    steps = np.diff(step)[same].astype(np.int64)
    mean = float(steps.mean()) if len(steps) else float("nan")
    return Intervals(steps, mean, float(steps.std()) / mean if len(steps) else float("nan"))


def correlation(spk: np.ndarray, max_neurons: int = 200, seed: int = 0) -> np.ndarray:
    """Return the correlation of neurons' spikes over all steps and recordings.

    Parameters
    ----------
    spk : ndarray [T, B, ...]
        Spikes of one layer.
    max_neurons : int
        Of the neurons that fire neither never nor always, at most so many, drawn with `seed`.

    Returns
    -------
    float64 ndarray [n, n]
        In [-1, 1], ones on the diagonal; n may be 0.
    """
    flat = _spikes("spk", spk).reshape(spk.shape[0] * spk.shape[1], -1).astype(np.float64)
    live = np.flatnonzero(flat.std(0) > 0)
    if len(live) > check_int("max_neurons", max_neurons, low=2):
        live = np.sort(np.random.default_rng(seed).choice(live, max_neurons, replace=False))
    return np.atleast_2d(np.corrcoef(flat[:, live].T)) if len(live) else np.zeros((0, 0))


@dataclass(frozen=True)
class Decisions:
    """What a network would answer after each step, and from when on it stays with its answer.

    Attributes
    ----------
    so_far : int64 ndarray [T, B]
        The answer if the recording ended there.
    first_spike : int64 ndarray [B]
        The step of the first output spike; T where there is none.
    settled : int64 ndarray [B]
        The first step from which on the answer is the last one.
    """

    so_far: np.ndarray
    first_spike: np.ndarray
    settled: np.ndarray

    @property
    def final(self) -> np.ndarray:
        """The answer in the end, int64 [B]."""
        return self.so_far[-1]


def decisions(spk_rec: np.ndarray, mem_rec: np.ndarray) -> Decisions:
    """Return when a network decides, from its output spikes and membranes [T, B, classes].

    The rule is that of `snn_helpers.models.readout.decide`, applied to what came until then.
    """
    spk, mem = (torch.as_tensor(np.asarray(rec, np.float32)) for rec in (spk_rec, mem_rec))
    so_far = decide_so_far(spk, mem).numpy()
    fired = np.any(spk.numpy(), axis=2)
    first_spike = np.where(np.any(fired, axis=0), fired.argmax(0), len(fired))
    changed = so_far != so_far[-1]
    settled = np.where(changed.any(0), len(so_far) - changed[::-1].argmax(0), 0)
    return Decisions(so_far, first_spike, settled)


@dataclass(frozen=True)
class Anytime:
    """Accuracy against how much of the recording has been seen.

    Attributes
    ----------
    elapsed_ms : float64 ndarray [T]
        End of each step; in steps if no length was given.
    accuracy, low, high : float64 ndarray [T]
        Shares in [0, 1] with their 95 % Wilson intervals.
    total : int
        Recordings.
    """

    elapsed_ms: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    total: int


def anytime(decided: Decisions, labels: np.ndarray, step_ms: float = 1.0) -> Anytime:
    """Return the accuracy after each step; labels int [B], `step_ms` the length of a step."""
    labels, count = np.asarray(labels), decided.so_far.shape[1]
    if labels.shape != (count,):
        raise ValueError(f"`labels` must be one a recording, {count}; got shape {list(labels.shape)}.")
    right = decided.so_far == labels
    low, high = np.array([wilson_interval(int(row.sum()), count) for row in right]).T
    return Anytime(np.arange(1, len(right) + 1) * float(step_ms), right.mean(1), low, high, count)


def output_race(spk_rec: np.ndarray, index: int) -> np.ndarray:
    """Return the output spikes of one recording so far, int64 [T, classes], from [T, B, classes]."""
    return np.cumsum(np.asarray(spk_rec)[:, index].astype(np.int64), axis=0)


def confusion_matrix(labels: np.ndarray, decided: np.ndarray, num_classes: int = 10) -> np.ndarray:
    """Count answers as int64 [true class, decided class].

    Examples
    --------
    >>> confusion_matrix([0, 0, 1], [0, 1, 1], num_classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    decided = check_labels(np.asarray(decided), num_classes, "decided")
    labels = check_labels(np.asarray(labels), num_classes, count=len(decided))
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels, decided), 1)
    return matrix


def check_classes(labels: np.ndarray, purpose: str) -> np.ndarray:
    """Return labels as an array, after checking that there is more than one class among them."""
    labels = np.asarray(labels)
    if len(np.unique(labels)) < 2:
        raise ValueError(f"`labels` hold one class only ({np.unique(labels)}), on which {purpose} says nothing.")
    return labels


def _spikes(name: str, spk: np.ndarray) -> np.ndarray:
    spk = np.asarray(spk)
    if spk.ndim < 3 or 0 in spk.shape:
        raise ValueError(f"`{name}` must be spikes [T, B, ...] of at least one neuron; got shape {list(spk.shape)}.")
    return spk
