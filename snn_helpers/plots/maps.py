"""Maps: recordings as points in the plane, and events coloured by what they said."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes

from snn_helpers.plots.style import AGAINST, FOR, GREY, ink, make_axes, paper

MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*", "<", ">")


def _class_colours(num_classes: int) -> np.ndarray:
    """Return colours that differ in lightness, too; a digit printed on its group tells them apart in any case."""
    return mpl.colormaps["turbo"](np.linspace(0.1, 0.92, max(2, num_classes)))


def class_colour(label: int) -> tuple[float, float, float]:
    """Return the colour of a class, RGB in [0, 1]: beyond the tenth, hues that a golden angle keeps apart.

    Examples
    --------
    >>> len({class_colour(label) for label in range(40)})
    40
    """
    if label < 10:
        return mpl.colormaps["tab10"](label)[:3]
    hue, value = (label * 137.508 / 360) % 1, 0.6 if label % 2 else 0.85
    return tuple(mpl.colors.hsv_to_rgb((hue, 0.75, value)).tolist())


def _apart(places: np.ndarray, spans: np.ndarray, least: float = 0.065) -> np.ndarray:
    """Move places [N, 2] that are nearer than `least` of the spans [2] apart, so that numbers on them can be read."""
    scale = np.where(spans > 0, spans, 1.0)
    moved = np.asarray(places, dtype=float) / scale
    moved[:, 0] += 1e-6 * np.arange(len(moved))  # two in one place part along x
    for _ in range(60):
        gaps = moved[:, None] - moved
        distances = np.hypot(gaps[..., 0], gaps[..., 1])
        np.fill_diagonal(distances, np.inf)
        if distances.min() >= least:
            break
        push = np.maximum(0, least - distances) / (2 * distances)
        moved += 1.02 * (push[..., None] * gaps).sum(1)
    return moved * scale


def embedding(points: np.ndarray, labels: np.ndarray, ax: Axes | None = None, wrong: np.ndarray | None = None) -> Axes:
    """Draw points [N, 2] by class: colour and shape say which, and a number stands on the middle of each class.

    Parameters
    ----------
    points : ndarray [N, 2]
        Axes have no unit; only neighbourhoods mean something.
    labels : int ndarray [N]
        Classes.
    ax : Axes or None
        Where to draw.
    wrong : bool ndarray [N] or None
        Recordings to ring.
    """
    points, labels = np.asarray(points), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or len(labels) != len(points):
        raise ValueError(f"`points` must be [N, 2] with a label each; got {list(points.shape)}, {len(labels)} labels.")
    ax = make_axes(ax)
    classes = np.unique(labels)
    for number, (label, colour) in enumerate(zip(classes, _class_colours(len(classes)))):
        chosen = labels == label
        ax.scatter(
            *points[chosen].T, s=14, marker=MARKERS[number % len(MARKERS)], color=colour, alpha=0.75, linewidths=0
        )
    edge = [mpl.patheffects.withStroke(linewidth=3, foreground=paper(ax))]
    middles = np.array([np.median(points[labels == label], axis=0) for label in classes])
    for label, place in zip(classes, _apart(middles, np.ptp(points, axis=0))):
        ax.text(*place, str(label), color=ink(ax), fontweight="bold", fontsize=13, ha="center", va="center",
                path_effects=edge)  # fmt: skip
    if wrong is not None and np.any(wrong):
        ax.scatter(*points[np.asarray(wrong)].T, s=55, facecolors="none", edgecolors=ink(ax), linewidths=0.9,
                   label="decided wrongly")  # fmt: skip
        ax.legend(loc="upper left", bbox_to_anchor=(0, 0), fontsize=8, handletextpad=0.2, borderpad=0, frameon=False)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color(GREY)
    return ax


def paths(points: np.ndarray, labels: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw each class's mean path through the plane, from points [T, N, 2]: from the dot to the class's number."""
    ax = make_axes(ax)
    points, labels = np.asarray(points), np.asarray(labels)
    classes = np.unique(labels)
    edge = [mpl.patheffects.withStroke(linewidth=3, foreground=paper(ax))]
    for label, colour in zip(classes, _class_colours(len(classes))):
        ax.plot(*points[:, labels == label].reshape(-1, 2).T, ".", color=colour, alpha=0.12, markersize=3)
        mean = points[:, labels == label].mean(1)
        ax.plot(*mean.T, ".-", color=colour, linewidth=1.8, markersize=5)
        ax.text(*mean[-1], str(label), color=ink(ax), fontweight="bold", fontsize=13, ha="center", va="center",
                path_effects=edge)  # fmt: skip
    ax.plot(*points[0].mean(0), "o", color=ink(ax), markersize=6, zorder=5)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color(GREY)
    return ax


def attribution_map(values: np.ndarray, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw what each pixel's events said, [P, H, W] or [H, W]: green spoke for the answer, purple against it."""
    values = np.asarray(values, dtype=float)
    values = values.sum(0) if values.ndim == 3 else values
    ax = make_axes(ax)
    limit = float(np.percentile(np.abs(values), 99.5)) or 1.0
    blends = mpl.colors.LinearSegmentedColormap.from_list("said", [AGAINST, paper(ax), FOR])
    ax.imshow(values, cmap=blends, vmin=-limit, vmax=limit)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(True)
    return ax


def attribution_cloud(events: np.ndarray, values: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw each event (x, y, t in µs, p) at its time and pixel: green spoke for the answer, purple against it."""
    ax = make_axes(ax)
    values = np.asarray(values, dtype=float)
    limit = (float(np.percentile(np.abs(values), 98)) if len(values) else 0.0) or 1.0
    blends = mpl.colors.LinearSegmentedColormap.from_list("said", [AGAINST, GREY, FOR])
    order = np.argsort(np.abs(values), kind="stable")  # those that said most on top
    weight = np.clip(np.abs(values[order]) / limit, 0, 1)
    ax.scatter(
        events["t"][order] / 1000, events["x"][order], c=values[order], cmap=blends, vmin=-limit, vmax=limit,
        s=1 + 9 * weight, alpha=np.clip(0.15 + weight, 0, 1), linewidths=0,
    )  # fmt: skip
    for colour, word in ((FOR, "raised the score"), (AGAINST, "lowered it")):
        ax.plot([], [], "o", color=colour, markersize=4, label=word)
    ax.legend(loc="upper center", fontsize=8, ncols=2, bbox_to_anchor=(0.5, -0.22), frameon=False)  # a title is above
    ax.set(xlabel="time, ms", ylabel="x, pixels")
    return ax
