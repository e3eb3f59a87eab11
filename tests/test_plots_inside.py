"""The pages of notebook 08 are tested by the data in their artists."""

import matplotlib as mpl
import numpy as np
import pytest

from snn_helpers import plots
from snn_helpers.events.recording import make_events

mpl.use("Agg")


def layers(num_steps=6, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"conv1": (4, 3, 3), "hidden": (40,), "output": (3,)}
    spk = {name: (rng.random((num_steps, *shape)) < 0.3).astype(np.uint8) for name, shape in shapes.items()}
    mem = {name: rng.normal(size=(num_steps, *shape)).astype(np.float32) for name, shape in shapes.items()}
    return spk, mem


def test_busiest_leaves_silent_neurons_out_and_the_busiest_in():
    spk = np.zeros((5, 4))
    spk[:3, 2] = spk[:1, 0] = spk[:2, 3] = 1
    assert plots.busiest(spk, 10).tolist() == [0, 3, 2]
    assert plots.busiest(spk, 2).tolist() == [0, 2]
    assert plots.busiest(np.zeros((5, 4)), 3).tolist() == []


def test_page_of_layers_has_a_row_each_with_its_note_and_every_spike():
    spk, mem = layers()
    figure = plots.draw_layers(spk, mem, {"conv1": 2.0, "hidden": 1.0, "output": None}, 10, {"conv1": "7 % dead"})
    rasters, heights, maps = figure.axes[0:9:3], figure.axes[1:9:3], figure.axes[2:9:3]
    assert [ax.get_title(loc="left") for ax in rasters] == ["conv1: 7 % dead", "hidden", "output"]
    assert [len(ax.collections[0].get_offsets()) for ax in rasters] == [spk[name].sum() for name in spk]
    assert [len(ax.lines) for ax in heights] == [1, 1, 0]  # no threshold, no dashed line
    assert [ax.images[0].get_array().shape for ax in maps] == [(3, 15), (2, 32), (1, 3)]


def test_page_of_a_silent_network_can_be_drawn():
    spk, mem = layers()
    silent = {name: np.zeros_like(spikes) for name, spikes in spk.items()}
    still = {name: np.zeros_like(membranes) for name, membranes in mem.items()}
    plots.draw_layers(silent, still, dict.fromkeys(spk, 1.0), 10).canvas.draw()


def test_membranes_are_drawn_in_units_of_their_threshold():
    panels = {"a": (np.full((4, 1), 3.0), 2.0, ()), "b": (np.full((4, 2), 3.0), None, ["x", "y"])}
    first, second = plots.draw_membranes(panels, 10).axes
    assert first.lines[0].get_ydata().tolist() == [1.5] * 4
    assert second.lines[0].get_ydata().tolist() == [3.0] * 4
    assert first.lines[0].get_xdata().tolist() == [10, 20, 30, 40]


def test_answers_show_the_median_time_and_every_recording():
    curve = (np.array([5.0, 10.0, 15.0]), np.array([0.2, 0.5, 0.9]), np.zeros(3), np.ones(3))
    figure = plots.draw_answers(curve, np.array([5, 10, 10, 15]), np.diag([2, 1, 1]), ["a", "b", "c"])
    accuracy, times, _ = figure.axes
    assert accuracy.lines[0].get_ydata().tolist() == pytest.approx([20, 50, 90])
    assert [patch.get_height() for patch in times.patches] == [1, 2, 1]
    assert times.lines[0].get_xdata()[0] == 10


def test_views_have_a_bar_a_layer_and_ring_wrong_recordings_in_the_last_map():
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(2, 12, 2)), np.arange(12) % 3
    rows = [("input", 0.5, 0.4, 0.6), ("hidden", 0.9, 0.8, 0.95)]
    figure = plots.draw_views(rows, dict(zip(("input", "hidden"), points)), rng.normal(size=(4, 12, 2)), labels,
                              labels == 0)  # fmt: skip
    bars, first, second, _ = figure.axes
    assert len(bars.patches) == 2
    assert first.get_legend() is None
    assert len(second.collections[-1].get_offsets()) == 4


def test_attribution_of_a_step_is_a_share_of_all_with_its_sign():
    events = make_events([1, 2], [0, 1], [0, 9_000], [1, 0])
    cells = np.zeros((2, 2, 3, 3))
    cells[0, 1, 0, 1], cells[1, 0, 1, 2] = 3e-6, -1e-6
    bars = plots.draw_attribution(events, np.array([3e-6, -1e-6]), cells, 5, "decided 1").axes[2].patches
    assert [bar.get_height() for bar in bars] == pytest.approx([75, 0, 0, -25])


def test_lowest_first_is_drawn_as_insertion_from_its_end():
    shares = np.array([0, 0.25, 1])
    pair = (np.array([[1, 1], [0.5, 0.7], [0, 0]]), np.array([[1, 1], [0.9, 0.7], [0.1, 0.1]]))
    deletion, insertion = plots.draw_rankings(shares, {"by rank": pair}).axes
    assert np.allclose(deletion.lines[0].get_xydata(), [[0, 100], [25, 60], [100, 0]])
    assert np.allclose(insertion.lines[0].get_xydata(), [[100, 100], [75, 80], [0, 10]])


def test_strip_in_rows_names_the_first_frame_of_each():
    frames = np.zeros((5, 2, 4, 4))
    frames[3, 1] = 1
    ax = plots.frames_strip(frames, step_ms=12, rows=2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "36"]
    image = ax.images[0].get_array()
    assert image.shape == (9, 14, 3)
    assert np.allclose(image[5:, :4], mpl.colors.to_rgb(plots.ON))
    assert np.allclose(image[:5], 1)


def test_strip_of_many_frames_names_every_second():
    labels = plots.frames_strip(np.zeros((25, 2, 4, 4)), step_ms=12).get_xticklabels()
    assert [label.get_text() for label in labels] == [str(24 * number) for number in range(13)]
