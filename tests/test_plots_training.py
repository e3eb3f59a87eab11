"""Figures of training are tested by the data in their artists."""

import matplotlib as mpl
import numpy as np

from snn_helpers import plots

mpl.use("Agg")


def test_loss_and_firing_has_a_curve_for_each_try_and_the_loss_of_a_guess():
    figure = plots.loss_and_firing({"one": ([2.0, 1.0], [3.0, 4.0]), "two": ([2.0], [3.0])}, 10)
    left, right = figure.axes
    assert [list(line.get_ydata()) for line in left.lines[:2]] == [[2.0, 1.0], [2.0]]
    assert left.lines[2].get_ydata()[0] == np.log(10)
    assert [list(line.get_ydata()) for line in right.lines] == [[3.0, 4.0], [3.0]]


def test_losses_by_step_draws_the_first_run_below_the_others():
    ax = plots.losses_by_step({"whole": (range(3), [3, 2, 1]), "resumed": (range(1, 3), [2, 1])})
    assert [list(line.get_xdata()) for line in ax.lines] == [[0, 1, 2], [1, 2]]
    assert ax.lines[0].get_linewidth() > ax.lines[1].get_linewidth()


def test_paired_seeds_joins_the_values_of_a_seed_and_adds_the_means():
    figure = plots.paired_seeds(("off", "on"), {"accuracy": ([1, 3], [2, 6])})
    (ax,) = figure.axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[1, 2], [3, 6], [2, 4]]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["off", "on"]


def test_step_times_draws_steps_as_bars_and_recordings_as_curves():
    figure = plots.step_times({"CPU": 120.0, "GPU": 14.2}, {"as is": {32: 16.0, 128: 32.0}})
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [120.0, 14.2]
    assert list(right.lines[0].get_ydata()) == [0.5, 0.25]
    assert [text.get_text() for text in right.get_xticklabels()] == ["32", "128"]
