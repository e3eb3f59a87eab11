"""Plots are tested by the data in their artists."""

import matplotlib as mpl
import numpy as np
import pytest

from snn_helpers import plots
from snn_helpers.events.recording import make_events

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    mpl.pyplot.close("all")


@pytest.fixture
def events():
    return make_events([1, 2, 3], [4, 5, 6], [1_000, 2_000, 12_000], [0, 1, 1])


def test_polarity_image_is_white_where_nothing_happened_and_coloured_by_polarity():
    counts = np.zeros((2, 3, 3))
    counts[0, 0, 0] = counts[1, 2, 2] = 1
    image = plots.polarity_image(counts)
    assert np.allclose(image[1, 1], 1)
    assert np.allclose(image[0, 0], mpl.colors.to_rgb(plots.OFF))
    assert np.allclose(image[2, 2], mpl.colors.to_rgb(plots.ON))


def test_polarity_image_of_an_empty_frame_is_white():
    assert np.allclose(plots.polarity_image(np.zeros((2, 3, 3))), 1)


def test_event_cloud_draws_each_event_once_in_ms(events):
    ax = plots.event_cloud(events)
    drawn = np.concatenate([line.get_xydata() for line in ax.lines])
    assert sorted(map(tuple, drawn)) == [(1.0, 1.0), (2.0, 2.0), (12.0, 3.0)]


def test_event_rate_counts_events_per_ms(events):
    ax = plots.event_rate(events, bin_ms=5)
    on, off = (patch.get_data().values for patch in ax.patches)
    assert on[0] == off[0] == pytest.approx(1 / 5)
    assert on.sum() * 5 == 2


def test_frames_strip_shows_every_frame_under_its_start():
    frames = np.zeros((3, 2, 4, 4))
    frames[1, 1] = 1
    ax = plots.frames_strip(frames, step_ms=10)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "10", "20"]
    image = ax.images[0].get_array()
    assert image.shape == (4, 14, 3)
    assert np.allclose(image[:, 5:9], mpl.colors.to_rgb(plots.ON))


def test_raster_has_a_dot_a_spike():
    spikes = np.array([[0, 1], [1, 1], [0, 0]])
    assert plots.raster(spikes).collections[0].get_offsets().tolist() == [[0, 1], [1, 0], [1, 1]]


def test_membrane_traces_draws_every_neuron_and_the_threshold():
    mem = np.arange(6.0).reshape(3, 2)
    ax = plots.membrane_traces(mem, 2.5, names=["a", "b"])
    assert [line.get_ydata().tolist() for line in ax.lines[:2]] == [[0, 2, 4], [1, 3, 5]]
    assert set(ax.lines[2].get_ydata()) == {2.5}


def test_training_curves_and_bars_hold_the_values():
    history = [{"epoch": 0, "train_loss": 2.0, "valid_loss": 1.5}, {"epoch": 1, "train_loss": 1.0, "valid_loss": 0.5}]
    ax = plots.training_curves(history, "loss", scale=10)
    assert [list(line.get_ydata()) for line in ax.lines] == [[20, 10], [15, 5]]
    ax = plots.accuracy_bars([("a", 0.5, 0.4, 0.7), ("b", 0.9, 0.8, 0.95)])
    assert [bar.get_width() for bar in ax.patches] == [50, 90]
    ax = plots.layer_bars({"conv1": 3.0, "conv2": 4.0})
    assert [bar.get_width() for bar in ax.patches] == [3, 4]


def test_stacked_bars_lay_parts_end_to_end_and_write_their_sum():
    ax = plots.stacked_bars({"slow": {"a": 3.0, "b": 4.0}, "fast": {"a": 1.0, "b": 0.5}})
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 3), (0, 1), (3, 4), (1, 0.5)]
    assert [text.get_text().strip() for text in ax.texts] == ["7", "1.5"]


def test_confusion_writes_every_count():
    ax = plots.confusion(np.array([[3, 1], [0, 2]]))
    assert sorted(text.get_text() for text in ax.texts) == ["1", "2", "3"]


def test_network_names_every_layer():
    layers = [
        {"name": "in", "shape": (2, 4, 4), "parameters": 0, "spike_fraction": None},
        {"name": "out", "shape": (10,), "parameters": 1234, "spike_fraction": 0.05},
    ]
    words = " ".join(text.get_text() for text in plots.network(layers).texts)
    assert all(part in words for part in ("in", "out", "2 × 4 × 4", "1,234 weights", "5.0 % active"))


def test_rate_curves_are_per_ms():
    ax = plots.rate_curves({"real": np.array([5.0, 10.0])}, bin_ms=5)
    assert ax.lines[0].get_xydata().tolist() == [[2.5, 1.0], [7.5, 2.0]]


def test_recording_sheet_carries_title_and_provenance(events):
    figure = plots.draw_recording_sheet(events, np.zeros((2, 2, 34, 34), np.uint8), "digit 3", "made by hand")
    assert figure.get_supxlabel() == "made by hand"
    assert figure.axes[0].get_title() == "digit 3: 3 events in 11 ms"


def test_recording_sheet_of_an_empty_recording_is_drawn(events):
    plots.draw_recording_sheet(events[:0], np.zeros((2, 2, 34, 34), np.uint8), "nothing", "").canvas.draw()
