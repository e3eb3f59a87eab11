"""Widgets in a page without a kernel: what stands in the page; what they do there is tested in `tests/browser`."""

import base64
import json
import re

import numpy as np
import pytest

from snn_helpers.widgets import ActivityExplorer, EmbeddingExplorer, EventPlayer, TrainingMonitor, base, page

BLOCK = re.compile(
    r'<div class="snn-page" data-snn-widget="(?P<script>[\w.]+)"><script type="application/json">(?P<data>.*?)</script>'
    r'<img src="data:image/png;base64,[\w+/=]+" alt="(?P<alt>[^"]*)"></div>\n'
    r'<script type="module" data-snn-module="[\w.]+">\n(?P<module>.*?)\n</script>',
    re.DOTALL,
)


@pytest.fixture(autouse=True)
def in_page(monkeypatch):
    monkeypatch.setenv("SNN_WIDGETS", "page")


@pytest.fixture
def shown(monkeypatch):
    """Return the list of what is displayed."""
    things = []
    monkeypatch.setattr("IPython.display.display", lambda *given, **_: things.extend(given))
    return things


def parts(bundle):
    return BLOCK.fullmatch(bundle["text/html"])


def data(bundle):
    return json.loads(parts(bundle)["data"])


def test_widget_is_shown_as_html_with_its_figure_and_its_bytes(make_recording, shown):
    events = make_recording(np.random.default_rng(0), label=4, count=300)
    player = EventPlayer(events, state={"time_ms": 30.0})
    player.show("Caption.", 'A "player".')
    bundle, caption = shown
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert caption.data == "*Caption.*"
    assert parts(bundle)["alt"] == "A &quot;player&quot;."
    traits = data(bundle)["traits"]
    assert traits["state"] == player.state
    sent = np.frombuffer(base64.b64decode(traits["buffers"]["t"]["base64"]), np.uint32)
    assert np.array_equal(sent, events["t"])
    assert player._front is None  # no anywidget, which needs a kernel


def test_module_holds_all_that_it_imports_and_starts_itself():
    module = parts(TrainingMonitor()._bundle())["module"]
    assert not re.search(r"^import\b", module, re.MULTILINE)
    assert module.count("export function startWidgets") == module.count("export function makeRoot") == 1
    assert module.endswith('\nstartWidgets("training_monitor.js", render);')


def test_nothing_in_a_name_or_a_module_ends_the_script():
    name = "</script><!--<b>"
    points = EmbeddingExplorer(np.eye(2), [0, 1], classes=["a", name])
    bundle = points._bundle(alt=name)
    assert parts(bundle)
    assert data(bundle)["traits"]["facts"]["classes"] == ["a", name]
    assert parts(bundle)["alt"] == "&lt;/script&gt;&lt;!--&lt;b&gt;"
    block = page.page_block("a.js", "x = '</SCRIPT>';", {}, asks={}, answers={}, png=b"", alt="")
    assert "x = '<\\/SCRIPT>';" in block


def test_live_curves_are_shown_once_they_are_complete(shown):
    with TrainingMonitor(epochs=1).live("Caption.", "Curves.") as monitor:
        monitor.update({"epoch": 0, "train_loss": float("nan")})
        assert shown == []
    traits = data(shown[0])["traits"]
    assert traits["status"] == {"panels": [], "last": "epoch 1 of 1", "ended": "Training has ended."}
    assert list(data(shown[0])["asks"]) == ["stop"]


def test_page_holds_the_other_recordings_as_far_as_they_fit(monkeypatch):
    rng = np.random.default_rng(0)
    spk = {"output": (rng.random((3, 5, 10)) < 0.5).astype(np.uint8)}
    explorer = ActivityExplorer(np.zeros((3, 5, 2, 4, 4), np.uint8), spk, state={"sample": 3})
    answers = data(explorer._bundle())["answers"]["sample"]
    assert sorted(answers) == list("0124")  # and 3, which is shown
    size = sum(map(len, explorer._buffers.values()))
    monkeypatch.setattr(page, "MAX_ANSWER_BYTES", 2 * size)
    assert sorted(data(explorer._bundle())["answers"]["sample"]) == list("24")
    frames = answers["0"]["buffers"]["frames"]["base64"]
    assert base64.b64decode(frames) == explorer._pack(0)["frames"]


def test_other_recordings_come_without_the_membranes_of_large_layers():
    rng = np.random.default_rng(0)
    shapes = {"conv": (2, 50, 60), "output": (10,)}
    spk = {layer: (rng.random((3, 2, *shape)) < 0.5).astype(np.uint8) for layer, shape in shapes.items()}
    mem = {layer: rng.normal(size=(3, 2, *shape)) for layer, shape in shapes.items()}
    explorer = ActivityExplorer(np.zeros((3, 2, 2, 4, 4), np.uint8), spk, mem)
    answers = data(explorer._bundle())["answers"]["sample"]
    membranes = {sample: [name for name in traits["buffers"] if "mem" in name] for sample, traits in answers.items()}
    assert membranes == {"1": ["mem0_1"]}


def test_page_holds_recordings_of_points(make_recording):
    rng = np.random.default_rng(0)
    recordings = [make_recording(rng, label=4, count=50) for _ in range(3)]
    points = EmbeddingExplorer(np.eye(3)[:, :2], [0, 1, 2], events=recordings)
    answers = data(points._bundle())["answers"]["opened"]
    assert sorted(answers) == ["-1", "0", "1", "2"]
    assert list(answers["2"]) == ["buffers", "opened"]
    assert answers["2"]["opened"]["index"] == 2


@pytest.mark.parametrize("widget", [ActivityExplorer(None, {}), EmbeddingExplorer(np.zeros((0, 2))), EventPlayer(None)])
def test_nothing_to_show_is_a_sentence(widget):
    assert data(widget._bundle())["traits"]["facts"]["sentence"]


def test_what_json_cannot_say_is_refused():
    with pytest.raises(TypeError, match="plain values and bytes; got ndarray"):
        page.page_block("a.js", "", {"x": np.zeros(1)}, asks={}, answers={}, png=b"", alt="")
    with pytest.raises(ValueError, match="not JSON compliant"):
        page.page_block("a.js", "", {"x": float("nan")}, asks={}, answers={}, png=b"", alt="")


def test_page_has_no_front_end():
    assert not base.has_front_end()
    assert base.widget_setting() == "page"
