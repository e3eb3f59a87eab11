"""Does a network use time? Recordings whose time, polarity or events are spoilt, and its accuracy on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from snn_helpers._checks import check_choice, check_float, check_int, check_labels
from snn_helpers.activity.measures import check_classes
from snn_helpers.models.readout import decide, run_network
from snn_helpers.over_time import device_of, evaluating, over_time
from snn_helpers.stats import wilson_interval

CONTROLS = ("as recorded", "shuffled", "reversed", "collapsed", "polarity swapped", "events dropped")


@dataclass(frozen=True)
class ControlScore:
    """How a network did on spoilt recordings.

    Attributes
    ----------
    accuracy, low, high : float in [0, 1]
        Share of right answers with its 95 % Wilson interval.
    total : int
        Recordings.
    lost, gained : int
        Recordings that were right as recorded and are wrong now, and the other way round.
    """

    accuracy: float
    low: float
    high: float
    total: int
    lost: int
    gained: int


def shuffle_time(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put each recording's frames [T, B, ...] into an order of its own; every pixel keeps its counts."""
    order = rng.permuted(np.tile(np.arange(len(frames))[:, None], frames.shape[1]), axis=0)
    return frames[order, np.arange(frames.shape[1])]


def collapse_time(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give every step the same share of the sum over time, rounded to whole events by lot; every pixel keeps its count.

    What is left is the image that a long exposure would show, dealt out over T steps [T, B, ...].
    """
    num_steps = len(frames)
    total = frames.sum(0, dtype=np.int64)
    phase = rng.integers(0, num_steps, total.shape)
    dealt = [(total * step + phase) // num_steps for step in range(num_steps + 1)]
    return np.diff(dealt, axis=0).astype(frames.dtype)


def spoil(frames: np.ndarray, control: str, drop: float = 0.5, seed: int = 0) -> np.ndarray:
    """Return frames uint8 [T, B, 2, H, W] under one of `CONTROLS`; those given stay as they are."""
    check_choice("control", control, CONTROLS)
    check_float("drop", drop, low=0, high=1)
    rng = np.random.default_rng(seed)
    spoilers: Mapping[str, Callable[[], np.ndarray]] = {
        "as recorded": lambda: frames,
        "shuffled": lambda: shuffle_time(frames, rng),
        "reversed": lambda: frames[::-1].copy(),
        "collapsed": lambda: collapse_time(frames, rng),
        "polarity swapped": lambda: frames[:, :, ::-1].copy(),
        "events dropped": lambda: rng.binomial(frames, 1 - drop).astype(frames.dtype),
    }
    return spoilers[control]()


def score_controls(
    model: nn.Module, frames: np.ndarray, labels: np.ndarray, drop: float = 0.5, seed: int = 0, batch_size: int = 64
) -> dict[str, ControlScore]:
    """Score a network on recordings as they are and under every control.

    Parameters
    ----------
    model : nn.Module
        One of our networks, or any of our neurons or snnTorch's, of one step or with its own loop over time, that
        answers output spikes [T, B, classes], alone or first in a pair.
    frames : uint8 ndarray [T, B, 2, H, W]
        For example `dataset.frames(range(500), num_steps)`.
    labels : int ndarray [B]
        Their classes.
    drop : float in [0, 1]
        Share of events left out in "events dropped".
    seed : int
        Of what is drawn by lot.
    batch_size : int
        Recordings at once.

    Returns
    -------
    dict of str to ControlScore
        By name, the keys of `CONTROLS`.

    Raises
    ------
    TypeError, ValueError
        If the labels do not fit the frames, are none of the network's classes or hold one class only, or the network
        answers no output spikes.

    Notes
    -----
    They say what this network uses, not what the data hold: another network, trained on spoilt recordings, may do well
    on them.
    """
    labels = check_classes(labels, "a control")
    frames = np.asarray(frames)
    if frames.ndim != 5 or frames.shape[1] != len(labels):
        raise ValueError(f"`frames` must be [T, {len(labels)}, 2, H, W] for {len(labels)} labels; got {frames.shape}.")
    check_int("batch_size", batch_size, low=1)
    right = {}
    for name in CONTROLS:
        answers, num_classes = _answers(model, spoil(frames, name, drop, seed), batch_size)
        right[name] = answers == check_labels(labels, num_classes)
    plain = right["as recorded"]
    scores = {}
    for name, hits in right.items():
        bounds = wilson_interval(int(hits.sum()), len(hits))
        lost, gained = int((plain & ~hits).sum()), int((hits & ~plain).sum())
        scores[name] = ControlScore(float(hits.mean()), *bounds, len(hits), lost, gained)
    return scores


def _answers(model: nn.Module, frames: np.ndarray, batch_size: int) -> tuple[np.ndarray, int]:
    """Return the class that a network decides for each recording, and how many classes it has."""
    answers, network = [], over_time(model)
    with evaluating(model):
        for part in np.split(frames, range(batch_size, frames.shape[1], batch_size), axis=1):
            output = run_network(network, torch.from_numpy(np.ascontiguousarray(part)).to(device_of(model)))
            answers.append(decide(output).cpu().numpy())
    return np.concatenate(answers), output.spk_rec.shape[-1]
