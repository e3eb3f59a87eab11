"""Figures of notebook 10: what they show is what they were given."""

import numpy as np
import pytest

from snn_helpers import plots


@pytest.fixture(autouse=True)
def _closed():
    from matplotlib import pyplot as plt

    yield
    plt.close("all")


def test_operations_by_step_stand_below_the_dense_line():
    figure = plots.draw_operations_by_step(np.array([5.0, 9]), np.array([100.0, 400]), 1000.0, 30.0)
    events, operations = figure.axes
    assert [bar.get_height() for bar in events.patches] == [5, 9]
    assert operations.lines[0].get_ydata()[0] == 1000
    assert operations.get_ylim()[1] > 1000


def test_contenders_have_a_mark_each_and_a_line_for_each_number_of_passes():
    figure = plots.draw_contenders(
        {"small": (100.0, [0.8, 0.9])}, {"ours": (500.0, 0.9, 0.85, 0.95)}, {"one pass": 1e3, "ten passes": 1e4}
    )
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert sorted(labels) == ["one pass", "ours", "small", "ten passes"]


def test_energy_leaves_out_what_a_source_does_not_say():
    rows = {"arithmetic": {"ours": 1.0, "dense": 5.0}, "chip": {"ours": 9.0, "dense": None}}
    ax = plots.draw_energy(rows).axes[0]
    assert [list(line.get_xdata()) for line in ax.lines[:2]] == [[1, 9], [5]]


def test_bits_say_accuracy_size_and_operations_in_one_order():
    rows = [("8 bits", 0.9, 0.85, 0.95, 600.0, 5e6), ("2 bits", 0.2, 0.15, 0.3, 150.0, 8e5)]
    accuracy, size, operations = plots.draw_bits(rows).axes
    assert accuracy.yaxis_inverted()
    assert [bar.get_width() for bar in size.patches] == [600, 150]
    assert [bar.get_width() for bar in operations.patches] == pytest.approx([5, 0.8])


def test_levels_show_each_channel_and_the_accuracies():
    figure = plots.draw_levels(
        {"ours": np.array([100, 90]), "theirs": np.array([100, 1])}, {"ours": 0.9, "theirs": 0.1}
    )
    channels, accuracy = figure.axes
    assert [list(line.get_ydata()) for line in channels.lines] == [[100, 90], [100, 1]]
    assert [bar.get_width() for bar in accuracy.patches] == pytest.approx([90, 10])


def test_early_answers_stand_at_their_time():
    curve = (np.array([30.0, 60]), np.array([0.5, 0.9]), np.array([0.4, 0.8]), np.array([0.6, 0.95]))
    figure = plots.draw_early_answers(curve, np.array([1e6, 2e6]), {"early exit": (45.0, 0.8, 1.5e6)})
    stars = [line.get_xydata()[0].tolist() for ax in figure.axes for line in ax.lines if line.get_marker() == "*"]
    assert stars == [[45, 80], [45, 1.5]]
