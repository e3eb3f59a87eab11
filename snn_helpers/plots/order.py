"""Figures about the use of time: spoilt recordings, orders of the same parts, memories, and networks over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from snn_helpers.plots.depth import seed_accuracies
from snn_helpers.plots.recordings import event_cloud, frame, frames_strip, rate_curves
from snn_helpers.plots.results import accuracy_bars
from snn_helpers.plots.style import CYCLE, GREY, new_figure


def draw_controls(spoilt: Mapping[str, np.ndarray], step_ms: float) -> Figure:
    """Draw the frames of one recording under several controls, a row each: {name: [T, 2, H, W]}."""
    figure, axes = new_figure(len(spoilt), width=9.6, height=0.5 + 1.0 * len(spoilt), squeeze=False)
    for (name, frames), ax in zip(spoilt.items(), axes[:, 0]):
        frames_strip(frames, ax, step_ms).set_title(name, loc="left", fontsize=10)
    for ax in axes[:-1, 0]:
        ax.set(xlabel="", xticks=[])
    return figure


def draw_orders(recordings: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw recordings, a row each: all events summed over time, and each event in time along x and along y.

    Parameters
    ----------
    recordings : mapping of class to (events, counts)
        Structured array with x, y, t (µs), p; and the same as event counts [2, H, W].
    """
    options = {"width": 9.6, "height": 0.4 + 2.3 * len(recordings), "width_ratios": [1, 1.7, 1.7], "squeeze": False}
    figure, axes = new_figure(len(recordings), 3, **options)
    for (name, (events, counts)), row in zip(recordings.items(), axes):
        frame(counts, row[0], name)
        row[0].set(xlabel="summed over time")
        for ax, axis in zip(row[1:], "xy"):
            event_cloud(events, ax, axis)
        row[2].invert_yaxis()  # up is up, as in the image
        row[2].get_legend().remove()
    return figure


def draw_decays(betas: Sequence[float], step_ms: float, gap_ms: tuple[float, float], end_ms: float) -> Figure:
    """Draw how much of an input is left in membranes of some decays per step, with the gap to bridge shaded."""
    figure, ax = new_figure(height=2.8)
    steps = np.arange(int(end_ms / step_ms) + 1)
    for beta, colour in zip(betas, CYCLE):
        tau_ms = -step_ms / np.log(beta)
        ax.plot(steps * step_ms, 100 * beta**steps, "o-", color=colour, markersize=3.5,
                label=f"β = {beta:g}, τ = {tau_ms:.0f} ms")  # fmt: skip
    ax.axvspan(*gap_ms, color=GREY, alpha=0.2, linewidth=0, label="pause between\ntwo excursions")
    ax.set(xlabel="time since the input, ms", ylabel="left in the membrane, %", ylim=(0, 102), xlim=(0, end_ms))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_seeds(panels: Mapping[str, Mapping[str, Sequence[float]]], chance: float) -> Figure:
    """Draw test accuracies over seeds, a panel a setting: {setting: {network: shares in [0, 1]}}."""
    most = max(len(rows) for rows in panels.values())
    figure, axes = new_figure(1, len(panels), width=9.6, height=0.9 + 0.34 * most, squeeze=False)
    for (title, rows), ax in zip(panels.items(), axes[0]):
        seed_accuracies(rows, ax, chance).set_title(title, loc="left", fontsize=10)
    return figure


def draw_suspects(
    rates: Mapping[str, np.ndarray], step_ms: float, rows: Sequence[tuple[str, float, float, float]], chance: float
) -> Figure:
    """Draw the mean event rates of two data sets over time, and how well summed frames do on each.

    Parameters
    ----------
    rates : mapping of name to ndarray [T]
        Events of a time step, mean over recordings.
    step_ms : float
        Length of a step.
    rows : sequence of (name, accuracy, low, high)
        As for `accuracy_bars`.
    chance : float
        Share that guessing gets right.
    """
    figure, (left, right) = new_figure(1, 2, width=9.6, height=2.6, width_ratios=[1.4, 1])
    rate_curves(rates, left, step_ms)
    left.set(ylim=(0, 1.35 * left.get_ylim()[1]))  # room for the legend above the curves
    left.legend(loc="upper right", ncols=len(rates))
    accuracy_bars(rows, right).axvline(100 * chance, color=GREY, linestyle=":")
    right.set_title("summed frames (chance dotted)", loc="left", fontsize=10)
    return figure
