"""What happens while a network trains: losses step by step, seeds in pairs, and what a step takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from snn_helpers.plots.style import CYCLE, GREY, ON, ink, make_axes, new_figure

_MARKERS = "os^Dv"


def loss_and_firing(tries: Mapping[str, tuple[Sequence[float], Sequence[float]]], num_classes: int):
    """Draw losses and firing against the training step, with the loss of a guess among all classes as a dotted line.

    Parameters
    ----------
    tries : mapping of str to (losses, firing)
        Of each step; firing is the share of the hidden neurons that fire in a time step, in %.
    num_classes : int
        Number of classes.

    Returns
    -------
    matplotlib Figure
    """
    figure, (left, right) = new_figure(1, 2, height=2.6)
    for (name, (losses, firing)), marker, colour in zip(tries.items(), _MARKERS, CYCLE):
        left.plot(losses, marker=marker, markersize=3, label=name, color=colour)
        right.plot(firing, marker=marker, markersize=3, label=name, color=colour)
    left.axhline(np.log(num_classes), color=GREY, linestyle=":")
    place = {"transform": left.get_yaxis_transform(), "ha": "right", "va": "bottom", "color": GREY, "fontsize": 9}
    left.text(0.99, np.log(num_classes), f"ln {num_classes}", **place)
    for ax in (left, right):
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    left.set(xlabel="training step", ylabel="loss", ylim=(0, None))
    right.set(xlabel="training step", ylabel="hidden neurons that fire\nin a time step, %", ylim=(-1, None))
    right.legend(frameon=False, fontsize=8)
    return figure


def losses_by_step(runs: Mapping[str, tuple[Sequence[int], Sequence[float]]], ax: Axes | None = None) -> Axes:
    """Draw {run: (step numbers, losses)}; the first as a broad grey line below the others."""
    ax = make_axes(ax)
    for place, (name, (steps, losses)) in enumerate(runs.items()):
        if place == 0:
            ax.plot(steps, losses, color=GREY, alpha=0.45, linewidth=5, label=name)
        else:
            ax.plot(steps, losses, marker=_MARKERS[place], markersize=4, color=CYCLE[place - 1], label=name)
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.set(xlabel="training step", ylabel="loss")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    return ax


def paired_seeds(names: tuple[str, str], quantities: Mapping[str, tuple[Sequence[float], Sequence[float]]]):
    """Draw a panel for each quantity: a grey line from the first to the second setting for each seed, and the means.

    Parameters
    ----------
    names : (str, str)
        Of the two settings.
    quantities : mapping of str to (first, second)
        Axis label to the values of both settings, one a seed, in the same order.

    Returns
    -------
    matplotlib Figure
    """
    figure, axes = new_figure(1, len(quantities), height=2.8, squeeze=False)
    for ax, (label, values) in zip(axes[0], quantities.items()):
        for pair in zip(*values):
            ax.plot((0, 1), pair, "o-", color=GREY, markersize=4, linewidth=1, alpha=0.8)
        ax.plot((0, 1), [np.mean(value) for value in values], "s-", color=ON, markersize=7, linewidth=2.5, label="mean")
        ax.set(xticks=(0, 1), xticklabels=names, xlim=(-0.3, 1.3), ylabel=label)
        ax.legend(frameon=False, fontsize=9)
    return figure


def step_times(milliseconds: Mapping[str, float], by_batch: Mapping[str, Mapping[int, float]]):
    """Draw the time of a training step as bars, and beside them the time a recording against the batch size.

    Parameters
    ----------
    milliseconds : mapping of str to float
        Of a step of the same work, by machine.
    by_batch : mapping of str to mapping of int to float
        Milliseconds of a step by batch size, by the way it runs.

    Returns
    -------
    matplotlib Figure
    """
    figure, (left, right) = new_figure(1, 2, width=9, height=2.8)
    bars = left.barh(list(milliseconds), list(milliseconds.values()), color=ON, alpha=0.85)
    numbers = [f" {value:,.0f}" if value >= 100 else f" {value:.3g}" for value in milliseconds.values()]
    left.bar_label(bars, numbers, fontsize=9, color=ink(left))
    left.invert_yaxis()
    left.margins(x=0.25)
    left.set(xlabel="milliseconds a training step")
    for (name, times), marker, colour in zip(by_batch.items(), _MARKERS, CYCLE[1:]):
        each = [time / size for size, time in times.items()]
        right.plot(list(times), each, marker=marker, markersize=5, color=colour, label=name)
    sizes = sorted({size for times in by_batch.values() for size in times})
    right.set(xscale="log", yscale="log", xlabel="batch size", ylabel="milliseconds a recording")
    right.set_xticks(sizes, [str(size) for size in sizes])
    lowest, highest = right.get_ylim()
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if lowest < tick < highest]
    right.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    right.minorticks_off()
    right.legend(frameon=False, fontsize=9)
    return figure
