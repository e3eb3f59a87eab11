"""The embedding explorer and the training monitor without a browser: their figures and what they refuse."""

import numpy as np
import pytest

from snn_helpers.widgets import EmbeddingExplorer, TrainingMonitor
from snn_helpers.widgets.training_monitor import panels_of, thinned

POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def test_figure_marks_errors_and_draws_the_open_recording(make_recording):
    recording = make_recording(np.random.default_rng(0), count=50)
    explorer = EmbeddingExplorer(POINTS, [3, 4, 5], [3, 9, 5], events=[recording] * 3)
    explorer.state = {"colour": "error", "opened": 1, "chosen": [1]}
    scatter, field = explorer.figure().axes
    assert [mark.get_text() for mark in scatter.texts] == ["•", "9", "•"]
    assert [mark.get_alpha() for mark in scatter.texts] == [0.25, 1, 0.25]
    assert field.get_title() == "recording 1: 50 events"
    assert explorer.state["chosen"] == [1]


def test_points_move_from_frame_to_frame():
    explorer = EmbeddingExplorer(np.stack([POINTS, 3 * POINTS]), frame_word="epoch", frame_names=["one", "two"])
    explorer.state = {"frame": 0.5}
    ax = explorer.figure().axes[0]
    assert [mark.get_position() for mark in ax.texts] == [(0, 0), (2, 0), (0, 2)]
    explorer.state = {"frame": 1.0}
    assert explorer.figure().axes[0].get_title().endswith("epoch two")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": np.zeros((3, 3))}, r"`points` must be finite, \[N, 2\] or \[F, N, 2\]; got \(3, 3\)"),
        ({"points": POINTS * np.nan}, "`points` must be finite"),
        ({"points": POINTS, "labels": [1, 2]}, "`labels` must be one for each of 3 recordings"),
        ({"points": POINTS, "confidence": [0, 1, 2]}, r"`confidence` must be in \[0, 1\]"),
        ({"points": POINTS, "frame_names": ["a", "b"]}, "`frame_names` must be as many as frames, 1; got 2"),
        ({"points": POINTS, "labels": [1, 2, 3], "state": {"colour": "error"}}, "must be one of 'label'; got 'error'"),
    ],
)
def test_arguments_that_disagree_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingExplorer(**arguments)


def test_monitor_groups_columns_and_leaves_gaps():
    rows = [
        {"epoch": 0, "lr": 0.1, "train_loss": 2.0, "valid_loss": np.float32(1.5), "hidden_spike_fraction": 0.1},
        {"epoch": 1, "lr": 0.1, "train_loss": float("nan"), "valid_loss": 1.0, "hidden_spike_fraction": 0.2},
    ]
    monitor = TrainingMonitor(epochs=2)
    assert len(monitor.figure().axes[0].texts) == 1  # a sentence, no empty box
    for row in rows:
        monitor.update(row)
    assert monitor.rows[1]["train_loss"] is None
    losses, firing = panels_of(monitor.rows)
    train, valid = ({"name": "train", "points": [(1, 2.0)]}, {"name": "valid", "points": [(1, 1.5), (2, 1.0)]})
    assert losses == {"title": "loss", "curves": [train, valid]}
    assert firing["curves"] == [{"name": "hidden layers", "points": [(1, 0.1), (2, 0.2)]}]
    assert [ax.get_title() for ax in monitor.figure().axes] == [losses["title"], firing["title"]]
    assert monitor._curves()["last"] == "epoch 2 of 2 · valid loss 1.000"
    (by_layer,) = panels_of([{"firing/conv1": 0.1, "hidden_spike_fraction": 0.3}])
    assert by_layer["curves"] == [{"name": "conv1", "points": [(1, 0.1)]}]


def test_monitor_hears_its_button_and_sends_what_json_can_carry():
    monitor = TrainingMonitor()
    assert not monitor.stop_requested
    front = monitor.front
    monitor.update({"epoch": 0, "train_loss": np.float64(2.0), "valid_loss": float("inf")})
    points = front.status["panels"][0]["curves"][0]["points"]
    assert points == [(1, 2.0)]
    assert type(points[0][1]) is float
    front.state = {"stop": True}  # what the button sends
    assert monitor.stop_requested
    assert front.status["stopping"]
    monitor.finish("Done.")
    assert front.status["ended"] == "Done."


def test_long_histories_are_thinned_to_every_kth_and_the_last():
    assert thinned(list(range(10)), 4) == [0, 3, 6, 9]
    assert thinned(list(range(9)), 4) == [0, 3, 6, 8]
    assert thinned([], 4) == []


@pytest.mark.parametrize(("front_end", "shown_at"), [("on", "the start"), ("off", "the end")])
def test_monitor_is_live_where_there_is_a_front_end_and_a_figure_afterwards_elsewhere(monkeypatch, front_end, shown_at):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: shown.extend(things))
    monkeypatch.setenv("SNN_WIDGETS", front_end)
    with TrainingMonitor(epochs=1).live("Curves.", "Curves.") as monitor:
        assert bool(shown) == (shown_at == "the start")
        monitor.update({"epoch": 0, "train_loss": 1.0, "valid_loss": 1.0})
    assert len(shown) == 2  # once: picture and caption
    assert monitor._status["ended"] == "Training has ended."


def test_monitor_of_a_stopped_training_says_so(monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: None)
    monitor = TrainingMonitor()
    with pytest.raises(KeyboardInterrupt), monitor.live("Curves.", "Curves."):
        raise KeyboardInterrupt
    assert monitor._status["ended"] == "Training was stopped."
