"""Figures: arrays in, Axes out. Every function draws on the Axes given, or on a new one, and returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ON, OFF, GREY, HIGHLIGHT = "#0072b2", "#d55e00", "#6b6b6b", "#009e73"
"""Okabe and Ito's colour-blind-safe blue, vermilion and green: ON and OFF events look the same in every figure."""

SACCADES_MS = ((0, 95), (105, 205), (222, 305))
"""The three camera movements of an N-MNIST recording, in ms (Orchard et al. 2015)."""

_STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.prop_cycle": mpl.cycler(color=[ON, OFF, HIGHLIGHT, "#cc79a7", "#e69f00", "#56b4e9", "#000000"]),
    "image.interpolation": "nearest",
    "legend.frameon": False,
}


def use_style() -> None:
    """Set the series' style for all figures that follow."""
    mpl.rcParams.update(_STYLE)


def new_figure(rows: int = 1, columns: int = 1, width: float = 7.2, height: float = 2.6, **options):
    """Return (figure, axes) in the series' style; `width` and `height` in inches, axes as `plt.subplots` gives them."""
    with mpl.rc_context(_STYLE):
        return plt.subplots(rows, columns, figsize=(width, height), **options)


def _axes(ax: Axes | None) -> Axes:
    return new_figure()[1] if ax is None else ax


def polarity_image(frame: np.ndarray) -> np.ndarray:
    """Colour event counts [2, H, W] (OFF, ON): white where nothing happened, as RGB [H, W, 3] in [0, 1]."""
    counts = np.asarray(frame, dtype=float)
    scale = max(1.0, np.percentile(counts[counts > 0], 95) if (counts > 0).any() else 1.0)
    strength = np.clip(counts / scale, 0, 1)[..., None]
    ink = [1 - np.array(mpl.colors.to_rgb(colour)) for colour in (OFF, ON)]
    return np.clip(1 - strength[0] * ink[0] - strength[1] * ink[1], 0, 1)


def frame(counts: np.ndarray, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw one frame of event counts [2, H, W]: ON blue, OFF vermilion, the stronger the more events."""
    ax = _axes(ax)
    ax.imshow(polarity_image(counts))
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(True)
    return ax


def frames_strip(frames: np.ndarray, ax: Axes | None = None, step_ms: float | None = None) -> Axes:
    """Draw frames [T, 2, H, W] side by side, each under its step's number and, if `step_ms` is given, its start in ms.

    Every frame is coloured by the same scale, so that a weak one looks weak.
    """
    ax = _axes(ax)
    num_steps, _, height, width = frames.shape
    joined = np.zeros((2, height, num_steps * (width + 1) - 1))
    for step in range(num_steps):
        joined[:, :, step * (width + 1) : step * (width + 1) + width] = frames[step]
    ax.imshow(polarity_image(joined))
    for step in range(1, num_steps):
        ax.axvline(step * (width + 1) - 1, color=GREY, linewidth=0.6)
    labels = [str(step) if step_ms is None else f"{step * step_ms:.0f}" for step in range(num_steps)]
    ax.set_xticks([step * (width + 1) + width / 2 for step in range(num_steps)], labels)
    ax.set(yticks=[], xlabel="time step" if step_ms is None else "frame start, ms")
    return ax


def shade_saccades(ax: Axes) -> Axes:
    """Shade the times of the three saccades on an axis of ms and number them."""
    for number, (start, stop) in enumerate(SACCADES_MS, 1):
        ax.axvspan(start, stop, color="#000000", alpha=0.06, linewidth=0)
        middle = (start + stop) / 2
        ax.text(
            middle, 1, f"saccade {number}", transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=8,
            color=GREY,
        )  # fmt: skip
    return ax


def event_cloud(events: np.ndarray, ax: Axes | None = None, axis: str = "x") -> Axes:
    """Draw events (structured array with x, y, t in µs, p) as dots: time in ms against the pixel along `axis`."""
    ax = _axes(ax)
    for polarity, colour, name in ((1, ON, "ON"), (0, OFF, "OFF")):
        chosen = events[events["p"] == polarity]
        ax.plot(chosen["t"] / 1000, chosen[axis], ".", color=colour, markersize=1.5, alpha=0.6, label=name)
    ax.set(xlabel="time, ms", ylabel=f"{axis}, pixels")
    ax.legend(loc="lower right", markerscale=6, ncols=2, borderaxespad=0, bbox_to_anchor=(1, 1), frameon=False)
    return ax


def event_rate(events: np.ndarray, ax: Axes | None = None, bin_ms: float = 5.0, end_ms: float = 320.0) -> Axes:
    """Draw events per ms over time, per polarity, for events with t in µs."""
    ax = _axes(ax)
    edges = np.arange(0, end_ms + bin_ms, bin_ms)
    for polarity, colour, name in ((1, ON, "ON"), (0, OFF, "OFF")):
        counts, _ = np.histogram(events["t"][events["p"] == polarity] / 1000, edges)
        ax.stairs(counts / bin_ms, edges, color=colour, label=name)
    ax.set(xlabel="time, ms", ylabel="events / ms", xlim=(0, end_ms))
    return ax


def rate_curves(curves: Mapping[str, np.ndarray], ax: Axes | None = None, bin_ms: float = 5.0) -> Axes:
    """Draw event-rate curves {name: events per bin [bins]} over time, as events per ms."""
    ax = _axes(ax)
    for (name, counts), style in zip(curves.items(), ("-", "--", ":")):
        times = (np.arange(len(counts)) + 0.5) * bin_ms
        ax.plot(times, np.asarray(counts) / bin_ms, style, color="black" if style == "-" else HIGHLIGHT, label=name)
    ax.set(xlabel="time, ms", ylabel="events / ms")
    ax.legend(frameon=False)
    return ax


def raster(spikes: np.ndarray, ax: Axes | None = None, step_ms: float | None = None) -> Axes:
    """Draw spikes [T, N] as dots, time against neuron, as `snntorch.spikeplot.raster` does."""
    ax = _axes(ax)
    steps, neurons = np.nonzero(np.asarray(spikes))
    ax.scatter(steps if step_ms is None else steps * step_ms, neurons, s=2, color="black", linewidths=0)
    ax.set(xlabel="time step" if step_ms is None else "time, ms", ylabel="neuron")
    ax.set_xlim(-0.5, (len(spikes) - 0.5) * (step_ms or 1))
    return ax


def membrane_traces(mem: np.ndarray, threshold: float, ax: Axes | None = None, names: Sequence[str] = ()) -> Axes:
    """Draw membranes [T, N] over time steps with the firing threshold as a dashed line."""
    ax = _axes(ax)
    for neuron, trace in enumerate(np.asarray(mem).T):
        ax.plot(trace, label=names[neuron] if len(names) else None, linewidth=1.4)
    ax.axhline(threshold, color=GREY, linestyle="--", linewidth=1)
    ax.text(0.995, threshold, "threshold ", transform=ax.get_yaxis_transform(), ha="right", va="bottom", color=GREY)
    ax.set(xlabel="time step", ylabel="membrane")
    if len(names):
        ax.legend(loc="lower left", ncols=len(names), borderaxespad=0, bbox_to_anchor=(0, 1), frameon=False)
    return ax


def layer_bars(values: Mapping[str, float], ax: Axes | None = None, label: str = "steps with a spike, %") -> Axes:
    """Draw one bar a layer, the first on top, its value written beside it."""
    ax = _axes(ax)
    names = list(values)
    bars = ax.barh(names, list(values.values()), color=ON)
    ax.bar_label(bars, fmt=" %.3g", color=GREY)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set(xlabel=label)
    return ax


def stacked_bars(rows: Mapping[str, Mapping[str, float]], ax: Axes | None = None, label: str = "ms") -> Axes:
    """Draw one bar a row {name: {part: value}}, the first on top, cut into its parts, with the sum beside it."""
    ax = _axes(ax)
    parts = list(next(iter(rows.values())))
    colours = mpl.colormaps["viridis"](np.linspace(0.15, 0.95, len(parts)))
    starts = np.zeros(len(rows))
    for part, colour in zip(parts, colours):
        widths = np.array([row[part] for row in rows.values()])
        bars = ax.barh(list(rows), widths, left=starts, color=colour, edgecolor="white", label=part)
        starts += widths
    ax.bar_label(bars, [f" {total:.3g}" for total in starts], color=GREY)
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
        "name", "shape" (of one step, without the batch), "parameters" (int), "spike_fraction" (float or None).
    ax : Axes or None
        Where to draw.
    """
    ax = _axes(ax)
    tallest = max(np.prod(layer["shape"]) for layer in layers)
    for position, layer in enumerate(layers):
        height = 0.25 + 0.75 * np.log1p(np.prod(layer["shape"])) / np.log1p(tallest)
        ax.add_patch(plt.Rectangle((position - 0.32, -height / 2), 0.64, height, facecolor="#cfe3f1", edgecolor=ON))
        ax.text(position, 0.68, layer["name"], ha="center", va="bottom", fontweight="bold")
        ax.text(position, 0.56, " × ".join(map(str, layer["shape"])), ha="center", va="bottom", fontsize=9)
        below = [f"{layer['parameters']:,} weights"] if layer["parameters"] else ["no weights"]
        if layer["spike_fraction"] is not None:
            below.append(f"{100 * layer['spike_fraction']:.1f} % active")
        ax.text(position, -0.58, "\n".join(below), ha="center", va="top", fontsize=9, color=GREY)
        if position:
            ax.annotate("", (position - 0.34, 0), (position - 0.66, 0), arrowprops={"arrowstyle": "->", "color": GREY})
    ax.set(xlim=(-0.6, len(layers) - 0.4), ylim=(-0.95, 0.9))
    ax.axis("off")
    return ax


def training_curves(history: Sequence[Mapping], quantity: str, ax: Axes | None = None, scale: float = 1.0) -> Axes:
    """Draw `train_<quantity>` and `valid_<quantity>` of a run's history against the epoch."""
    ax = _axes(ax)
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
    ax = _axes(ax)
    names, values, lows, highs = zip(*rows)
    values = 100 * np.array(values)
    errors = np.abs(100 * np.array([lows, highs]) - values)
    ax.barh(names, values, xerr=errors, color=[GREY] * (len(rows) - 1) + [ON], ecolor="black", capsize=3, alpha=0.85)
    for row, (value, high) in enumerate(zip(values, highs)):
        ax.text(100 * high + 1.5, row, f"{value:.1f} %", va="center", fontsize=9)
    ax.invert_yaxis()
    ax.set(xlabel="accuracy, %", xlim=(0, 112), xticks=range(0, 101, 20))
    return ax


def confusion(matrix: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix [true class, decided class]: counts, errors coloured, right answers grey."""
    ax = _axes(ax)
    matrix = np.asarray(matrix)
    errors = matrix - np.diag(np.diag(matrix))
    ax.imshow(errors, cmap="Oranges", vmax=max(1, errors.max()))
    for row, column in zip(*np.nonzero(matrix)):
        strong = errors[row, column] > 0.6 * max(1, errors.max())
        ax.text(column, row, matrix[row, column], ha="center", va="center", fontsize=8,
                color="white" if strong else (GREY if row == column else "black"))  # fmt: skip
    classes = range(len(matrix))
    ax.set(xticks=classes, yticks=classes, xlabel="decided", ylabel="true digit")
    ax.spines[:].set_visible(True)
    return ax


def stamp(figure: Figure, provenance: str) -> Figure:
    """Write the data's provenance in the figure's lower right corner."""
    figure.supxlabel(provenance, x=0.995, ha="right", fontsize=7, color=GREY)
    return figure


def draw_recording_sheet(events: np.ndarray, frames: np.ndarray, title: str, provenance: str) -> Figure:
    """Draw one recording on one page: event cloud, event rate and frames [T, 2, H, W]."""
    duration_ms = (events["t"][-1] - events["t"][0]) / 1000 if len(events) else 0.0
    figure, axes = new_figure(3, 1, height=6.0, height_ratios=[2, 1.1, 1.1])
    event_cloud(events, axes[0]).set_title(f"{title}: {len(events):,} events in {duration_ms:.0f} ms")
    shade_saccades(event_rate(events, axes[1]))
    axes[0].set_xlim(axes[1].get_xlim())
    frames_strip(frames, axes[2], duration_ms / len(frames))
    return stamp(figure, provenance)
