import json

import matplotlib as mpl
import pytest

from snn_helpers import lessons


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_RESULTS_DIR", str(tmp_path / "results"))
    return tmp_path / "results"


def test_results_are_read_back(results):
    lessons.write_results("01_events", "Why?", {"found": "that"}, {"share": 0.5})
    kept = lessons.read_results("01_events")
    assert (kept["question"], kept["findings"], kept["facts"]) == ("Why?", {"found": "that"}, {"share": 0.5})
    assert set(kept["versions"]) >= {"torch", "snntorch", "snn_helpers"}
    assert [path.name for path in results.iterdir()] == ["01_events.json"]


def test_results_of_a_notebook_not_run_are_none(results):
    assert lessons.read_results("05_training") is None


def test_failed_write_keeps_the_old_results(results):
    lessons.write_results("01_events", "Why?", {"found": "that"}, {})
    with pytest.raises(TypeError):
        lessons.write_results("01_events", "Why?", {"found": "else"}, {"not plain": object()})
    assert json.loads((results / "01_events.json").read_text())["findings"] == {"found": "that"}
    assert len(list(results.iterdir())) == 1


def test_budget_of_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'smoke'"):
        lessons.budget("smok")


def test_budgets_grow_from_smoke_to_full():
    smoke, teach, full = (lessons.budget(name) for name in ("smoke", "teach", "full"))
    assert smoke.recordings < teach.recordings < full.recordings
    assert smoke.quick.keys() == teach.quick.keys() == full.quick.keys()


def test_show_displays_image_with_alt_text_and_caption_and_closes_the_figure(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *things: shown.extend(things))
    mpl.use("Agg")
    figure = mpl.pyplot.figure()
    lessons.show(figure, "Look here.", "An empty figure.", "by hand")
    image, caption = shown
    assert image.data.startswith(b"\x89PNG")
    assert image.alt == "An empty figure."
    assert caption.data == "*Look here.*"
    assert not mpl.pyplot.fignum_exists(figure.number)
