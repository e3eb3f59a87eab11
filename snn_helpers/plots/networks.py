"""What the layers of a network are made of, and what they do over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from snn_helpers.plots.style import GREY, HIGHLIGHT, OFF, ON, ink, make_axes, paper


def raster(spikes: np.ndarray, ax: Axes | None = None, step_ms: float | None = None) -> Axes:
    """Draw spikes [T, N], time against neuron, as `snntorch.spikeplot.raster` does, as strokes that fill a row.

    In time steps they are numbered from 0, as there; in ms, with `step_ms`, a spike stands at the end of its step.
    """
    ax = make_axes(ax)
    spikes = np.asarray(spikes)
    steps, neurons = np.nonzero(spikes)
    times = steps if step_ms is None else (steps + 1) * step_ms
    # A stroke covers most of its neuron's row, so that a raster of ten neurons reads as well as one of hundreds.
    height = 0.8 * ax.get_window_extent().height * 72 / ax.figure.dpi / max(1, spikes.shape[1])
    size = float(np.clip(height, 1.5, 9)) ** 2
    ax.scatter(
        times, neurons, s=size, marker="|" if size > 9 else "o", color=ink(ax),
        linewidths=1.6 if size > 9 else 0,
    )  # fmt: skip
    ax.set(xlabel="time step" if step_ms is None else "time, ms", ylabel="neuron")
    ax.set_xlim(*((-0.5, len(spikes) - 0.5) if step_ms is None else (0, (len(spikes) + 0.3) * step_ms)))
    ax.set_ylim(-0.5, max(1, spikes.shape[1]) - 0.5)
    # Room for a number every 20 points, in a low raster, too; neurons are whole.
    places = max(1, round(ax.get_window_extent().height * 72 / ax.figure.dpi / 20))
    ax.yaxis.set_major_locator(mpl.ticker.MaxNLocator(places, integer=True, min_n_ticks=1))
    return ax


def membrane_traces(
    mem: np.ndarray,
    threshold: float | None,
    ax: Axes | None = None,
    names: Sequence[str] = (),
    step_ms: float | None = None,
    marks: Sequence[float] = (),
) -> Axes:
    """Draw membranes [T, N] with the firing threshold, if any, dashed, over steps from 0 or, in ms, steps' ends.

    `marks` are times, in the units of the axis, at which a grey line stands.
    """
    ax = make_axes(ax)
    for time in marks:
        ax.axvline(time, color=GREY, linewidth=1)
    times = np.arange(len(mem)) if step_ms is None else np.arange(1, len(mem) + 1) * step_ms
    for neuron, trace in enumerate(np.asarray(mem).T):
        ax.plot(times, trace, label=names[neuron] if len(names) else None, linewidth=1.4)
    if threshold is not None:
        ax.axhline(threshold, color=GREY, linestyle="--", linewidth=1)
        # Beside the axes, where no line runs through the word.
        ax.text(1.005, threshold, "threshold", transform=ax.get_yaxis_transform(), va="center", color=GREY, fontsize=9)
    ax.set(xlabel="time step" if step_ms is None else "time, ms", ylabel="membrane")
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    if len(names):
        ax.legend(loc="lower left", ncols=len(names), borderaxespad=0, bbox_to_anchor=(0, 1), frameon=False)
    return ax


def layer_bars(values: Mapping[str, float], ax: Axes | None = None) -> Axes:
    """Draw one bar a layer, the first on top, its value written beside it."""
    ax = make_axes(ax)
    names = list(values)
    bars = ax.barh(names, list(values.values()), color=ON)
    ax.bar_label(bars, fmt=_beside, color=GREY)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set(xlabel="steps with a spike, %")
    return ax


def _beside(value: float) -> str:
    """Return a bar's value, to stand beside it: to three figures, and never as a power of ten."""
    return f" {value:,.0f}" if value >= 1000 else f" {value:.3g}"


def stacked_bars(rows: Mapping[str, Mapping[str, float]], ax: Axes | None = None, label: str = "ms") -> Axes:
    """Draw one bar a row {name: {part: value}}, the first on top, cut into its parts, with the sum beside it."""
    ax = make_axes(ax)
    parts = list(next(iter(rows.values())))
    colours = mpl.colormaps["viridis"](np.linspace(0.15, 0.95, len(parts)))
    starts = np.zeros(len(rows))
    for part, colour in zip(parts, colours):
        widths = np.array([row[part] for row in rows.values()])
        bars = ax.barh(list(rows), widths, left=starts, color=colour, edgecolor="white", label=part)
        starts += widths
    ax.bar_label(bars, [_beside(total) for total in starts], color=GREY)
    ax.invert_yaxis()
    ax.margins(x=0.1)
    ax.set(xlabel=label)
    ax.legend(loc="lower left", ncols=len(parts), borderaxespad=0, bbox_to_anchor=(0, 1), frameon=False, fontsize=8)
    return ax


def network(layers: Sequence[Mapping], ax: Axes | None = None) -> Axes:
    """Draw a network as boxes from left to right.

    Parameters
    ----------
    layers : sequence of mappings
        "name", "shape" (of one step, without the batch), "parameters" (int), "spike_fraction" (float or None), and
        "joined_by" where a skip ends: the name of the layer that it comes from.
    ax : Axes or None
        Where to draw.
    """
    ax = make_axes(ax)
    tallest = max(np.prod(layer["shape"]) for layer in layers)
    for position, layer in enumerate(layers):
        height = 0.25 + 0.75 * np.log1p(np.prod(layer["shape"])) / np.log1p(tallest)
        ax.add_patch(
            plt.Rectangle(
                (position - 0.32, -height / 2), 0.64, height, facecolor=mpl.colors.to_rgba(ON, 0.22), edgecolor=ON
            )
        )
        ax.text(position, 0.68, layer["name"], ha="center", va="bottom", fontweight="bold", color=ink(ax))
        ax.text(
            position, 0.56, " × ".join(map(str, layer["shape"])), ha="center", va="bottom", fontsize=9, color=ink(ax)
        )
        below = [f"{layer['parameters']:,} weights"] if layer["parameters"] else ["no weights"]
        if layer["spike_fraction"] is not None:
            below.append(f"{100 * layer['spike_fraction']:.1f} % active")
        ax.text(position, -0.58, "\n".join(below), ha="center", va="top", fontsize=9, color=GREY)
        if position:
            ax.annotate("", (position - 0.34, 0), (position - 0.66, 0), arrowprops={"arrowstyle": "->", "color": GREY})
    skips = _draw_skips(layers, ax)
    ax.set(xlim=(-0.6, len(layers) - 0.4), ylim=(-0.95, 1.3 if skips else 0.9))
    ax.axis("off")
    return ax


def _draw_skips(layers: Sequence[Mapping], ax: Axes) -> int:
    """Draw an arrow over the names for each skip; return how many there are."""
    places = {layer["name"]: place for place, layer in enumerate(layers)}
    skips = [(places[layer["joined_by"]], place) for place, layer in enumerate(layers) if layer.get("joined_by")]
    for start, end in skips:
        ax.plot([start, start, end], [0.9, 1.05, 1.05], color=ON, linewidth=1.2)
        ax.annotate("", (end, 0.86), (end, 1.06), arrowprops={"arrowstyle": "->", "color": ON, "shrinkA": 0})
        ax.text((start + end) / 2, 1.08, "skip: added here", ha="center", va="bottom", fontsize=9, color=ON)
    return len(skips)


def feature_maps(counts: np.ndarray, ax: Axes | None = None, columns: int = 16) -> Axes:
    """Draw the spikes of a convolutional layer, one small image a channel, all on one scale.

    Parameters
    ----------
    counts : ndarray [C, H, W]
        Spikes of one recording summed over its steps, or of one step.
    ax : Axes or None
        Where to draw.
    columns : int
        Channels in a row.
    """
    counts = np.asarray(counts)
    if counts.ndim != 3:
        raise ValueError(f"`counts` must be [C, H, W]; got shape {list(counts.shape)}.")
    ax = make_axes(ax)
    channels, height, width = counts.shape
    columns = min(columns, channels)
    rows = -(-channels // columns)
    tiled = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for channel, image in enumerate(counts):
        top, left = channel // columns * (height + 1), channel % columns * (width + 1)
        tiled[top : top + height, left : left + width] = image
    blends = mpl.colors.LinearSegmentedColormap.from_list("spikes", [paper(ax), ON, HIGHLIGHT])
    blends = blends.with_extremes(bad=mpl.colors.to_rgba(GREY, 0.35))
    image = ax.imshow(tiled, cmap=blends, vmin=0, vmax=max(1, counts.max()))
    ax.figure.colorbar(image, ax=ax, label="spikes", fraction=0.03, pad=0.01)
    ax.set(xticks=[], yticks=[], xlabel=f"{channels} channels, {columns} a row")
    ax.spines[:].set_visible(False)
    return ax


def race(
    counts: np.ndarray,
    ax: Axes | None = None,
    step_ms: float = 1.0,
    true_class: int | None = None,
    decided: int | None = None,
) -> Axes:
    """Draw the output neurons' spikes so far, int [T, classes], as a race: who leads, who is right, who comes second.

    Parameters
    ----------
    counts : ndarray [T, classes]
        Spikes so far after each step.
    ax : Axes or None
        Where to draw.
    step_ms : float
        Length of a step.
    true_class : int or None
        Drawn in green and named, as are the two that end in front, if they fired; the others are grey.
    decided : int or None
        The network's answer, where something else than the count decides between equal counts: named before them.
    """
    ax = make_axes(ax)
    counts = np.asarray(counts, np.int64)  # sums of uint8 are unsigned, and have no negative to sort by
    times = np.arange(len(counts) + 1) * step_ms
    others = np.arange(counts.shape[1]) != (-1 if decided is None else decided)
    places = np.lexsort((others, -counts[-1]))
    told = {int(neuron) for neuron in places[:2] if counts[-1, neuron]}
    told |= set() if true_class is None else {int(true_class)}
    for neuron in places[::-1]:
        colour = HIGHLIGHT if neuron == true_class else OFF
        look = {"color": colour, "linewidth": 2.2, "label": f"{neuron}"}
        if neuron not in told:
            look = {"color": GREY, "linewidth": 1, "alpha": 0.5}
        ax.plot(times, np.r_[0, counts[:, neuron]], drawstyle="steps-post", **look)
    named = [int(count) for count in counts[-1, sorted(told)]]
    for neuron in sorted(told, reverse=True):
        named.remove(counts[-1, neuron])
        word = f" {neuron}" + (" (true)" if neuron == true_class else "")
        colour = HIGHLIGHT if neuron == true_class else OFF
        # Of neurons that end together, each is named above the one before.
        up = 11 * named.count(counts[-1, neuron])
        ax.annotate(word, (times[-1], counts[-1, neuron]), (4, up), textcoords="offset points", va="center",
                    color=colour, annotation_clip=False)  # fmt: skip
    ax.set(xlabel="time step" if step_ms == 1 else "time, ms", ylabel="output spikes so far")
    ax.set_xlim(0, 1.02 * times[-1])  # else half of the last step's rise is cut off
    ax.yaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    return ax
