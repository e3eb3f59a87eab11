"""Figures about the use of time, by the data in their artists."""

import matplotlib as mpl
import numpy as np
import pytest

from snn_helpers import plots
from snn_helpers.events.dtype import make_events

mpl.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    mpl.pyplot.close("all")


def test_controls_have_a_strip_each_and_one_time_axis():
    frames = np.ones((3, 2, 4, 4), np.uint8)
    figure = plots.draw_controls({"as recorded": frames, "shuffled": frames}, step_ms=10)
    upper, lower = figure.axes
    assert [ax.get_title(loc="left") for ax in (upper, lower)] == ["as recorded", "shuffled"]
    assert not len(upper.get_xticks())
    assert [label.get_text() for label in lower.get_xticklabels()] == ["0", "10", "20"]


def test_orders_show_the_sum_and_both_axes_over_time():
    events = make_events([1, 2], [3, 0], [1_000, 2_000], [0, 1])
    figure = plots.draw_orders({"right": (events, np.ones((2, 4, 4))), "up": (events, np.ones((2, 4, 4)))})
    image, along_x, along_y = figure.axes[:3]
    assert image.get_title() == "right"
    assert sorted(tuple(line.get_xydata()[0]) for line in along_x.lines) == [(1.0, 1.0), (2.0, 2.0)]
    assert sorted(tuple(line.get_xydata()[0]) for line in along_y.lines) == [(1.0, 3.0), (2.0, 0.0)]
    assert along_y.yaxis_inverted()


def test_decays_are_powers_of_beta_and_the_legend_says_tau():
    ax = plots.draw_decays((0.5, 0.9), step_ms=10, gap_ms=(30, 50), end_ms=60).axes[0]
    half, _ = ax.lines
    assert half.get_xdata().tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert half.get_ydata()[:3].tolist() == [100, 50, 25]
    assert ax.get_legend().get_texts()[1].get_text() == "β = 0.9, τ = 95 ms"


def test_seeds_have_a_panel_a_setting():
    figure = plots.draw_seeds({"short": {"a": [0.5, 0.6], "b": [0.9, 1.0]}, "long": {"a": [0.2, 0.3]}}, chance=0.25)
    short, long = figure.axes
    assert [label.get_text() for label in short.get_yticklabels()] == ["a", "b"]
    assert long.get_title(loc="left") == "long"
    assert short.lines[-1].get_xdata()[0] == 25


def test_suspects_have_rates_per_ms_and_bars():
    rows = [("ours", 0.2, 0.1, 0.3), ("theirs", 0.9, 0.8, 0.95)]
    rates = {"ours": np.array([15.0, 30.0]), "theirs": np.array([15.0, 15.0])}
    left, right = plots.draw_suspects(rates, 15, rows, chance=1 / 6).axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[1, 2], [1, 1]]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([20, 90])
