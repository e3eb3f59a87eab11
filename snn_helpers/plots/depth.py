"""Figures about deep networks: where skips join, what depth does, and how seeds scatter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_helpers.plots.style import CYCLE, GREY, OFF, ON, ink, make_axes, new_figure, paper
from snn_helpers.stats import mean_interval

_BOXES = ("neurons", "weights\n+ norm", "neurons", "weights\n+ norm", "neurons")
# From where to where each skip leads, in places along the row of boxes; half a place is the gap between two boxes.
_SKIPS = {"none": None, "add_then_fire": (0.5, 3.5), "sew": (0.5, 4.5), "membrane": (-0.5, 3.5)}
_MARKERS = "so^Dv"


def skip_diagram() -> Figure:
    """Draw a residual block as a row of boxes, once for each way in which a skip can join it."""
    figure, axes = new_figure(len(_SKIPS), height=5.2)
    for ax, (name, places) in zip(axes, _SKIPS.items()):
        ax.text(-1.05, 0.95, name, fontweight="bold", color=ink(ax))
        for place, word in enumerate(_BOXES):
            fires = word == "neurons"
            face = mpl.colors.to_rgba(ON if fires else GREY, 0.22)
            ax.add_patch(mpl.patches.FancyBboxPatch((place - 0.3, -0.3), 0.6, 0.6, "round,pad=0.02", facecolor=face))
            ax.text(place, 0, word, ha="center", va="center", fontsize=8, color=ink(ax))
        for gap in np.arange(-0.5, 5):
            arrow = {"arrowstyle": "->", "color": GREY}
            ax.annotate("", (gap + 0.18, 0), (gap - 0.18, 0), arrowprops=arrow)
        block = mpl.patches.Rectangle((0.41, -0.7), 4.26, 1.82, fill=False, edgecolor=GREY, linestyle=":")
        ax.add_patch(block)
        ax.text(4.62, -0.66, "block", ha="right", va="bottom", fontsize=8, color=GREY)
        if places:
            start, end = places
            ax.plot([start, start, end, end], [0, 0.75, 0.75, 0.2], color=OFF, linewidth=1.6)
            carried = "currents" if name == "membrane" else "spikes"
            ax.text((start + end) / 2, 0.8, carried, ha="center", va="bottom", fontsize=8, color=OFF)
            ax.plot(end, 0, "o", color=paper(ax), markeredgecolor=OFF, markersize=11)
            ax.text(end, -0.02, "+", ha="center", va="center", fontsize=10, color=OFF)
        ax.set(xlim=(-1.1, 5.1), ylim=(-0.72, 1.2))
        ax.axis("off")
    return figure


def depth_curves(
    depths: Sequence[int], curves: Mapping[str, np.ndarray], ax: Axes | None = None, floor: float | None = None
) -> Axes:
    """Draw what depth does to each kind of network: the median over seeds as a line, the range as a band.

    Parameters
    ----------
    depths : sequence of int [D]
        Numbers of blocks.
    curves : mapping of str to ndarray [D, S]
        A value for each depth and seed.
    ax : Axes or None
        Where to draw.
    floor : float or None
        With a number the axis is logarithmic; medians below it are drawn at it, as hollow markers.
    """
    ax = make_axes(ax)
    for (name, values), colour, marker in zip(curves.items(), CYCLE, _MARKERS):
        below = np.zeros(len(depths), bool) if floor is None else np.median(values, axis=1) < floor
        values = np.asarray(values) if floor is None else np.maximum(values, floor)
        median = np.median(values, axis=1)
        ax.plot(depths, median, marker=marker, color=colour, markersize=4, label=name)
        if below.any():
            hollow = {"markerfacecolor": paper(ax), "markeredgecolor": colour, "clip_on": False, "zorder": 3}
            ax.plot(np.asarray(depths)[below], median[below], marker, linestyle="none", markersize=6, **hollow)
        ax.fill_between(depths, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.18, linewidth=0)
    ax.set(xlabel="blocks", xticks=list(depths))
    if floor is None:
        ax.set_ylim(bottom=0)
    else:
        ax.set_yscale("log")
        ax.set_ylim(bottom=floor / 3)
    return ax


def depth_panels(
    depths: Sequence[int], names: Sequence[str], firing: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]
) -> Figure:
    """Draw firing in % (upper row) and gradient norms (lower row) against depth, one panel a title.

    Parameters
    ----------
    depths : sequence of int [D]
        Numbers of blocks.
    names : sequence of str [K]
        Kinds of networks, one line each.
    firing, gradients : mapping of title to ndarray [K, D, S, 2]
        For each kind, depth and seed the share of steps with a spike and the gradient norm, of which those below 1e-16
        are drawn there, hollow. Two of each.
    """
    figure, axes = new_figure(2, 2, height=5.4, sharex=True, sharey="row")
    for ax, (title, table) in zip(axes[0], firing.items()):
        depth_curves(depths, dict(zip(names, 100 * table[..., 0])), ax)
        ax.set(title=title, xlabel="")
    for ax, (title, table) in zip(axes[1], gradients.items()):
        depth_curves(depths, dict(zip(names, table[..., 1])), ax, floor=1e-16)
        ax.set(title=title)
    # The axes of a row are shared, and end at the largest value of both panels.
    axes[0, 0].set(ylabel="last layer fires, % of steps", ylim=(0, _largest(axes[0]) * 1.05))
    axes[1, 0].set(ylabel="gradient norm, first block", ylim=(1e-17, _largest(axes[1]) * 5))
    axes[1, 1].legend(fontsize=8, loc="lower left")  # below all lines
    return figure


def _largest(axes: Sequence[Axes]) -> float:
    return max(float(np.max(line.get_ydata())) for ax in axes for line in ax.lines)


def seed_accuracies(
    accuracies: Mapping[str, Sequence[float]], ax: Axes | None = None, chance: float | None = None
) -> Axes:
    """Draw accuracies over seeds, {name: [S]}, shares in [0, 1]: points, their mean, and its 95 % interval.

    Parameters
    ----------
    accuracies : mapping
        The first on top; a single value has no interval.
    ax : Axes or None
        Where to draw.
    chance : float or None
        Share that guessing gets right, drawn dashed.
    """
    ax = make_axes(ax)
    for place, values in enumerate(accuracies.values()):
        mean, low, high = mean_interval([100 * float(value) for value in values])
        if np.isfinite(low):
            ax.plot([max(0, low), min(100, high)], [place, place], color=GREY, linewidth=6, alpha=0.35)
        ax.plot([100 * float(value) for value in values], [place] * len(values), "o", color=ON, markersize=4)
        ax.plot(mean, place, "|", color=ink(ax), markersize=14, markeredgewidth=2)
        ax.text(104, place, f"{mean:.1f} %", va="center", fontsize=9, color=ink(ax))
    if chance is not None:
        ax.axvline(100 * chance, color=GREY, linestyle="--", linewidth=1)
    ax.set_yticks(range(len(accuracies)), list(accuracies))
    ax.set_ylim(len(accuracies) - 0.5, -0.5)
    ax.set(xlabel="test accuracy, %", xlim=(0, 118), xticks=range(0, 101, 20))
    return ax
