"""Single neurons: the circuit they come from, their answers over time, and spike codes of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from snn_helpers.plots.style import GREY, HIGHLIGHT, OFF, ON, ink, make_axes, new_figure


def rc_circuit(ax: Axes | None = None) -> Axes:
    """Draw a membrane's circuit: a current source that feeds a resistor and a capacitor in parallel."""
    ax = make_axes(ax)
    line = {"color": ink(ax), "linewidth": 1.4}
    for x, gap in ((0, (0.75, 1.25)), (1.2, (0.7, 1.3)), (2.4, (0.95, 1.05))):
        ax.plot([x, x], [0.0, gap[0]], **line)
        ax.plot([x, x], [gap[1], 2.0], **line)
    for y in (0.0, 2.0):
        ax.plot([0, 2.4], [y, y], **line)
    ax.add_patch(Rectangle((1.08, 0.7), 0.24, 0.6, fill=False, **line))  # the resistor
    for y in (0.95, 1.05):  # the capacitor's plates
        ax.plot([2.15, 2.65], [y, y], color=ink(ax), linewidth=2.2)
    ax.annotate("", (0, 1.4), (0, 0.6), arrowprops={"arrowstyle": "->", "color": ON, "linewidth": 2})
    ax.text(-0.15, 1, "injected\ncurrent $I$", ha="right", va="center", color=ON)
    ax.text(1.4, 1.35, "leak\n$R$", va="bottom")
    ax.text(2.75, 1, "membrane\n$C$", va="center")
    ax.text(1.2, 2.08, "inside: $U$ above rest", ha="center", va="bottom", color=HIGHLIGHT)
    ax.text(1.2, -0.08, "outside", ha="center", va="top", color=GREY)
    ax.set(xlim=(-1.3, 4.1), ylim=(-0.4, 2.5))
    ax.axis("off")
    return ax


def draw_membrane(
    times_ms: np.ndarray, current: np.ndarray, membrane: np.ndarray, circuit: np.ndarray | None = None
) -> Figure:
    """Draw the membrane's circuit beside an injected current [T] in µA/cm² and a membrane potential [T] in mV.

    `circuit` [T] in mV, NaN where it is not to be drawn, is what the circuit alone predicts.
    """
    figure, axes = new_figure(width=8, height=3.4)
    figure.delaxes(axes)
    grid = figure.add_gridspec(2, 2, width_ratios=[1, 1.7], height_ratios=[1, 3.2])
    rc_circuit(figure.add_subplot(grid[:, 0]))
    top = figure.add_subplot(grid[0, 1])
    bottom = figure.add_subplot(grid[1, 1], sharex=top)
    top.plot(times_ms, current, color=ON)
    top.set(ylabel="current\nµA/cm²", ylim=(-0.1 * current.max(), 1.15 * current.max()))
    top.tick_params(labelbottom=False)
    bottom.plot(times_ms, membrane, color=ink(bottom), linewidth=1.1, label="membrane potential")
    if circuit is not None:
        bottom.plot(times_ms, circuit, dashes=(3, 3), color=HIGHLIGHT, linewidth=2.5, label="circuit alone")
        bottom.legend(loc="upper left")
    bottom.set(xlabel="time, ms", ylabel="membrane potential, mV", xlim=(times_ms[0], times_ms[-1]))
    return figure


def curves(
    values: Mapping[str, tuple[Sequence[float], Sequence[float], str, str]], ax: Axes | None = None, **labels
) -> Axes:
    """Draw named curves {name: (x, y, style, colour)}, with their names beside the axes; `labels` go to `Axes.set`."""
    ax = make_axes(ax)
    for name, (x, y, style, colour) in values.items():
        ax.plot(x, y, style, color=colour, label=name, markersize=7, markerfacecolor="none", markeredgewidth=1.5)
    ax.set(**labels)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return ax


def draw_time_constants(
    taus_ms: np.ndarray,
    errors: np.ndarray,
    learned_ms: Sequence[float],
    learned_errors: Sequence[float],
    questions: Sequence[str] = ("last 25 ms", "last 250 ms"),
) -> Figure:
    """Draw a readout's errors against the neurons' common time constant, one curve a question.

    Parameters
    ----------
    taus_ms : float [N]
        Time constants that were tried.
    errors : float [N + 1, questions]
        The error with each of them; the last row is that of all together.
    learned_ms, learned_errors : float [questions]
        Where learning ended.
    questions : sequence of str
        Their names.
    """
    values = {}
    for number, (name, colour) in enumerate(zip(questions, (ON, OFF))):
        values[f"{name}: one time constant"] = (taus_ms, errors[:-1, number], "-", colour)
        values[f"{name}: learned"] = ([learned_ms[number]], [learned_errors[number]], "x", colour)
        values[f"{name}: mixed population"] = (taus_ms[[0, -1]], [errors[-1, number]] * 2, ":", colour)
    labels = {"xlabel": "time constant, ms", "ylabel": "error, standard deviations", "xscale": "log", "ylim": (0, 1.05)}
    return curves(values, **labels).figure


def draw_responses(
    time_ms: np.ndarray, current: np.ndarray, responses: Mapping[str, Mapping[str, np.ndarray]]
) -> Figure:
    """Draw an input current [T], then one panel a neuron: {name: {"mem", "spk", "theta"}}, each [T].

    `theta`, the threshold in each step, may be one number.
    """
    count = len(responses)
    figure, axes = new_figure(1 + count, 1, height=1.1 + 1.15 * count, sharex=True, height_ratios=[0.6] + [1] * count)
    axes[0].step(time_ms, current, where="post", color=ON)
    axes[0].set(ylabel="input")
    for ax, (name, response) in zip(axes[1:], responses.items()):
        mem, theta = np.asarray(response["mem"]), np.broadcast_to(response["theta"], len(time_ms))
        fired = np.asarray(time_ms)[np.asarray(response["spk"]) > 0]
        height = max(1.5, theta.max(), mem.max())
        ax.plot(time_ms, mem, color=HIGHLIGHT)
        ax.plot(time_ms, theta, "--", color=GREY)
        ax.vlines(fired, -0.5 * height, -0.2 * height, color=ink(ax), linewidth=1.3)
        ax.set(ylabel=name, ylim=(-0.55 * height, 1.08 * height))
    axes[-1].set(xlabel="time, ms", xlim=(time_ms[0], time_ms[-1]))
    figure.align_ylabels(axes)
    return figure


def draw_codes(image: np.ndarray, codes: Mapping[str, np.ndarray]) -> Figure:
    """Draw an image [H, W] with its middle row marked, then the spikes [T, N] of that row's neurons in each code.

    Spikes of -1, of a code of changes, are drawn in the colour of OFF events.
    """
    image, codes = np.asarray(image), {name: np.asarray(spikes) for name, spikes in codes.items()}
    figure, axes = new_figure(1, 1 + len(codes), width=9.5, height=3.0, width_ratios=[1.1] + [1] * len(codes))
    axes[0].imshow(image, cmap="Greys", vmin=0, vmax=1)
    axes[0].axhline(len(image) // 2, color=ON, linewidth=1)
    axes[0].set(title="image", xlabel="pixel along the line", ylabel="pixel row")
    for ax, (name, spikes) in zip(axes[1:], codes.items()):
        for sign, colour in ((1, ON if (spikes < 0).any() else ink(ax)), (-1, OFF)):
            steps, neurons = np.nonzero(spikes == sign)
            ax.plot(steps, neurons, ".", color=colour, markersize=2.5)
        ax.set(title=name, xlabel="time step", xlim=(-1, len(spikes)), ylim=(-1, spikes.shape[1]))
    axes[1].set_ylabel("neuron")
    return figure
