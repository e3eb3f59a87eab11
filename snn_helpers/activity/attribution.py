"""Which events carried a decision, and a test of the answer: take those events away, or show them alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from snn_helpers._checks import check_choice, check_int, check_labels
from snn_helpers.models.network import SpikeOutput
from snn_helpers.models.readout import decide, run_network
from snn_helpers.over_time import device_of, evaluating, over_time


@dataclass(frozen=True)
class Attribution:
    """How much each event count spoke for a decision.

    Attributes
    ----------
    values : float32 ndarray [T, B, P, H, W]
        Above zero: the events there spoke for the target, below: against it. Zero where there are no events.
    targets : int64 ndarray [B]
        The class asked about.
    """

    values: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Faithfulness:
    """What happens to a decision as events are taken away, or are shown alone, by rank or at random.

    Attributes
    ----------
    shares : float64 ndarray [S]
        Share of events taken away (deletion) or shown (insertion).
    deletion, insertion : float64 ndarray [S]
        Probability of the target, mean over recordings, most important events first.
    random_deletion, random_insertion : float64 ndarray [R, S]
        The same for R random orders.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray

    def areas(self) -> dict[str, float]:
        """Return the areas under the four curves; a good ranking has a small deletion and a large insertion."""
        curves = {"deletion": self.deletion, "insertion": self.insertion}
        curves |= {"random deletion": self.random_deletion.mean(0), "random insertion": self.random_insertion.mean(0)}
        return {name: float(np.trapezoid(curve, self.shares)) for name, curve in curves.items()}


def attribute_events(
    model: nn.Module, frames: Tensor, targets: Tensor | None = None, path_steps: int = 12, score: str = "probability"
) -> Attribution:
    """Say which events carried a decision, by integrated gradients from the empty recording.

    Parameters
    ----------
    model : nn.Module
        Answers (spk_rec, mem_rec), each [T, B, classes]; run in eval mode.
    frames : Tensor [T, B, P, H, W]
        Event counts.
    targets : Tensor int64 [B] or None
        Class to ask about; None takes what the model decides.
    path_steps : int
        Steps between the empty recording and this one.
    score : {"probability", "membrane"}
        What events raise or lower. "probability": the target's log-probability, by spike counts. "membrane": how far
        the mean membrane of the target's output neuron is above the mean of all; it does not saturate where the network
        is sure, and needs a model that answers membranes, too.

    Notes
    -----
    M. Sundararajan, A. Taly, Q. Yan, Axiomatic attribution for deep networks, ICML 2017, as Captum computes it. The
    gradient of a spike is a surrogate's, so that the values do not sum to the score: they are a ranking, to be checked
    with `faithfulness`. Of a trained SpikingCNN that is sure of nearly all of its answers, "membrane" ranked better:
    area under the deletion curve 0.20, and 0.57 by "probability" (random orders 0.77; 12 recordings, T = 25).
    """
    from captum.attr import IntegratedGradients

    check_int("path_steps", path_steps, low=2)
    score_of = _SCORES[check_choice("score", score, tuple(_SCORES))]
    model = over_time(model)
    with evaluating(model):
        output = run_network(model, frames)
        targets = decide(output) if targets is None else check_labels(targets, output.spk_rec.shape[-1], "targets")
        method = IntegratedGradients(lambda batch: score_of(run_network(model, batch.transpose(0, 1))))
        inputs = frames.transpose(0, 1).float()
        with torch.enable_grad():
            values = method.attribute(
                inputs, target=targets, n_steps=path_steps, method="riemann_middle", internal_batch_size=len(inputs)
            )
    return Attribution(values.detach().transpose(0, 1).float().cpu().numpy(), targets.cpu().numpy())


def event_values(events: np.ndarray, values: np.ndarray, sensor_size: tuple[int, ...] | None = None) -> np.ndarray:
    """Give each event of a recording its share of its cell's value.

    Parameters
    ----------
    events : structured array [N] with fields x, y, t (µs), p
        A recording.
    values : ndarray [T, P, H, W]
        Of this recording, binned over the whole of it.
    sensor_size : (W, H) or (W, H, P), or None
        Of the camera, where its pixels were pooled to H and W; None where they were not.

    Returns
    -------
    float64 ndarray [N]
        In the order of the events; what shares a cell shares its value.
    """
    if not len(events):
        return np.zeros(0)
    t = events["t"].astype(np.int64)
    step = (t - t[0]) * len(values) // (t[-1] - t[0] + 1)
    high, wide = values.shape[-2:]
    width, height = (wide, high) if sensor_size is None else sensor_size[:2]
    row, column = (
        events[name].astype(np.int64) * to // of for name, to, of in (("y", high, height), ("x", wide, width))
    )
    cell = (step, events["p"], row, column)
    counts = np.zeros(values.shape, np.int64)
    np.add.at(counts, cell, 1)
    return values[cell] / counts[cell]


def faithfulness(
    model: nn.Module,
    frames: Tensor,
    attribution: Attribution,
    shares: np.ndarray | None = None,
    repeats: int = 3,
    seed: int = 0,
) -> Faithfulness:
    """Check an attribution by deletion and insertion curves against random orders.

    Parameters
    ----------
    model : nn.Module
        As for `attribute_events`.
    frames : Tensor uint8 [T, B, P, H, W]
        The same recordings.
    attribution : Attribution
        Of these recordings.
    shares : float ndarray [S] or None
        Shares of events in [0, 1], ascending; None takes 11 from 0 to 1.
    repeats : int
        Random orders.
    seed : int
        Of the random orders.
    """
    frames = frames.cpu()
    if attribution.values.shape != tuple(frames.shape):
        raise ValueError(f"`attribution` is of frames {attribution.values.shape}; these are {tuple(frames.shape)}.")
    shares = np.linspace(0, 1, 11) if shares is None else np.asarray(shares, dtype=np.float64)
    check_int("repeats", repeats, low=1)
    counts = frames.numpy().swapaxes(0, 1).reshape(frames.shape[1], -1)  # [B, cells]
    weights = attribution.values.swapaxes(0, 1).reshape(counts.shape) / np.maximum(counts, 1)
    rng = np.random.default_rng(seed)

    def curves(order_by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = _share_before(counts, order_by)
        deleted, inserted = (
            np.array([_probability(model, frames, counts * keep(before, share), attribution) for share in shares])
            for keep in (np.greater_equal, np.less)
        )
        return deleted, inserted

    deletion, insertion = curves(weights)
    by_lot = [curves(rng.random(counts.shape)) for _ in range(repeats)]
    return Faithfulness(shares, deletion, insertion, *(np.array(part) for part in zip(*by_lot)))


def _log_probability(output: SpikeOutput) -> Tensor:
    return torch.log_softmax(output.spk_rec.sum(0), dim=1)


def _lead(output: SpikeOutput) -> Tensor:
    mem = output.mem_rec.mean(0)
    return mem - mem.mean(1, keepdim=True)


_SCORES = {"probability": _log_probability, "membrane": _lead}


def _share_before(counts: np.ndarray, order_by: np.ndarray) -> np.ndarray:
    """Return for each cell [B, cells] the share of its recording's events that rank before its own."""
    order = np.argsort(np.where(counts > 0, -order_by, np.inf), axis=1, kind="stable")
    ranked = np.take_along_axis(counts, order, axis=1).astype(np.float64)
    before = (np.cumsum(ranked, axis=1) - ranked) / np.maximum(ranked.sum(1, keepdims=True), 1)
    shares = np.empty_like(before)
    np.put_along_axis(shares, order, before, axis=1)
    return shares


def _probability(model: nn.Module, frames: Tensor, counts: np.ndarray, attribution: Attribution) -> float:
    """Return the targets' mean probability on counts [B, cells], as large as `frames`."""
    num_steps, batch, *rest = frames.shape
    changed = counts.reshape(batch, num_steps, *rest).swapaxes(0, 1).astype(np.uint8)
    with evaluating(model):
        output = run_network(model, torch.from_numpy(np.ascontiguousarray(changed)).to(device_of(model)))
        chance = _log_probability(output).exp().cpu().numpy()
    return float(chance[np.arange(batch), attribution.targets].mean())
