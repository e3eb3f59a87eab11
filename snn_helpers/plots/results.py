"""How well a network does: curves of training, accuracies with intervals, and which mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from snn_helpers.plots.style import CYCLE, GREY, HIGHLIGHT, OFF, ON, ink, make_axes, paper


def training_curves(history: Sequence[Mapping], quantity: str, ax: Axes | None = None, scale: float = 1.0) -> Axes:
    """Draw `train_<quantity>` and `valid_<quantity>` of a run's history against the epoch, times `scale`."""
    ax = make_axes(ax)
    epochs = [row["epoch"] + 1 for row in history]
    for part, style, colour in (("train", "--", GREY), ("valid", "-", ON)):
        ax.plot(epochs, [scale * row[f"{part}_{quantity}"] for row in history], style, color=colour, marker="o",
                markersize=3.5, label=part)  # fmt: skip
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel=quantity)
    ax.legend(frameon=False)
    return ax


def accuracy_bars(rows: Sequence[tuple[str, float, float, float]], ax: Axes | None = None) -> Axes:
    """Draw (name, accuracy, low, high), shares in [0, 1], as bars in % with their intervals; the first on top."""
    ax = make_axes(ax)
    names, values, lows, highs = zip(*rows)
    values = 100 * np.array(values)
    errors = np.abs(100 * np.array([lows, highs]) - values)
    ax.barh(names, values, xerr=errors, color=[GREY] * (len(rows) - 1) + [ON], ecolor=ink(ax), capsize=3, alpha=0.85)
    for row, (value, high) in enumerate(zip(values, highs)):
        ax.text(100 * high + 1.5, row, f"{value:.1f} %", va="center", fontsize=9, color=ink(ax))
    ax.invert_yaxis()
    ax.set(xlabel="accuracy, %", xlim=(0, 112), xticks=range(0, 101, 20))
    return ax


def share_curve(places: Sequence[float], shares: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw the mean of shares [N, K] in %, over K places on a logarithmic axis; the band holds 90 % of the N."""
    ax = make_axes(ax)
    percent = 100 * np.asarray(shares)
    ax.plot(places, percent.mean(axis=0), "o-", color=HIGHLIGHT)
    ax.fill_between(places, *np.percentile(percent, (5, 95), axis=0), color=HIGHLIGHT, alpha=0.2, linewidth=0)
    ax.set(xscale="log", ylim=(0, None))
    ax.set_xticks(places, [f"{place:g}" for place in places], minor=False)
    ax.minorticks_off()
    return ax


def confusion(matrix: np.ndarray, ax: Axes | None = None, classes: Sequence[str] | None = None) -> Axes:
    """Draw a confusion matrix [true class, decided class]: counts, errors coloured, right answers grey.

    Parameters
    ----------
    matrix : int [K, K]
        Counts.
    ax : Axes or None
        Where to draw.
    classes : sequence of str or None
        Names of the classes; None takes their numbers.
    """
    ax = make_axes(ax)
    matrix = np.asarray(matrix)
    errors = matrix - np.diag(np.diag(matrix))
    blends = mpl.colors.LinearSegmentedColormap.from_list("errors", [paper(ax), OFF])
    ax.imshow(errors, cmap=blends, vmax=max(1, errors.max()))
    for row, column in zip(*np.nonzero(matrix)):
        strong = errors[row, column] > 0.6 * max(1, errors.max())
        ax.text(column, row, matrix[row, column], ha="center", va="center", fontsize=8,
                color="white" if strong else (GREY if row == column else ink(ax)))  # fmt: skip
    places = range(len(matrix))
    ax.set(xticks=places, yticks=places, xlabel="decided", ylabel="true")
    if classes is not None:
        is_long = max(map(len, classes)) > 2
        ax.set_xticklabels(classes, rotation=90 if is_long else 0)
        ax.set_yticklabels(classes)
    ax.spines[:].set_visible(True)
    return ax


def anytime_curve(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], ax: Axes | None = None
) -> Axes:
    """Draw accuracy against elapsed time: {name: (elapsed_ms, accuracy, low, high)}, each [T], shares in [0, 1]."""
    ax = make_axes(ax)
    for (name, (elapsed, accuracy, low, high)), colour in zip(curves.items(), CYCLE):
        ax.plot(elapsed, 100 * np.asarray(accuracy), "o-", color=colour, markersize=3.5, label=name)
        ax.fill_between(elapsed, 100 * np.asarray(low), 100 * np.asarray(high), color=colour, alpha=0.18, linewidth=0)
    ax.set(xlabel="seen of the recording, ms", ylabel="accuracy, %", ylim=(0, 102), xlim=(0, None))
    if len(curves) > 1:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def deletion_insertion(
    shares: np.ndarray,
    curves: Mapping[str, np.ndarray],
    by_lot: Mapping[str, np.ndarray],
    ax: Axes | None = None,
) -> Axes:
    """Draw how a decision fares as events are taken away or shown, by rank [S] and in random orders [R, S].

    Parameters
    ----------
    shares : ndarray [S]
        Share of events taken away or shown.
    curves, by_lot : mappings
        "deletion" and "insertion" to the target's probability.
    ax : Axes or None
        Where to draw.
    """
    ax = make_axes(ax)
    for (name, curve), colour in zip(curves.items(), (OFF, ON)):
        ax.plot(100 * shares, 100 * np.asarray(curve), "o-", color=colour, markersize=3.5, label=f"{name}, by rank")
        for row in by_lot[name]:
            (line,) = ax.plot(100 * shares, 100 * np.asarray(row), ":", color=colour, linewidth=1)
        line.set_label(f"{name}, at random")
    ax.set(xlabel="events taken away (deletion) or shown (insertion), %", ylabel="probability of the\nanswer, %")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9, frameon=False)
    return ax


def cost_bars(rows: Mapping[str, tuple[float, float]], ax: Axes | None = None) -> Axes:
    """Draw {layer: (synaptic operations, dense multiply-accumulates)} of a recording as bars on a logarithmic axis."""
    ax = make_axes(ax)
    places = np.arange(len(rows))
    for offset, part, colour, name in ((-0.2, 0, ON, "synaptic operations"), (0.2, 1, GREY, "dense network")):
        values = [row[part] for row in rows.values()]
        bars = ax.barh(places + offset, values, height=0.38, color=colour, label=name)
        ax.bar_label(bars, [f" {value:,.0f}" for value in values], fontsize=8, color=GREY)
    ax.set_yticks(places, list(rows))
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel="operations per recording")
    ax.margins(x=0.2)
    ax.legend(loc="lower left", ncols=2, borderaxespad=0, bbox_to_anchor=(0, 1), frameon=False)
    return ax


def seed_dots(values: Mapping[str, Sequence[float]], ax: Axes | None = None, label: str = "accuracy, %") -> Axes:
    """Draw {setting: one number a seed} as a row of dots each, the mean as a stroke; the first row on top."""
    ax = make_axes(ax)
    for place, (numbers, colour) in enumerate(zip(values.values(), CYCLE)):
        ax.plot(numbers, [place] * len(numbers), "o", color=colour, markersize=7, alpha=0.65)
        ax.plot([np.mean(numbers)] * 2, [place - 0.28, place + 0.28], color=ink(ax), linewidth=1.6)
    ax.set_yticks(range(len(values)), list(values))
    ax.set(ylim=(len(values) - 0.5, -0.5), xlabel=label)
    return ax


def knob_curves(
    values: Mapping[str, Mapping[float, Sequence[float]]],
    ax: Axes | None = None,
    knob: str = "",
    label: str = "accuracy, %",
) -> Axes:
    """Draw means against a knob, one line a curve, with each seed as a dot.

    Parameters
    ----------
    values : mapping
        {name of a curve: {value of the knob: one number a seed}}.
    ax : Axes or None
        Where to draw.
    knob, label : str
        Of the axes.
    """
    ax = make_axes(ax)
    places = {value: place for place, value in enumerate(dict.fromkeys(v for curve in values.values() for v in curve))}
    for number, ((name, curve), colour) in enumerate(zip(values.items(), CYCLE)):
        shift = 0.06 * (number - (len(values) - 1) / 2)  # so that dots of two curves stand beside each other
        x = [places[value] + shift for value in curve]
        ax.plot(x, [np.mean(numbers) for numbers in curve.values()], "-", color=colour, label=name)
        for place, numbers in zip(x, curve.values()):
            ax.plot([place] * len(numbers), numbers, "o", color=colour, markersize=5, alpha=0.6)
    ax.set_xticks(list(places.values()), [f"{value:g}" for value in places])
    ax.set(xlabel=knob, ylabel=label)
    ax.margins(x=0.15)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax
