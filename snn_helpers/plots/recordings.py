"""Recordings and frames as an event camera sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_helpers.events.recording import SACCADES_MS as SACCADES_MS
from snn_helpers.plots.results import accuracy_bars
from snn_helpers.plots.style import GREY, HIGHLIGHT, OFF, ON, ink, make_axes, new_figure, paper, stamp

_NMNIST_END_MS = 320.0
_FEWEST_BINS, _MOST_BINS = 20, 400
_FRAME_PIXELS, _STRIP_PIXELS, _STRIP_LABELS = 128, 64, 15


def polarity_image(frame: np.ndarray, background: str | tuple = "white") -> np.ndarray:
    """Colour event counts [2, H, W] (OFF, ON) as RGB [H, W, 3] in [0, 1]; where nothing happened is `background`."""
    counts = np.asarray(frame, dtype=float)
    scale = max(1.0, np.percentile(counts[counts > 0], 95) if (counts > 0).any() else 1.0)
    strength = np.clip(counts / scale, 0, 1)[..., None]
    empty = np.array(mpl.colors.to_rgb(background))
    off, on = (empty - np.array(mpl.colors.to_rgb(colour)) for colour in (OFF, ON))
    return np.clip(empty - strength[0] * off - strength[1] * on, 0, 1)


def pool_counts(frames: np.ndarray, most: int) -> np.ndarray:
    """Add up the event counts [..., H, W] of squares of pixels, so that neither side has more than `most` squares.

    A figure has fewer points than a large sensor has pixels, and would leave out single events.

    Examples
    --------
    >>> pool_counts(np.ones((2, 3, 4)), 2)[0].tolist()
    [[4.0, 4.0], [2.0, 2.0]]
    """
    pool = _pool(frames, most)
    if pool == 1:
        return frames
    rows, columns = (np.arange(0, size, pool) for size in frames.shape[-2:])
    return np.add.reduceat(np.add.reduceat(np.asarray(frames, float), rows, axis=-2), columns, axis=-1)


def _pool(frames: np.ndarray, most: int) -> int:
    return -(-max(frames.shape[-2:]) // most)


def frame(counts: np.ndarray, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw one frame of event counts [2, H, W]: ON blue, OFF vermilion, the stronger the more events.

    Of more than 128 pixels along a side, squares of pixels are drawn as one; the axes' coordinates are still pixels.
    """
    ax = make_axes(ax)
    pooled = pool_counts(counts, _FRAME_PIXELS)
    bottom, right = (_pool(counts, _FRAME_PIXELS) * size - 0.5 for size in pooled.shape[-2:])
    ax.imshow(polarity_image(pooled, paper(ax)), extent=(-0.5, right, bottom, -0.5))
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(True)
    return ax


def polarity_legend(ax: Axes) -> Axes:
    """Explain above an Axes the colours of `frame`: ON, OFF, and the dark pixels that have events of both."""
    image = polarity_image(np.array([[[0, 1, 1]], [[1, 0, 1]]]), paper(ax))[0]
    names = ("ON: brighter", "OFF: darker", "both in this image")
    patches = [mpl.patches.Patch(color=tuple(colour), label=name) for name, colour in zip(names, image)]
    ax.figure.legend(handles=patches, loc="outside upper right", ncols=3, frameon=False)
    return ax


def pixel_trace(time_ms: np.ndarray, brightness: np.ndarray, polarity: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw one pixel's brightness [N] over time, and its events: `polarity` [N] is +1 (ON), -1 (OFF), or 0."""
    ax = make_axes(ax)
    ax.plot(time_ms, brightness, color=ink(ax), linewidth=1.2)
    low, high = float(np.min(brightness)), float(np.max(brightness))
    place = low - 0.18 * (high - low)
    for sign, colour, mark, name in ((1, ON, "^", "ON event"), (-1, OFF, "v", "OFF event")):
        times = np.asarray(time_ms)[np.asarray(polarity) == sign]
        ax.plot(times, np.full(len(times), place), mark, color=colour, markersize=5, label=name)
    ax.set(xlabel="time, ms", ylabel="brightness")
    return ax


def frames_strip(frames: np.ndarray, ax: Axes | None = None, step_ms: float | None = None, rows: int = 1) -> Axes:
    """Draw frames [T, 2, H, W] side by side, each under its step's number or, if `step_ms` is given, its start in ms.

    Every frame is coloured by the same scale, so that a weak one looks weak. Of more than 15 frames only every second
    or third has a label, and of more than 64 pixels along a side, squares of pixels are drawn as one. In several
    `rows`, one below the other, the first frame of each has a label, beside it.
    """
    ax = make_axes(ax)
    frames = pool_counts(frames, _STRIP_PIXELS)
    num_steps, _, height, width = frames.shape
    per_row = -(-num_steps // rows)
    joined = np.zeros((2, rows * (height + 1) - 1, per_row * (width + 1) - 1))
    for step, image in enumerate(frames):
        top, left = step // per_row * (height + 1), step % per_row * (width + 1)
        joined[:, top : top + height, left : left + width] = image
    ax.imshow(polarity_image(joined, paper(ax)))
    for column in range(1, per_row):
        ax.axvline(column * (width + 1) - 1, color=GREY, linewidth=0.6)
    for row in range(1, rows):
        ax.axhline(row * (height + 1) - 1, color=GREY, linewidth=0.6)
    # More labels would run into each other.
    named = range(0, num_steps, per_row if rows > 1 else -(-num_steps // _STRIP_LABELS))
    labels = [str(step) if step_ms is None else f"{step * step_ms:.0f}" for step in named]
    word = "time step" if step_ms is None else "frame start, ms"
    if rows == 1:
        ax.set_xticks([step * (width + 1) + width / 2 for step in named], labels)
        ax.set(yticks=[], xlabel=word)
    else:
        ax.set_yticks([row * (height + 1) + height / 2 for row in range(len(labels))], labels)
        ax.set(xticks=[], ylabel=word)
    return ax


def shade_saccades(ax: Axes, saccades_ms: Sequence[tuple[float, float]] = SACCADES_MS) -> Axes:
    """Shade the times (start, stop) of saccades, by default N-MNIST's three, on an axis of ms and number them."""
    for number, (start, stop) in enumerate(saccades_ms, 1):
        ax.axvspan(start, stop, color=ink(ax), alpha=0.06, linewidth=0)
        middle = (start + stop) / 2
        ax.text(
            middle, 1, f"saccade {number}", transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=8,
            color=GREY,
        )  # fmt: skip
    return ax


def event_cloud(events: np.ndarray, ax: Axes | None = None, axis: str = "x") -> Axes:
    """Draw events (structured array with x, y, t in µs, p) as dots: time in ms against the pixel along `axis`."""
    ax = make_axes(ax)
    for polarity, colour, name in ((1, ON, "ON"), (0, OFF, "OFF")):
        chosen = events[events["p"] == polarity]
        ax.plot(chosen["t"] / 1000, chosen[axis], ".", color=colour, markersize=1.5, alpha=0.6, label=name)
    ax.set(xlabel="time, ms", ylabel=f"{axis}, pixels")
    ax.legend(loc="lower right", markerscale=6, ncols=2, borderaxespad=0, bbox_to_anchor=(1, 1), frameon=False)
    return ax


def event_rate(
    events: np.ndarray,
    ax: Axes | None = None,
    end_ms: float | None = None,
    saccades: bool = False,
) -> Axes:
    """Draw events per ms over time, per polarity, in at most 400 bins: of 5 ms, or less where there are fewer than 20.

    Parameters
    ----------
    events : structured array [N] with fields t (µs), p
        A recording.
    ax : Axes or None
        Where to draw; None makes one.
    end_ms : float or None
        End of the axis. None ends at the last event, with `saccades` not before 320 ms, so that recordings of N-MNIST
        have the same axis.
    saccades : bool
        Shade N-MNIST's saccades.
    """
    ax = make_axes(ax)
    if end_ms is None:
        last_ms = events["t"][-1] / 1000 if len(events) else 0.0
        end_ms = max(_NMNIST_END_MS, last_ms) if saccades or last_ms == 0 else last_ms
    bin_ms = max(min(5.0, end_ms / _FEWEST_BINS), end_ms / _MOST_BINS)
    edges = bin_ms * np.arange(np.ceil(end_ms / bin_ms - 1e-6) + 1)  # no sliver of a bin at the end
    for polarity, colour, name in ((1, ON, "ON"), (0, OFF, "OFF")):
        counts, _ = np.histogram(events["t"][events["p"] == polarity] / 1000, edges)
        ax.stairs(counts / bin_ms, edges, color=colour, label=name)
    ax.set(xlabel="time, ms", ylabel="events / ms", xlim=(0, end_ms))
    return shade_saccades(ax) if saccades else ax


def rate_curves(curves: Mapping[str, np.ndarray], ax: Axes | None = None, bin_ms: float = 5.0) -> Axes:
    """Draw event-rate curves {name: events per bin [bins]} over time, as events per ms."""
    ax = make_axes(ax)
    for (name, counts), style in zip(curves.items(), ("-", "--", ":")):
        times = (np.arange(len(counts)) + 0.5) * bin_ms
        ax.plot(times, np.asarray(counts) / bin_ms, style, color=ink(ax) if style == "-" else HIGHLIGHT, label=name)
    ax.set(xlabel="time, ms", ylabel="events / ms")
    ax.legend(frameon=False)
    return ax


def class_gallery(images: Mapping[str, np.ndarray], columns: int = 6) -> Figure:
    """Draw {name: event counts [2, H, W]} as a grid of small images, each under its name."""
    rows = -(-len(images) // columns)
    figure, axes = new_figure(rows, columns, width=9, height=1.65 * rows, squeeze=False)
    for ax in axes.flat[len(images) :]:
        ax.remove()
    for (name, counts), ax in zip(images.items(), axes.flat):
        frame(counts, ax)
        ax.set_title(name, fontsize=8)
    return figure


def groups_by_split(groups: Sequence[str], splits: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw how many recordings of each group (down) are in train, valid and test (across), as a table of counts."""
    ax = make_axes(ax)
    names, parts = sorted(set(groups)), [part for part in ("train", "valid", "test") if part in splits]
    counts = np.zeros((len(names), len(parts)), int)
    np.add.at(counts, ([names.index(group) for group in groups], [parts.index(split) for split in splits]), 1)
    ax.imshow(counts > 0, cmap=mpl.colors.ListedColormap([paper(ax), ON]), alpha=0.25, aspect="auto", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        ax.text(column, row, counts[row, column] or "-", ha="center", va="center", fontsize=8, color=ink(ax))
    ax.set_xticks(range(len(parts)), parts)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    return ax


def draw_splits(
    bars: Sequence[tuple[str, float, float, float]], groups: Sequence[str], splits: Sequence[str]
) -> Figure:
    """Draw accuracies (left, as for `accuracy_bars`) beside the table of groups by split (`groups_by_split`)."""
    figure, (left, right) = new_figure(1, 2, width=9.0, height=3.2)
    accuracy_bars(bars, left)
    groups_by_split(groups, splits, right)
    return figure


def twin_frames(maps: Mapping[str, np.ndarray], labels: np.ndarray, columns: int = 5) -> Figure:
    """Draw images of the same digits above each other: {row's name: event counts [N, 2, H, W]}, with labels [N].

    Of each of `columns` labels, spread over all of them, the first image is shown.
    """
    there, first = np.unique(labels, return_index=True)
    chosen = first[np.linspace(0, len(there) - 1, min(columns, len(there))).round().astype(int)]
    figure, axes = new_figure(len(maps), len(chosen), width=8, height=1.7 * len(maps), squeeze=False)
    for row, (name, images) in zip(axes, maps.items()):
        for ax, number in zip(row, chosen):
            frame(images[number], ax, f"{name} {labels[number]}")
    return figure


def recording_overview(events: np.ndarray, parts: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Draw the named parts of a recording, counts [2, H, W] each, as images, and beside them all its events in time."""
    ratios = [1] * len(parts) + [2.2]
    figure, axes = new_figure(1, len(ratios), width=9, height=2.7, width_ratios=ratios)
    for (name, counts), ax in zip(parts, axes):
        frame(counts, ax, name)
    event_cloud(events, axes[-1])
    return figure


def draw_recording_sheet(
    events: np.ndarray, frames: np.ndarray, title: str, provenance: str, saccades: bool = True
) -> Figure:
    """Draw one recording on one page: event cloud, event rate and frames [T, 2, H, W]; shade N-MNIST's saccades."""
    duration_ms = (events["t"][-1] - events["t"][0]) / 1000 if len(events) else 0.0
    rows = max(1, -(-len(frames) // _STRIP_LABELS))
    figure, axes = new_figure(3, 1, height=5.3 + 0.4 * rows, height_ratios=[2, 1.1, 0.4 + 0.35 * rows])
    event_cloud(events, axes[0]).set_title(f"{title}: {len(events):,} events in {duration_ms:.0f} ms")
    event_rate(events, axes[1], saccades=saccades)
    axes[0].set_xlim(axes[1].get_xlim())
    frames_strip(frames, axes[2], duration_ms / len(frames), rows)
    return stamp(figure, provenance)
