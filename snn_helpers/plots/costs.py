"""What an answer costs: operations by step and by network, energy by source, weights of few bits, answers over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from snn_helpers.plots.results import anytime_curve
from snn_helpers.plots.style import CYCLE, GREY, HIGHLIGHT, OFF, ON, ink, new_figure


def draw_operations_by_step(events: np.ndarray, operations: np.ndarray, dense: float, step_ms: float) -> Figure:
    """Draw how many events and synaptic operations there are in each time step, beside a dense network's steps.

    Parameters
    ----------
    events, operations : ndarray [T]
        Of each step, for a mean recording.
    dense : float
        Operations of a step of a network that does not look for zeros.
    step_ms : float
        Length of a step.
    """
    figure, (left, right) = new_figure(1, 2, width=9.0, height=2.8)
    times = (np.arange(len(events)) + 0.5) * step_ms
    left.bar(times, events, width=0.85 * step_ms, color=GREY)
    left.set(xlabel="time, ms", ylabel="events in a step")
    right.bar(times, operations, width=0.85 * step_ms, color=ON, label="spiking network")
    right.axhline(dense, color=OFF, linestyle="--", label="dense network, each step")
    right.set(xlabel="time, ms", ylabel="operations in a step", yscale="log")
    right.set_ylim(max(1.0, 0.3 * float(np.min(operations))), 8 * dense)
    right.legend(loc="upper left", ncols=2, fontsize=8, frameon=False)
    return figure


def draw_contenders(
    ordinary: Mapping[str, tuple[float, Sequence[float]]],
    spiking: Mapping[str, tuple[float, float, float, float]],
    passes: Mapping[str, float],
) -> Figure:
    """Draw accuracy against operations per answer.

    Parameters
    ----------
    ordinary : mapping of name to (operations, accuracies by seed)
        Networks without spikes; shares in [0, 1].
    spiking : mapping of name to (operations, accuracy, low, high)
        Networks with spikes, and the interval of their accuracy.
    passes : mapping of name to operations
        What dense networks of the spiking one's shape would do: dashed lines.
    """
    figure, ax = new_figure(width=7.6, height=3.4)
    for (name, (operations, accuracies)), colour in zip(ordinary.items(), (HIGHLIGHT, *CYCLE[3:])):
        percent = 100 * np.asarray(accuracies)
        ax.plot([operations] * len(percent), percent, "o", color=colour, alpha=0.55, markersize=5)
        ax.plot(operations, percent.mean(), "_", color=colour, markersize=18, markeredgewidth=2, label=name)
    for name, (operations, accuracy, low, high) in spiking.items():
        bounds = [[100 * (accuracy - low)], [100 * (high - accuracy)]]
        ax.errorbar([operations], [100 * accuracy], yerr=bounds, fmt="D", color=ON, capsize=4, label=name)
    for (name, operations), style in zip(passes.items(), ("--", ":")):
        ax.axvline(operations, color=GREY, linestyle=style, linewidth=1.2, label=name)
    ax.set(xscale="log", xlabel="operations per answer", ylabel="accuracy, %")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    return figure


def draw_energy(rows: Mapping[str, Mapping[str, float | None]]) -> Figure:
    """Draw {source: {network: energy in nJ, or None}}: a row a source, a dot a network, on a logarithmic axis."""
    figure, ax = new_figure(width=8.0, height=0.9 + 0.38 * len(rows))
    networks = list(next(iter(rows.values())))
    markers = ("D", "s", "o", "^")
    for number, name in enumerate(networks):
        points = [(row[name], place) for place, row in enumerate(rows.values()) if row[name] is not None]
        colour = (ON, GREY, HIGHLIGHT, OFF)[number % 4]
        ax.plot(*zip(*points), markers[number % 4], color=colour, markersize=7, label=name, alpha=0.85)
    for place, row in enumerate(rows.values()):
        known = [value for value in row.values() if value is not None]
        ax.plot([min(known), max(known)], [place, place], color=GREY, linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xscale="log", xlabel="energy per answer, nJ")
    ax.invert_yaxis()
    ax.legend(loc="lower left", ncols=len(networks), borderaxespad=0, bbox_to_anchor=(0, 1), fontsize=8, frameon=False)
    return figure


def draw_bits(rows: Sequence[tuple[str, float, float, float, float, float]]) -> Figure:
    """Draw weights of few bits: accuracy with its interval, size and operations, a row each.

    Parameters
    ----------
    rows : sequence of (name, accuracy, low, high, kilobytes, operations)
        Shares in [0, 1]; the first row on top.
    """
    figure, axes = new_figure(1, 3, width=9.6, height=0.9 + 0.3 * len(rows), sharey=True, width_ratios=[1.7, 1, 1])
    names, accuracy, low, high, size, operations = zip(*rows)
    places = np.arange(len(rows))
    accuracy, low, high = (100 * np.asarray(part) for part in (accuracy, low, high))
    axes[0].errorbar(accuracy, places, xerr=[accuracy - low, high - accuracy], fmt="D", color=ON, capsize=3)
    for place, share, end in zip(places, accuracy, high):
        axes[0].text(end + 2, place, f"{share:.1f}", va="center", fontsize=8, color=ink(axes[0]))
    millions = 1e-6 * np.asarray(operations)
    for ax, values, label in ((axes[1], size, "weights, KB"), (axes[2], millions, "million operations per answer")):
        bars = ax.barh(places, values, color=GREY, height=0.6)
        ax.bar_label(bars, [f" {value:,.3g}" for value in values], fontsize=8, color=ink(ax))
        ax.set(xlabel=label)
        ax.margins(x=0.35)
        ax.locator_params(axis="x", nbins=3)
    axes[0].set_yticks(places, list(names))
    axes[0].invert_yaxis()
    axes[0].set(xlabel="accuracy, %", xlim=(0, 119), xticks=range(0, 101, 25))
    return figure


def draw_levels(values: Mapping[str, np.ndarray], accuracy: Mapping[str, float]) -> Figure:
    """Draw how many different weights each channel of a layer has left, and the accuracy of each network.

    Parameters
    ----------
    values : mapping of network to int ndarray [channels]
        Different weights of each output channel after rounding.
    accuracy : mapping of name to float
        Shares in [0, 1].
    """
    figure, (left, right) = new_figure(1, 2, width=9.0, height=2.9, width_ratios=[1.6, 1])
    colours = dict(zip(values, (ON, OFF)))  # the same in both panels
    for (name, levels), marker in zip(values.items(), ("D", "o")):
        left.plot(np.arange(len(levels)), levels, marker, color=colours[name], markersize=4, label=name)
    left.set(xlabel="output channel", ylabel="different weights", yscale="log")
    left.legend(loc="lower left", ncols=2, borderaxespad=0, bbox_to_anchor=(0, 1), fontsize=8, frameon=False)
    names, shares = list(accuracy), [100 * share for share in accuracy.values()]
    bars = right.barh(names, shares, color=[colours.get(name, GREY) for name in names])
    right.bar_label(bars, [f" {share:.1f} %" for share in shares], fontsize=9)
    right.invert_yaxis()
    right.set(xlabel="accuracy, %", xlim=(0, 125), xticks=range(0, 101, 25))
    return figure


def draw_early_answers(
    curve: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    operations: np.ndarray,
    points: Mapping[str, tuple[float, float, float]],
) -> Figure:
    """Draw accuracy and operations so far against time, and rules that stop early.

    Parameters
    ----------
    curve : (elapsed_ms, accuracy, low, high), each [T]
        As for `anytime_curve`.
    operations : ndarray [T]
        Up to the end of each step, a mean recording.
    points : mapping of name to (mean time in ms, accuracy, operations)
        Of rules that stop each recording at its own time.
    """
    figure, (left, right) = new_figure(1, 2, width=9.0, height=2.9)
    anytime_curve({"": curve}, left)
    right.plot(curve[0], 1e-6 * np.asarray(operations), "o-", color=ON, markersize=3.5)
    for (name, (time, accuracy, spent)), colour in zip(points.items(), (OFF, HIGHLIGHT)):
        left.plot(time, 100 * accuracy, "*", color=colour, markersize=13, label=name)
        right.plot(time, 1e-6 * spent, "*", color=colour, markersize=13)
    left.legend(loc="lower right", fontsize=8, frameon=False)
    right.set(
        xlabel="seen of the recording, ms", ylabel="million operations\nuntil then", xlim=(0, None), ylim=(0, None)
    )
    return figure
