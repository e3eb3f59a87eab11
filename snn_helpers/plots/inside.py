"""What goes on inside a network, a page each: its layers, its answers, its view of the classes, what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from snn_helpers.plots.maps import attribution_cloud, attribution_map, embedding, paths
from snn_helpers.plots.networks import feature_maps, membrane_traces, raster
from snn_helpers.plots.results import accuracy_bars, anytime_curve, confusion
from snn_helpers.plots.style import AGAINST, CYCLE, FOR, GREY, HIGHLIGHT, ON, new_figure
from snn_helpers.stats import mean_interval

_NEURONS, _CHANNELS, _BINS = 100, 24, 60


def busiest(spk: np.ndarray, most: int) -> np.ndarray:
    """Return up to `most` neurons of spikes [T, N] that fire, from the least to the most busy, int64 [n].

    Examples
    --------
    >>> busiest(np.array([[0, 1, 1], [0, 1, 0], [0, 1, 0]]), 2).tolist()
    [2, 1]
    """
    total = np.asarray(spk).sum(0, dtype=np.int64)
    live = np.flatnonzero(total)
    order = live[np.argsort(total[live], kind="stable")]
    places = np.linspace(0, max(0, len(order) - 1), min(most, len(order))).astype(int)
    return order[np.unique(places)]


def draw_layers(
    spk: Mapping[str, np.ndarray],
    mem: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float | None],
    step_ms: float,
    notes: Mapping[str, str] | None = None,
) -> Figure:
    """Draw a network's layers while they look at one recording, a row each: the same page for every network.

    Left a raster of up to a hundred neurons that fire, the busiest on top. In the middle, how often a membrane of
    the layer was at which height, in units of the threshold (dashed). Right, spikes summed over time: the first
    channels of a convolution as small images, other neurons as single squares.

    Parameters
    ----------
    spk, mem : mappings of layer to ndarray [T, ...]
        Spikes and membranes of one recording.
    thresholds : mapping of layer to float or None
        None where a layer has no single number for it: its membranes stay in their own unit.
    step_ms : float
        Length of a step.
    notes : mapping of layer to str, or None
        What to write beside a layer's name.
    """
    notes = notes or {}
    options = {"width": 9.6, "height": 0.5 + 1.3 * len(spk), "width_ratios": [1.5, 1, 1.4], "squeeze": False}
    figure, axes = new_figure(len(spk), 3, **options)
    for (name, spikes), (left, middle, right) in zip(spk.items(), axes):
        flat = np.asarray(spikes).reshape(len(spikes), -1)
        raster(flat[:, busiest(flat, _NEURONS)], left, step_ms).set(xlabel="", ylabel="")
        note = f": {notes[name]}" if name in notes else ""
        left.set_title(f"{name}{note}", loc="left", fontsize=10)
        _heights(mem[name], thresholds[name], middle)
        feature_maps(_as_maps(np.asarray(spikes).sum(0, dtype=np.int64)), right, columns=8).set(xlabel="")
        right.spines[:].set(visible=True, color=GREY)
    axes[0, 1].set_title("membranes", loc="left", fontsize=10)
    axes[0, 2].set_title("spikes, summed over time", loc="left", fontsize=10)
    axes[-1, 0].set(xlabel="time, ms")
    axes[-1, 1].set(xlabel="membrane / threshold")
    for left, middle, _ in axes:
        left.set(ylabel="neuron")
        middle.set(ylabel="share, %")
    return figure


def _as_maps(total: np.ndarray) -> np.ndarray:
    """Return counts as images [C, H, W]: the first channels of a convolution, or all neurons in rows, as one."""
    if total.ndim == 3:
        return total[:_CHANNELS]
    columns = min(32, total.size)
    rows = -(-total.size // columns)
    image = np.full(rows * columns, np.nan)
    image[: total.size] = total.ravel()
    return image.reshape(1, rows, columns)


def _heights(mem: np.ndarray, threshold: float | None, ax) -> None:
    heights = np.asarray(mem, dtype=float).ravel() / (threshold or 1.0)
    low, high = np.percentile(heights, (0.1, 99.9))
    edges = np.linspace(min(low, -1), max(high, 1.5), _BINS)
    counts, _ = np.histogram(heights, edges)
    ax.stairs(100 * counts / max(1, heights.size), edges, fill=True, color=ON)
    if threshold is not None:
        ax.axvline(1, color=GREY, linestyle="--", linewidth=1)
    ax.set(yscale="log", ylim=(1e-2, 200), yticks=[0.01, 1, 100], yticklabels=["0.01", "1", "100"])


def draw_membranes(panels: Mapping[str, tuple[np.ndarray, float | None, Sequence[str]]], step_ms: float) -> Figure:
    """Draw membranes in units of the threshold, a panel each: {title: (membranes [T, n], threshold, names)}."""
    figure, axes = new_figure(len(panels), 1, height=0.4 + 2.1 * len(panels), sharex=True, squeeze=False)
    for (title, (mem, threshold, names)), ax in zip(panels.items(), axes[:, 0]):
        scale = threshold or 1.0
        membrane_traces(np.asarray(mem) / scale, threshold and 1.0, ax, names, step_ms)
        ax.set(xlabel="", ylabel="membrane / threshold")
        ax.set_title(title, loc="right" if len(names) else "left")
    axes[-1, 0].set(xlabel="time, ms")
    return figure


def draw_answers(
    curve: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    settled_ms: np.ndarray,
    matrix: np.ndarray,
    classes: Sequence[str],
) -> Figure:
    """Draw a network's answers: accuracy if time ended earlier, when answers became final, and which are mistaken.

    Parameters
    ----------
    curve : (elapsed_ms, accuracy, low, high), each [T]
        As for `anytime_curve`.
    settled_ms : ndarray [B]
        When each recording's answer changed for the last time.
    matrix : int [K, K]
        Confusion matrix: true class, decided class.
    classes : sequence of str
        Names of the classes.
    """
    figure, (left, middle, right) = new_figure(1, 3, width=9.6, height=3.2, width_ratios=[1, 1, 1.1])
    anytime_curve({"": curve}, left).axhline(100 / len(classes), color=GREY, linestyle=":")
    left.text(0.98, 100 / len(classes) + 2, "chance", transform=left.get_yaxis_transform(), ha="right", color=GREY)
    step_ms = float(curve[0][0])
    middle.hist(settled_ms, bins=(np.arange(len(curve[0]) + 1) + 0.5) * step_ms, color=ON)
    middle.axvline(float(np.median(settled_ms)), color=HIGHLIGHT, label="median")
    middle.legend()
    middle.set(xlabel="answer final after, ms", ylabel="recordings")
    confusion(matrix, right, classes)
    return figure


def draw_views(
    rows: Sequence[tuple[str, float, float, float]],
    laid_out: Mapping[str, np.ndarray],
    over_time: np.ndarray,
    labels: np.ndarray,
    wrong: np.ndarray | None = None,
) -> Figure:
    """Draw how layers group the classes: a score each, two of them laid out in the plane, and one over time.

    Parameters
    ----------
    rows : sequence of (layer, share, low, high)
        As for `accuracy_bars`.
    laid_out : mapping of layer to ndarray [N, 2]
        Two layers.
    over_time : ndarray [T, M, 2]
        For `paths`, of the first M recordings.
    labels : int ndarray [N]
        Classes.
    wrong : bool ndarray [N] or None
        Recordings to ring in the last layer laid out.
    """
    figure, axes = new_figure(2, 2, width=9.6, height=7.0)
    accuracy_bars(rows, axes[0, 0]).set(xlabel="nearest neighbour of the same class, %")
    for number, ((name, points), ax) in enumerate(zip(laid_out.items(), (axes[0, 1], axes[1, 0]))):
        embedding(points, labels, ax, wrong if number else None).set_title(f"{name}, t-SNE")
    paths(over_time, labels[: over_time.shape[1]], axes[1, 1])
    axes[1, 1].set_title(f"{list(laid_out)[-1]} over time, principal components")
    axes[1, 1].set(xlabel="first component", ylabel="second component")
    return figure


def draw_attribution(events: np.ndarray, values: np.ndarray, cells: np.ndarray, step_ms: float, title: str) -> Figure:
    """Draw which events of a recording spoke for an answer: by pixel, event by event, and by time step.

    Parameters
    ----------
    events : structured array [N] with fields x, y, t (µs), p
        The recording.
    values : ndarray [N]
        What each event said.
    cells : ndarray [T, P, H, W]
        What each event count said.
    step_ms : float
        Length of a step.
    title : str
        The answer.
    """
    figure, axes = new_figure(1, 3, width=9.6, height=3.2, width_ratios=[1, 1.4, 1.2])
    attribution_map(np.asarray(cells).sum(0), axes[0], title)
    attribution_cloud(events, values, axes[1])
    times = np.arange(len(cells)) * step_ms
    by_step = np.asarray(cells, dtype=float).reshape(len(cells), -1)
    by_step = 100 * by_step / max(np.abs(by_step).sum(), 1e-30)
    for sign, colour in ((1, FOR), (-1, AGAINST)):
        heights = sign * np.clip(sign * by_step, 0, None).sum(1)
        axes[2].bar(times, heights, width=0.9 * step_ms, align="edge", color=colour)
    axes[2].axhline(0, color=GREY, linewidth=0.8)
    axes[2].set(xlabel="time, ms", ylabel="share of all attribution, %")
    return figure


def draw_rankings(shares: np.ndarray, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw the answer's probability as events are deleted by rank, and as they are inserted, a pair of lines a ranking.

    Parameters
    ----------
    shares : ndarray [S]
        Share of events deleted.
    curves : mapping of ranking to (highest first [S, B], lowest first [S, B])
        Probabilities of B recordings without those events; their means are drawn, with the 95 % interval of the mean.
        The second, read from its end, is the insertion of the highest ranks.
    """
    figure, axes = new_figure(1, 2, width=9.6, height=3.2, sharey=True)
    for (name, (highest_first, lowest_first)), colour in zip(curves.items(), CYCLE):
        for ax, values, places in ((axes[0], highest_first, shares), (axes[1], lowest_first, 1 - shares)):
            mean, low, high = 100 * np.array([mean_interval(row) for row in np.asarray(values, float)]).T
            ax.plot(100 * places, mean, "o-", color=colour, markersize=3.5, label=name)
            ax.fill_between(100 * places, np.clip(low, 0, 100), np.clip(high, 0, 100), color=colour, alpha=0.15, lw=0)
    axes[0].set(xlabel="events deleted, %", ylabel="probability of the answer, %", ylim=(0, 102))
    axes[1].set(xlabel="events inserted, %")
    for ax, title in zip(axes, ("deletion, highest ranks first", "insertion, highest ranks first")):
        ax.set_title(title, loc="left", fontsize=10)
    axes[1].legend(loc="lower right", fontsize=9)
    return figure
