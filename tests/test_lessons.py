import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from snn_helpers import lessons
from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


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
    plt.switch_backend("Agg")
    figure = plt.figure()
    lessons.show(figure, "Look here.", "An empty figure.", "by hand")
    image, caption = shown
    assert image.data.startswith(b"\x89PNG")
    assert image.alt == "An empty figure."
    assert caption.data == "*Look here.*"
    assert not plt.fignum_exists(figure.number)


@pytest.mark.parametrize(
    ("guess", "truth", "said"),
    [
        (None, 21.5, "Lost: 21.5 %."),
        (15, 21.5, "Lost: 21.5 %. You said 15 %: 6.5 too low."),
        (30, 21.5, "Lost: 21.5 %. You said 30 %: 8.5 too high."),
        (21.5, 21.5, "Lost: 21.5 %. You said 21.5 %, and that is right."),
        (3, 12345.6, "Lost: 12,346 %. You said 3 %: 12,343 too low."),
        (3, np.float32(4), "Lost: 4 %. You said 3 %: 1 too low."),
        (np.int64(3), torch.tensor(4.0), "Lost: 4 %. You said 3 %: 1 too low."),
    ],
)
def test_reveal_tells_number_and_gap(guess, truth, said, capsys):
    assert lessons.reveal("Lost", guess, truth, "%") is None
    assert capsys.readouterr().out == said + "\n"


@pytest.mark.parametrize(
    ("guess", "said"),
    [
        (None, "Layer: conv2."),
        ("conv1", "Layer: conv2. You said conv1."),
        (" Conv2 ", "Layer: conv2. You said Conv2, and that is right."),
    ],
)
def test_reveal_tells_choice(guess, said, capsys):
    lessons.reveal("Layer", guess, "conv2")
    assert capsys.readouterr().out == said + "\n"


@pytest.mark.parametrize(
    ("guess", "truth"), [("a lot", 1.5), (True, 1.5), (float("nan"), 1.5), ([1], 1.5), (2, "conv2"), ([], "conv2")]
)
def test_reveal_answers_a_guess_of_the_wrong_type_with_one_message(guess, truth, capsys):
    lessons.reveal("Lost", guess, truth)
    assert "Your guess must be" in capsys.readouterr().out


@exercise
def check_sorted(order):
    """Check that `order` sorts, in a few numbers."""
    answer = as_numbers("the sorted list", ask(order, [3, 1, 2]), (3,))
    refuse_if(answer[0] == 3, "this sorts downwards.")
    refuse_if(answer.tolist() != [1, 2, 3], "1, 2, 3 is the order.")
    return "the list is in order"


def stub(numbers): ...


def test_check_passes_over_a_stub(capsys):
    assert check_sorted(stub) is False
    assert capsys.readouterr().out == "Not solved yet: replace the ... in `stub`, then run this cell again.\n"


@pytest.mark.parametrize(
    "right", [sorted, lambda numbers: np.sort(numbers), lambda numbers: torch.tensor(sorted(numbers))]
)
def test_check_accepts_right_answers_of_any_numeric_type(right, capsys):
    assert check_sorted(right) is True
    assert capsys.readouterr().out == "Right: the list is in order.\n"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda numbers: sorted(numbers, reverse=True), "downwards"),
        (lambda numbers: [1, 3, 2], "is the order"),
        (lambda numbers: sorted(numbers)[:2], r"of shape \[3\]; got of shape \[2\]"),
        (lambda numbers: "1 2 3", "must be numbers"),
        ([1, 2, 3], "the function itself"),
    ],
)
def test_check_refuses_wrong_answers_by_name(wrong, message):
    with pytest.raises(lessons.WrongAnswer, match=message) as caught:
        check_sorted(wrong)
    assert isinstance(caught.value, AssertionError)
    assert caught.value._render_traceback_() == [f"Not right yet: {caught.value}"]


def test_check_keeps_what_it_asks_with_from_being_changed():
    numbers = [3, 1, 2]
    assert ask(lambda given: given.sort() or given, numbers) == [1, 2, 3]
    assert numbers == [3, 1, 2]


def test_faults_of_the_readers_own_code_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        check_sorted(lambda numbers: 1 / 0)


def test_answer_of_several_parts_is_counted():
    assert as_parts((1, 2), ("spk", "mem")) == (1, 2)
    with pytest.raises(lessons.WrongAnswer, match="return 2 things, spk, mem; got 1"):
        as_parts(1, ("spk", "mem"))


def test_every_check_is_public():
    public = {name for name in dir(lessons) if name.startswith("check_")}
    for module in Path(lessons.__file__).parent.glob("checks_*.py"):
        found = vars(importlib.import_module(f"snn_helpers.lessons.{module.stem}"))
        assert {name for name in found if name.startswith("check_")} <= public


def test_notebooks_show_a_wrong_answer_without_a_traceback(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.run_cell("from snn_helpers.lessons import WrongAnswer\nraise WrongAnswer('look at the sign')")
    shell.clear_instance()
    shown = capsys.readouterr()
    assert "Not right yet: look at the sign" in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err


def test_network_for_a_notebook_is_named_left_or_trained(tmp_path, monkeypatch):
    from snn_helpers import TrainConfig, train

    monkeypatch.setenv("SNN_RESULTS_DIR", str(tmp_path / "results"))
    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path / "runs"))
    asked = {"profile": "smoke", "dataset": None, "data_dir": None, "seed": 1}
    short = {"num_samples": 20, "time_steps": 2, "epochs": 1, "batch_size": 10}
    path, config, words = lessons.trained_network(None, asked, short)
    assert (config.seed, config.time_steps) == (1, 2)
    assert words.startswith("a network trained here for a moment, since notebook 05 has left none that fits: cnn")
    other = train(TrainConfig(**{**asked, **short, "time_steps": 3}, save_dir=tmp_path / "left")).paths["best"]
    lessons.write_results("05_training", "", {}, {"checkpoint": str(other)})
    left, config, words = lessons.trained_network(None, asked, short)
    assert (left, config.time_steps) == (other, 3)
    assert words.startswith("the network that notebook 05 left: cnn, simulated, T = 3, 1 epochs, seed 1")
    assert lessons.trained_network(str(path), asked, short)[0] == path
    other.write_bytes(b"damaged")
    assert lessons.trained_network(None, asked, short)[1].time_steps == 2
