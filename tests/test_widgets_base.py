"""What all widgets share: figures in their stead, states given back, scripts in one piece; and the player's counts."""

import builtins
import re
import shutil
import subprocess

import numpy as np
import pytest

from snn_helpers.events.recording import make_events
from snn_helpers.widgets import EventPlayer, NeuronLab, base
from snn_helpers.widgets.event_player import MAX_DOTS, MAX_SENT, events_lost, field_at, pack_recording
from snn_helpers.widgets.state import Choice, Flag, Number, check_state

SCRIPTS = ["event_player.js", "neuron_lab.js", "activity_explorer.js", "embedding_explorer.js", "training_monitor.js",
           "sweep_table.js"]  # fmt: skip


@pytest.fixture
def events(make_recording):
    return make_recording(np.random.default_rng(0), label=4, count=3000)


@pytest.fixture
def without_anywidget(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.split(".")[0] in ("anywidget", "ipywidgets"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_travels_in_one_piece(name, tmp_path):
    text = base.load_script(name)
    assert not re.search(r"^import\b", text, re.MULTILINE)
    assert text.count("export default") == 1
    if not shutil.which("node"):
        pytest.skip("node is missing: the text was not parsed")
    (tmp_path / "whole.mjs").write_text(text, encoding="utf-8")
    done = subprocess.run(["node", "--check", tmp_path / "whole.mjs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("without_anywidget")
def test_figure_shows_where_widgets_are_missing(events, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: shown.extend(things))
    monkeypatch.setenv("SNN_WIDGETS", "on")
    EventPlayer(events).show("Caption.", "A player.")
    image, caption = shown
    assert image.data.startswith(b"\x89PNG")
    assert image.alt == "A player."
    assert caption.data == "*Caption.*"


def test_widget_comes_with_its_figure_where_there_is_a_front_end(events, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: shown.extend(things))
    monkeypatch.setenv("SNN_WIDGETS", "on")
    EventPlayer(events).show("Caption.", "A player.")
    bundle = shown[0]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["image/png"].startswith(b"\x89PNG")
    monkeypatch.setenv("SNN_WIDGETS", "off")
    assert "application/vnd.jupyter.widget-view+json" not in EventPlayer(events)._repr_mimebundle_()


def test_unknown_setting_of_the_front_end_is_refused(monkeypatch):
    monkeypatch.setenv("SNN_WIDGETS", "of")
    with pytest.raises(ValueError, match="Did you mean 'off'"):
        base.has_front_end()


def test_state_given_back_draws_the_same_moment(events):
    player = EventPlayer(events, state={"time_ms": 45.0, "bin_ms": 10})
    player.front.state = {**player.front.state, "time_ms": 133.0}  # what the browser sends
    again = EventPlayer(events, state=player.state)
    assert again.state == player.state
    chosen = (events["t"] >= 130_000) & (events["t"] < 140_000)
    assert again.figure().axes[-1].get_title() == f"130 to 140 ms: {chosen.sum()} events"


def test_state_set_in_python_reaches_the_browser():
    lab = NeuronLab()
    front = lab.front
    lab.state = {"tau_ms": 40}
    assert front.state["tau_ms"] == 40
    with pytest.raises(ValueError, match="tau_ms"):
        lab.state = {"tau_ms": -1}
    assert front.state["tau_ms"] == 40


def test_state_of_wrong_kind_is_refused():
    fields = {"speed": Choice(0.1, (1.0, 0.1)), "loop": Flag(False), "step": Number(0, 0, 9, whole=True)}
    assert check_state({"step": 3}, fields) == {"speed": 0.1, "loop": False, "step": 3}
    for wrong in ({"loop": 1}, {"step": 1.5}, ["speed"]):
        with pytest.raises(TypeError, match="must be"):
            check_state(wrong, fields)
    with pytest.raises(ValueError, match=r"must be one of 1\.0, 0\.1; got 2"):
        check_state({"speed": 2}, fields)


def test_packed_recording_keeps_true_counts_when_it_is_thinned():
    rng = np.random.default_rng(1)
    count = 70_000
    events = make_events(
        *rng.integers(0, 34, (2, count)), np.sort(rng.integers(0, 300_000, count)), rng.integers(0, 2, count)
    )
    facts, buffers = pack_recording(events, (34, 34, 2), ())
    cumulative = np.frombuffer(buffers["cumulative"], np.uint32).reshape(-1, 2)
    assert len(np.frombuffer(buffers["x"], np.uint16)) == count
    assert -(-count // facts["dot_stride"]) <= MAX_DOTS
    assert facts["note"] == "70,000 events: all are in the pixels, every 4th is a dot; the counts are of all."
    assert cumulative[-1].sum() == count
    assert cumulative[70].tolist() == [((events["t"] < 70_000) & (events["p"] == p)).sum() for p in (0, 1)]
    assert sum(map(len, buffers.values())) < base.MAX_BYTES


def test_recording_of_more_than_a_million_events_says_what_is_drawn(monkeypatch):
    monkeypatch.setattr("snn_helpers.widgets.event_player.MAX_SENT", 100)
    monkeypatch.setattr("snn_helpers.widgets.event_player.MAX_DOTS", 9)
    count = 301
    events = make_events(np.full(count, 1279), np.full(count, 719), np.arange(count), np.ones(count, int))
    facts, buffers = pack_recording(events, (1280, 720, 2), ())
    assert np.frombuffer(buffers["t"], np.uint32).tolist() == [*range(0, count, 4)]
    assert set(np.frombuffer(buffers["x"], np.uint16)) == {1279}
    assert set(np.frombuffer(buffers["y"], np.uint16)) == {719}
    assert facts["note"] == "301 events: every 4th is in the pixels, every 36th is a dot; the counts are of all."
    assert np.frombuffer(buffers["cumulative"], np.uint32).tolist() == [0, 0, 0, count]
    assert MAX_SENT * 9 < 10_000_000  # bytes: what JupyterLab's server passes on as one message


def test_saccades_are_shaded_where_they_are_given_only(events):
    assert EventPlayer(events)._facts["saccades_ms"] == []
    given = EventPlayer(events, saccades_ms=[(0, 50), (900, 950)])
    assert given._facts["saccades_ms"] == [[0, 50]]
    figure = given.figure()
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["saccade 1"]


def test_events_lost_by_hand():
    events = make_events([1, 1, 1, 2], [3, 3, 3, 3], [0, 900, 1000, 1500], [1, 1, 1, 0])
    assert events_lost(events, 1) == 1
    assert events_lost(events, 2) == 2


def test_field_fades_with_the_bin_width():
    events = make_events([5], [6], [20_000], [1])
    field, _ = field_at(events, {"time_ms": 30.0, "bin_ms": 10, "mode": "decay"}, (34, 34))
    assert np.argwhere(field).tolist() == [[1, 6, 5]]
    assert field.max() == pytest.approx(np.exp(-1))


def test_one_event_is_a_recording():
    player = EventPlayer(make_events([5], [6], [0], [1]))
    assert player.lost[10] == 0
    assert len(player.figure().axes) == 3


@pytest.mark.parametrize("recording", [None, make_events([], [], [], [])])
def test_nothing_to_play_is_a_sentence(recording):
    (ax,) = EventPlayer(recording).figure().axes
    assert ax.texts[0].get_text().endswith("to play.")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([34], [0], [0], [1]), r"`events\['x'\]` must be in 0\.\.33; got 34"),
        (([0], [0], [0], [2]), r"`events\['p'\]` must be in 0\.\.1; got 2"),
        (([0, 0], [0, 0], [9, 3], [1, 1]), "never run backwards"),
        (([0], [0], [61_000_000], [1]), "must last"),
    ],
)
def test_recording_that_cannot_be_played_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        EventPlayer(make_events(*columns))


def test_recording_without_the_fields_is_refused():
    with pytest.raises(ValueError, match="y, t, p missing"):
        EventPlayer(np.zeros(3, dtype=[("x", int)]))
