"""How often layers fire, and what follows from it: a short training, a state that was left over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_helpers.plots.results import accuracy_bars
from snn_helpers.plots.style import GREY, HIGHLIGHT, OFF, ON, make_axes, new_figure
from snn_helpers.stats import wilson_interval

_COLOURS = (GREY, ON, OFF, HIGHLIGHT)


def firing_bars(rows: Mapping[str, Mapping[str, float]], ax: Axes | None = None) -> Axes:
    """Draw how often each layer fires, {network: {layer: % of steps}}, a bar a network, the first layer on top."""
    ax = make_axes(ax)
    layers = list(next(iter(rows.values())))
    height = 0.8 / len(rows)
    for number, (name, row) in enumerate(rows.items()):
        places = np.arange(len(layers)) + (number - (len(rows) - 1) / 2) * height
        bars = ax.barh(places, list(row.values()), height, color=_COLOURS[number], label=name)
        ax.bar_label(bars, [f" {value:.2g}" for value in row.values()], color=GREY, fontsize=8)
    ax.set(yticks=range(len(layers)), yticklabels=layers, xlabel="steps at which a neuron fires, %")
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.legend(loc="lower left", ncols=len(rows) + 1, borderaxespad=0, bbox_to_anchor=(0, 1))
    return ax


def short_training(
    losses: Mapping[str, np.ndarray], accuracies: Mapping[str, Sequence[float]], total: int, chance: float
) -> Figure:
    """Draw the losses of a few training steps, and the accuracies that they lead to.

    Parameters
    ----------
    losses : mapping of network to float array [seeds, steps]
        Each seed is a thin line, their mean a thick one.
    accuracies : mapping of network to accuracies [seeds]
        Shares in [0, 1]: their mean is drawn, with Wilson's interval for `total` recordings; the last in colour.
    total : int
        Recordings that each accuracy is of.
    chance : float
        Accuracy of a guess, in [0, 1]: a dotted line.
    """
    figure, (left, right) = new_figure(1, 2, width=8.4, height=2.6)
    for (name, of_seeds), colour in zip(losses.items(), _COLOURS):
        of_seeds = np.atleast_2d(of_seeds)
        steps = np.arange(1, of_seeds.shape[1] + 1)
        left.plot(steps, of_seeds.T, color=colour, linewidth=0.8, alpha=0.4)
        left.plot(steps, of_seeds.mean(0), color=colour, linewidth=1.8, label=name)
    left.set(xlabel="training step", ylabel="training loss", ylim=(0, None))
    left.legend(loc="lower left")
    means = {name: float(np.mean(values)) for name, values in accuracies.items()}
    accuracy_bars([(name, mean, *wilson_interval(round(mean * total), total)) for name, mean in means.items()], right)
    right.set(xlabel="validation accuracy, %")
    right.axvline(100 * chance, color=GREY, linestyle=":")
    right.text(100 * chance, 1.01, "chance", transform=right.get_xaxis_transform(), ha="center", color=GREY, fontsize=8)
    return figure


def call_curves(calls: Mapping[str, np.ndarray], ax: Axes | None = None, step_ms: float = 1.0) -> Axes:
    """Draw one number a step, [T], for each of several calls of a network, over the steps' ends in ms."""
    ax = make_axes(ax)
    for (name, values), style, colour in zip(calls.items(), ("o-", "s--", "^:"), (ON, OFF, HIGHLIGHT)):
        ax.plot(np.arange(1, len(values) + 1) * step_ms, values, style, color=colour, markersize=4, label=name)
    ax.set(xlabel="time, ms", ylabel="output membranes,\nmean size in thresholds", xlim=(0, None))
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.legend()
    return ax
