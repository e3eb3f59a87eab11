"""How a spiking neuron learns: trials, the loss over its weights, its graph over time, surrogates and their scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from snn_helpers.plots.style import CYCLE, GREY, HIGHLIGHT, OFF, ON, ink, make_axes, new_figure
from snn_helpers.stats import mean_interval


def order_trials(inputs: np.ndarray, mem: np.ndarray, titles: Sequence[str], step_ms: float) -> Figure:
    """Draw trials of an order task, one panel each: when each input fires, and the membrane that answers.

    Parameters
    ----------
    inputs : ndarray [T, N, K]
        Spikes of K inputs, named A, B, ... .
    mem : ndarray [T, N]
        Membrane potential of the neuron, in thresholds.
    titles : sequence of str, N of them
        What stands above the panels.
    step_ms : float
        Length of a time step in ms.
    """
    inputs, mem = np.asarray(inputs), np.asarray(mem)
    figure, axes = new_figure(1, len(titles), height=2.6, sharey=True, squeeze=False)
    time_ms = step_ms * np.arange(len(mem))
    low = min(float(mem.min()), 0) - 0.45
    for number, (ax, title) in enumerate(zip(axes[0], titles)):
        ax.plot(time_ms, mem[:, number], "o-", color=HIGHLIGHT, markersize=2.5)
        ax.axhline(1, color=GREY, linestyle="--")
        for step, which in zip(*np.nonzero(inputs[:, number])):
            ax.axvline(time_ms[step], color=GREY, linewidth=0.6)
            ax.text(time_ms[step], low, f" {'ABCDEFGH'[which]}", fontweight="bold")
        ax.set(title=title, xlabel="time, ms", ylim=(low - 0.1, 1.4))
    axes[0, 0].set_ylabel("membrane u, thresholds")
    return figure


def loss_map(
    axis: np.ndarray,
    losses: np.ndarray,
    ax: Axes | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
    path: np.ndarray | None = None,
) -> Axes:
    """Draw the loss over two weights, as shades of grey.

    Parameters
    ----------
    axis : ndarray [W]
        Values of either weight.
    losses : ndarray [W, W]
        Loss by weight of A, then of B.
    ax : Axes or None
        Where to draw.
    points : dict of str to (weight of A, weight of B) or None
        Marked, with their names.
    path : ndarray [S, 2] or None
        Weights along a training.
    """
    ax, axis, losses = make_axes(ax), np.asarray(axis), np.asarray(losses)
    ends = (axis[0], axis[-1], axis[0], axis[-1])
    image = ax.imshow(losses.T, origin="lower", extent=ends, cmap="Greys", vmax=float(np.quantile(losses, 0.9)))
    ax.figure.colorbar(image, ax=ax, label="loss")
    if path is not None:
        ax.plot(*np.asarray(path).T, color=ON)
    for (name, point), marker, colour in zip((points or {}).items(), "osX^", (ON, HIGHLIGHT, OFF, GREY)):
        ax.plot(*point, marker, color=colour, label=name, linestyle="none", markeredgecolor="white")
    if points:
        ax.legend(loc="lower left", frameon=True, fontsize=8)
    ax.set(xlabel="weight of A, thresholds", ylabel="weight of B, thresholds")
    return ax


def loss_staircase(
    axis: np.ndarray, losses: np.ndarray, points: Mapping[str, tuple[float, float]], cut: float
) -> Figure:
    """Draw the map of the loss over two weights and, beside it, the loss along one value of A's weight."""
    figure, (left, right) = new_figure(1, 2, height=3.2, width_ratios=[1.2, 1])
    loss_map(axis, losses, left, points)
    row = int(np.abs(axis - cut).argmin())
    left.axvline(axis[row], color=OFF, linestyle=":")
    right.step(axis, losses[row], color=OFF)
    right.set(xlabel="weight of B, thresholds", ylabel="loss along the dotted line", ylim=(0, None))
    return figure


def unrolled_neuron(values: Mapping[str, float], ax: Axes | None = None) -> Axes:
    """Draw one neuron unrolled over two time steps: forward arrows in black, the way of the gradient in colour.

    `values` are those of the nodes x1, x2, u1, u2, s1, s2, L on the way forward, all or some.
    """
    ax = new_figure(height=3.3)[1] if ax is None else ax
    places = {"x1": (0, 0), "x2": (3, 0), "u1": (0, 1.1), "u2": (3, 1.1), "s1": (0, 2.2), "s2": (3, 2.2)}
    places["L"] = (5.4, 2.2)
    words = {"x1": "$x_1$", "x2": "$x_2$", "u1": "$u_1$", "u2": "$u_2$", "s1": "$s_1$", "s2": "$s_2$", "L": "$L$"}
    edges = (
        ("x1", "u1", "weight $w$", GREY), ("x2", "u2", "weight $w$", GREY), ("u1", "u2", r"leak $\beta$", HIGHLIGHT),
        ("u1", "s1", "step: slope 0", OFF), ("u2", "s2", "step: slope 0", OFF), ("s2", "L", "", GREY),
    )  # fmt: skip
    for start, end, label, colour in edges:
        _arrow(ax, places[start], places[end], colour)
        (x, y), (to_x, to_y) = places[start], places[end]
        upright = x == to_x
        shift = (0.09 if start[-1] == "2" else -0.09, 0) if upright else (0, 0.1)
        side = ("left" if start[-1] == "2" else "right") if upright else "center"
        ax.text((x + to_x) / 2 + shift[0], (y + to_y) / 2 + shift[1], label, color=colour, ha=side, fontsize=9)
    _arrow(ax, places["s1"], places["L"], GREY, bend=-0.28)
    _arrow(ax, places["s1"], places["u2"], GREY, dashed=True)
    ax.text(1.55, 1.75, r"reset $-\theta$", color=GREY, fontsize=9)
    box = {"boxstyle": "round", "fc": "white", "ec": ink(ax)}
    for name, (x, y) in places.items():
        text = words[name] + (f" = {values[name]:g}" if name in values else "")
        ax.text(x, y, text, ha="center", va="center", zorder=3, bbox=box)
    ax.set(xlim=(-1.1, 6.2), ylim=(-0.35, 3.25))
    ax.text(0, 2.75, "time step 1", ha="center", color=GREY)
    ax.text(3, 2.75, "time step 2", ha="center", color=GREY)
    ax.text(places["L"][0], 1.75, "loss", ha="center", color=GREY)
    ax.axis("off")
    return ax


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour, bend=0.0, dashed=False) -> None:
    """Draw an arrow between two nodes."""
    shrink = 15 if start[0] == end[0] else 31  # boxes are wider than high
    style = {"arrowstyle": "-|>", "color": colour, "shrinkA": shrink, "shrinkB": shrink, "linewidth": 1.4}
    style |= {"connectionstyle": f"arc3,rad={bend}", "linestyle": "--" if dashed else "-"}
    ax.annotate("", end, start, arrowprops=style)


def surrogates(excess: np.ndarray, derivatives: Mapping[str, np.ndarray]) -> Figure:
    """Draw surrogate derivatives [V] against the excess [V], and beside them the curves whose slopes they are."""
    figure, (left, right) = new_figure(1, 2, width=8, height=3.0)
    width = np.diff(excess, prepend=excess[0])
    left.step(excess, excess > 0, color=ink(left), linewidth=2, where="mid", label="spike (forward)")
    styles = ("-", "--", "-.", ":", "-")
    for (name, derivative), colour, style in zip(derivatives.items(), CYCLE, styles):
        curve = np.cumsum(derivative * width)
        left.plot(excess, curve - np.interp(0, excess, curve) + 0.5, style, color=colour)
        right.plot(excess, derivative, style, color=colour, label=name)
    left.set(xlabel="membrane minus threshold, thresholds", ylabel="spike, and surrogate curves", ylim=(-0.35, 1.35))
    left.legend(loc="lower right", fontsize=8)
    right.set(xlabel="membrane minus threshold, thresholds", ylabel="surrogate derivative", ylim=(-0.05, 1.85))
    right.legend(loc="upper right", fontsize=8)
    return figure


def gradient_by_step(curves: Mapping[str, np.ndarray], spike_step: int) -> Figure:
    """Draw the size of the gradient that reaches each time step [T], on a linear and on a logarithmic axis."""
    figure, axes = new_figure(1, 2, height=2.6, sharex=True)
    for (name, sizes), marker, colour in zip(curves.items(), "osD", CYCLE[3:]):
        steps = np.arange(len(sizes))
        axes[0].plot(steps, sizes, f"{marker}-", color=colour, markersize=4, label=name)
        axes[1].plot(steps, np.where(sizes > 0, sizes, np.nan), f"{marker}-", color=colour, markersize=4)
    for ax in axes:
        ax.axvline(spike_step, color=GREY, linestyle=":")
        ax.set(xlabel="time step of the input")
    axes[0].set_ylabel("gradient that reaches it")
    axes[1].set(yscale="log", ylabel="the same, logarithmic axis")
    axes[0].legend(loc="upper left")
    return figure


def learners(
    losses: Mapping[str, Sequence[float]],
    guessing: float,
    axis: np.ndarray,
    loss_by_weights: np.ndarray,
    points: Mapping[str, tuple[float, float]],
    path: np.ndarray,
) -> Figure:
    """Draw losses over training steps with the loss of guessing (dotted), and a path of weights on the loss map."""
    figure, (left, right) = new_figure(1, 2, width=8, height=3.2, width_ratios=[1.2, 1.1])
    for (name, curve), style, colour in zip(losses.items(), ("--", "-.", "-"), (OFF, GREY, ON)):
        left.plot(curve, style, color=colour, label=name)
    left.axhline(guessing, color=GREY, linestyle=":", linewidth=1)
    left.set(xlabel="training step", ylabel="loss, training trials", ylim=(0, None))
    left.legend(loc="center right", bbox_to_anchor=(1, 0.62), fontsize=8)
    loss_map(axis, loss_by_weights, right, points, path)
    return figure


def gradient_by_distance(
    distances: np.ndarray, sizes: Mapping[str, np.ndarray], first_spikes: Mapping[str, np.ndarray]
) -> Figure:
    """Draw, against a neuron's distance to its threshold [D], its gradient and when training first makes it fire.

    Parameters
    ----------
    distances : ndarray [D]
        In thresholds.
    sizes : dict of str to ndarray [D]
        Size of the gradient before training; zeros are drawn at the bottom.
    first_spikes : dict of str to ndarray [D]
        Training step of the first spike; nan for never, drawn at the top.
    """
    figure, axes = new_figure(1, 2, width=8, height=3.1, sharex=True)
    distances = np.asarray(distances)
    all_sizes, all_steps = (np.concatenate(list(values.values())) for values in (sizes, first_spikes))
    smallest = min(all_sizes[all_sizes > 0], default=1.0)
    latest = max(all_steps[~np.isnan(all_steps)], default=1.0)
    styles = list(zip("os^x", (ON, HIGHLIGHT, OFF, ink(axes[0])), (9, 4, 5, 5)))
    for (name, values), (marker, colour, size) in zip(sizes.items(), styles):
        shown = np.where(values > 0, values, smallest / 4)
        axes[0].plot(distances, shown, marker=marker, color=colour, markersize=size, markerfacecolor="none",
                     linestyle="none" if marker == "x" else "-", label=name)  # fmt: skip
    for (name, values), (marker, colour, size) in zip(first_spikes.items(), styles):
        shown = np.where(np.isnan(values), 1.3 * latest, values)
        axes[1].plot(distances, shown, marker=marker, color=colour, markersize=size, markerfacecolor="none",
                     linestyle="none" if marker == "x" else "-", label=name)  # fmt: skip
    axes[0].text(distances.max(), smallest / 4, "zero", ha="right", va="bottom", color=GREY)
    axes[0].set(yscale="log", ylabel="size of the gradient at the start")
    axes[1].text(distances.max(), 1.32 * latest, "never", ha="right", va="bottom", color=GREY)
    axes[1].set(ylabel="training steps until the first spike", ylim=(-0.03 * latest, 1.5 * latest))
    for ax in axes:
        ax.set_xlabel("distance to the threshold, thresholds")
    axes[0].legend(fontsize=8, loc="upper right")
    return figure


def scale_curves(
    panels: Mapping[str, Mapping[str, np.ndarray]], slopes: Sequence[float], chances: Sequence[float] = (1 / 2, 1 / 6)
) -> Figure:
    """Draw accuracy against the slope of the surrogate, one curve a shape, with 95 % intervals over seeds.

    Parameters
    ----------
    panels : dict of str to dict of str to ndarray [K, S]
        Panel, then shape, to accuracies (0 to 1) by slope and seed.
    slopes : sequence of K floats
        The slopes.
    chances : sequence of float
        Accuracy of guessing in each panel, drawn as a dotted line.
    """
    figure, axes = new_figure(1, len(panels), width=8, height=3.0, sharey=True, squeeze=False)
    for ax, (panel, curves), chance in zip(axes[0], panels.items(), chances):
        for number, ((shape, accuracies), colour, marker) in enumerate(zip(curves.items(), CYCLE, "osD^v")):
            means, lows, highs = np.array([mean_interval(list(row)) for row in accuracies]).T
            places = np.asarray(slopes) * 1.06 ** (number - (len(curves) - 1) / 2)  # side by side, not one over another
            bounds = np.clip([lows, highs], 0, 1)
            errors = 100 * np.abs(bounds - means)
            ax.errorbar(places, 100 * means, errors, color=colour, marker=marker, markersize=4, capsize=2, label=shape)
        ax.axhline(100 * chance, color=GREY, linestyle=":")
        ax.set(xscale="log", xlabel="slope k times threshold θ", title=panel, ylim=(0, 104))
        ax.set_xticks(list(slopes), [f"{slope:g}" for slope in slopes])
        ax.xaxis.set_minor_formatter(NullFormatter())
    axes[0, 0].set_ylabel("test accuracy, %")
    axes[0, -1].legend(loc="lower left", fontsize=8)
    return figure
