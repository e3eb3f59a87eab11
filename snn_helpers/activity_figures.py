"""The figures of a trained network's activity: a network and recordings in, a figure with its caption out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from snn_helpers import activity, plots
from snn_helpers._checks import check_int
from snn_helpers._paths import user_path
from snn_helpers.data import EventDataset
from snn_helpers.over_time import frames_for
from snn_helpers.training.build import load_model

_ATTRIBUTED = 6
_MAPS, _TRACES, _ROWS, _FEW = 32, 5, 100, 16


@dataclass(frozen=True)
class Caption:
    """What stands with a figure: a title, one sentence that says what to see, and words for who cannot see it."""

    title: str
    sentence: str
    alt: str


class Subject:
    """A trained network and recordings of one split, with everything that figures share, computed once.

    Parameters
    ----------
    checkpoint : path
        Of a training run.
    dataset : EventDataset
        Recordings to look at.
    sample : int
        The recording that the figures of a single one show.
    loaded : (Module, TrainConfig) or None
        What `load_model` gives; None loads the checkpoint.
    """

    def __init__(self, checkpoint: str | Path, dataset: EventDataset, sample: int = 0, loaded=None):
        self.checkpoint, self.dataset = user_path(checkpoint), dataset
        self.model, self.config = loaded or load_model(checkpoint)
        self.sample = check_int("sample", sample, low=0, high=len(dataset) - 1)
        self.frames = dataset.frames(range(len(dataset)), self.config.time_steps)
        self.labels = dataset.labels

    def inputs(self, frames: np.ndarray) -> torch.Tensor:
        """Return frames as the network takes them."""
        return frames_for(self.model, torch.from_numpy(frames))

    @cached_property
    def step_ms(self) -> float:
        """Length of a step in ms, the recordings' median."""
        return self.dataset.step_ms(self.config.time_steps)

    @property
    def chance(self) -> float:
        """Accuracy of an answer by chance, in %."""
        return 100 / self.dataset.num_classes

    @property
    def title(self) -> str:
        """Class of the single recording, in words."""
        return self.dataset.name_of(int(self.labels[self.sample]))

    @cached_property
    def recording(self) -> activity.Recording:
        """All layers, on all recordings."""
        return activity.record(self.model, self.inputs(self.frames))

    @property
    def output(self) -> str:
        """Name of the output layer, the last that computes."""
        return [*self.recording][-1]

    @cached_property
    def decided(self) -> activity.Decisions:
        """What the network would answer after each step."""
        return activity.decisions(self.recording.spk[self.output], self.recording.mem[self.output])

    @cached_property
    def firing(self) -> dict[str, activity.Rates]:
        """Firing rates by layer."""
        return activity.firing_rates(self.recording.spk)

    def __str__(self) -> str:
        return f"{self.dataset.provenance}, {self.config.model}, seed {self.config.seed}"


def _draw_events(subject: Subject) -> tuple[Figure, Caption]:
    dataset, index = subject.dataset, subject.sample
    title = dataset.name_of(int(subject.labels[index]))
    figure = plots.draw_recording_sheet(dataset.events(index), subject.frames[:, index], title, "", dataset.is_nmnist)
    sentence = "One recording as the camera saw it, and below the frames that the network gets."
    return figure, Caption("What goes in", sentence, "Events over time, event rate, and frames.")


def _draw_network(subject: Subject) -> tuple[Figure, Caption]:
    rows = activity.network_rows(subject.model, subject.inputs(subject.frames[:, :32]))
    joined = any(row["joined_by"] for row in rows)
    figure, ax = plots.new_figure(width=max(7.2, 1.15 * len(rows)), height=3.0 if joined else 2.6)
    plots.network(rows, ax)
    sentence = (
        "The network, read off the module: shape of each layer, its weights, and its share of steps with a spike."
    )
    return figure, Caption("The network", sentence, "Boxes from left to right, one a layer.")


def _draw_rates(subject: Subject) -> tuple[Figure, Caption]:
    figure, (left, right) = plots.new_figure(1, 2, height=0.9 + 0.33 * len(subject.firing))
    plots.layer_bars({name: 100 * rates.spike_fraction for name, rates in subject.firing.items()}, left)
    plots.stacked_bars(
        {
            name: {"dead": 100 * rates.dead, "saturated": 100 * rates.saturated}
            for name, rates in subject.firing.items()
        },
        right,
        "share of neurons, %",
    )
    right.set_yticklabels([])
    sentence = "How often each layer fires, and how many of its neurons never or nearly always do on these recordings."
    return figure, Caption(
        "Firing rates", sentence, "Bars of firing and of dead and saturated neurons, one row a layer."
    )


def _draw_raster(subject: Subject) -> tuple[Figure, Caption]:
    names = list(subject.recording)
    figure, axes = plots.new_figure(len(names), 1, height=1.3 * len(names), sharex=True)
    for name, ax in zip(names, axes):
        spk = subject.recording.spk[name][:, subject.sample].reshape(subject.config.time_steps, -1)
        few = spk.shape[1] <= _FEW  # then all of them by their numbers: an output neuron's is its class
        shown = np.arange(spk.shape[1]) if few else plots.busiest(spk, _ROWS)
        words = f"all {len(shown)} neurons"
        if not few:
            words = f"{len(shown)} of {int(spk.any(0).sum()):,} neurons that fire, the busiest on top"
        plots.raster(spk[:, shown], ax, subject.step_ms).set(xlabel="", title=f"{name}: {words}")
    axes[-1].set(xlabel="time, ms")
    sentence = f"Who fires when, while the network looks at {subject.title}."
    return figure, Caption("Spike rasters", sentence, "One raster a layer, time across, neurons up.")


def _draw_membrane(subject: Subject) -> tuple[Figure, Caption]:
    names = list(subject.recording)
    figure, axes = plots.new_figure(len(names), 1, height=1.45 * len(names), sharex=True)
    for name, ax in zip(names, axes):
        mem = subject.recording.mem[name][:, subject.sample].reshape(subject.config.time_steps, -1)
        shown = plots.busiest(subject.recording.spk[name][:, subject.sample].reshape(mem.shape), _TRACES)
        threshold = activity.layer_threshold(subject.model, name)
        plots.membrane_traces(mem[:, shown], threshold, ax, step_ms=subject.step_ms).set(xlabel="", title=name)
    axes[-1].set(xlabel="time, ms")
    sentence = (
        "Membranes of a few neurons of each layer that fire: where a line is above the threshold, the neuron fires."
    )
    return figure, Caption(
        "Membranes", sentence, "One panel a layer, membrane lines over time steps, threshold dashed."
    )


def _draw_feature_maps(subject: Subject) -> tuple[Figure, Caption]:
    spk = {name: spk for name, spk in subject.recording.spk.items() if spk.ndim == 5}
    figure, axes = plots.new_figure(len(spk), 1, height=1.35 * len(spk), squeeze=False)
    for (name, layer), ax in zip(spk.items(), axes[:, 0]):
        channels = layer.shape[2]
        words = f"{name}: {f'the first {_MAPS} of {channels}' if channels > _MAPS else f'all {channels}'} channels"
        plots.feature_maps(layer[:, subject.sample].sum(0, dtype=int)[:_MAPS], ax).set(title=words, xlabel="")
    sentence = f"Where the first {_MAPS} channels of each convolution fired, all steps together."
    return figure, Caption("Feature maps", sentence, "Small images, one a channel, the stronger the more spikes.")


def _draw_race(subject: Subject) -> tuple[Figure, Caption]:
    wrong = np.flatnonzero(subject.decided.final != subject.labels)
    shown = [subject.sample, *wrong[:1]]
    figure, axes = plots.new_figure(1, len(shown), height=2.8, squeeze=False)
    for index, ax in zip(shown, axes[0]):
        decided = subject.dataset.classes[subject.decided.final[index]]
        words = f"{subject.dataset.name_of(int(subject.labels[index]))}, decided {decided}"
        counts = activity.output_race(subject.recording.spk[subject.output], index)
        plots.race(counts, ax, subject.step_ms, int(subject.labels[index])).set(title=words)
    return figure, Caption(
        "The output neurons' race",
        "Spikes so far of each output neuron: green the true class, vermilion its rivals.",
        "Stepped lines, one an output neuron.",
    )


def _draw_tsne(subject: Subject) -> tuple[Figure, Caption]:
    names = [name for name, spk in subject.recording.spk.items() if spk.ndim == 3]
    spikes = {name: subject.recording.spk[name] for name in names}
    found = activity.embed_layers(spikes, subject.frames)
    figure, axes = plots.new_figure(1, len(found), width=3.4 * len(found), height=3.6)
    for (name, one), ax in zip(found.items(), axes):
        agree = activity.neighbour_agreement(
            activity.spike_counts(subject.frames if name == "input" else spikes[name]), subject.labels
        )
        plots.embedding(one.points, subject.labels, ax)
        ax.set(title=f"{name}: trustworthy {one.trustworthiness:.2f}\nneighbours of one class {100 * agree:.0f} %")
    setting = next(iter(found.values()))
    sentence = (
        f"t-SNE (perplexity {setting.perplexity:.3g}, seed {setting.seed}) of event counts and of spike counts; "
        f"distances between groups mean nothing. {setting.message}"
    )
    return figure, Caption("Recordings in the plane", sentence.strip(), "Scatter plots, a colour and number a class.")


def _draw_confusion(subject: Subject) -> tuple[Figure, Caption]:
    figure, ax = plots.new_figure(width=4.8, height=4.6)
    num_classes = subject.recording.spk[subject.output].shape[-1]
    plots.confusion(
        activity.confusion_matrix(subject.labels, subject.decided.final, num_classes), ax, subject.dataset.classes
    )
    return figure, Caption("Mistakes", "True classes down, decided ones across; mistakes coloured.", "Table of counts.")


def _draw_anytime(subject: Subject) -> tuple[Figure, Caption]:
    curve = activity.anytime(subject.decided, subject.labels, subject.step_ms)
    figure, (left, right) = plots.new_figure(1, 2, height=2.8)
    plots.anytime_curve({"": (curve.elapsed_ms, curve.accuracy, curve.low, curve.high)}, left)
    settled = np.bincount(subject.decided.settled, minlength=len(subject.frames))
    right.bar((np.arange(len(settled)) + 1) * subject.step_ms, 100 * settled / settled.sum(), 0.8 * subject.step_ms,
              color=plots.ON)  # fmt: skip
    right.set(xlabel="answer final after, ms", ylabel="recordings, %")
    sentence = (
        "Left the accuracy if the recording ended there, with 95 % intervals; right when the answer last changed."
    )
    return figure, Caption("When it decides", sentence, "A rising curve of accuracy, and a histogram of times.")


def _draw_controls(subject: Subject) -> tuple[Figure, Caption]:
    scores = activity.score_controls(subject.model, subject.frames, subject.labels)
    rows = [(name, score.accuracy, score.low, score.high) for name, score in scores.items()]
    figure, ax = plots.new_figure(height=2.8)
    plots.accuracy_bars([*rows[1:], rows[0]], ax).axvline(subject.chance, color=plots.GREY, linestyle=":")
    ax.text(subject.chance, 1, " chance", transform=ax.get_xaxis_transform(), va="bottom", color=plots.GREY, fontsize=8)
    sentence = "Accuracy of this network on spoilt recordings: what it needs shows in what it cannot do without."
    return figure, Caption("Controls", sentence, "Bars of accuracy with 95 % intervals, one a control.")


def _draw_cost(subject: Subject) -> tuple[Figure, Caption]:
    costs = activity.synaptic_operations(subject.model, subject.inputs(subject.frames[:, :64]))
    figure, ax = plots.new_figure(height=0.9 + 0.45 * len(costs))
    plots.cost_bars({name: (cost.operations, cost.dense) for name, cost in costs.items()}, ax)
    energy = activity.estimate_energy(costs)
    sentence = (
        f"Synaptic operations beside a dense network's. Energy {energy.low_nj / 1000:.3g} to "
        f"{energy.high_nj / 1000:.3g} µJ a recording: {energy.caveat}"
    )
    return figure, Caption("What an answer costs", sentence, "Pairs of bars, one pair a layer, logarithmic.")


def _draw_attribution(subject: Subject) -> tuple[Figure, Caption]:
    chosen = [subject.sample, *(i for i in range(len(subject.labels)) if i != subject.sample)][:_ATTRIBUTED]
    frames = torch.from_numpy(np.ascontiguousarray(subject.frames[:, chosen]))
    found = activity.attribute_events(subject.model, frames)
    checked = activity.faithfulness(subject.model, frames, found)
    figure, (cloud, curves) = plots.new_figure(2, 1, height=5.4)
    events = subject.dataset.events(subject.sample)
    plots.attribution_cloud(
        events, activity.event_values(events, found.values[:, 0], subject.dataset.sensor_size), cloud
    )
    cloud.set(title=f"answer {subject.dataset.classes[found.targets[0]]}, true {subject.title}")
    by_lot = {"deletion": checked.random_deletion, "insertion": checked.random_insertion}
    by_rank = {"deletion": checked.deletion, "insertion": checked.insertion}
    plots.deletion_insertion(checked.shares, by_rank, by_lot, curves)
    sentence = (
        "Green events spoke for the answer, purple against it, the larger the more. Below the test, on "
        f"{len(chosen)} recordings: a good ranking falls faster than random under deletion and rises faster under "
        "insertion."
    )
    return figure, Caption("Which events it rests on", sentence, "Events coloured by weight; four curves.")


FIGURES: dict[str, Callable[[Subject], tuple[Figure, Caption]]] = {
    "events": _draw_events,
    "network": _draw_network,
    "rates": _draw_rates,
    "raster": _draw_raster,
    "membrane": _draw_membrane,
    "feature_maps": _draw_feature_maps,
    "race": _draw_race,
    "anytime": _draw_anytime,
    "controls": _draw_controls,
    "confusion": _draw_confusion,
    "tsne": _draw_tsne,
    "cost": _draw_cost,
    "attribution": _draw_attribution,
}
"""What can be drawn, by the name of its flag."""
