import inspect
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from snn_helpers import lessons, load_dataset
from snn_helpers.lessons import answers
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
    assert lessons.read_results("06_training") is None


def test_failed_write_keeps_the_old_results(results):
    lessons.write_results("01_events", "Why?", {"found": "that"}, {})
    with pytest.raises(TypeError):
        lessons.write_results("01_events", "Why?", {"found": "else"}, {"not plain": object()})
    assert json.loads((results / "01_events.json").read_text())["findings"] == {"found": "that"}
    assert len(list(results.iterdir())) == 1


def test_look_of_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'smoke'"):
        lessons.look("smok")


def test_looks_grow_from_smoke_to_full():
    smoke, teach, full = (lessons.look(name) for name in ("smoke", "teach", "full"))
    assert smoke.recordings < teach.recordings < full.recordings
    assert smoke.short.keys() == teach.short.keys() == full.short.keys()


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


def order(numbers):
    return sorted(numbers)


@pytest.fixture
def check_order(monkeypatch):
    """Register an exercise for one test, and return its check."""
    monkeypatch.setattr(answers, "_SOLUTIONS", dict(answers.exercises()))

    @exercise(order)
    def check(answer):
        numbers = as_numbers("the sorted list", ask(answer, [3, 1, 2]), (3,))
        refuse_if(numbers[0] == 3, "this sorts downwards.")
        refuse_if(numbers.tolist() != [1, 2, 3], "1, 2, 3 is the order.")
        return "the list is in order"

    return check


def stub(numbers): ...


@pytest.mark.usefixtures("check_order")
def test_solved_goes_on_with_the_packages_function_where_the_reader_has_a_stub(capsys):
    assert lessons.solved("order", stub) is order
    assert capsys.readouterr().out == (
        "Not solved yet: replace the ... in `order` and run this cell again. Until then the package's runs.\n"
    )


@pytest.mark.usefixtures("check_order")
@pytest.mark.parametrize(
    "right", [sorted, lambda numbers: np.sort(numbers), lambda numbers: torch.tensor(sorted(numbers))]
)
def test_solved_goes_on_with_right_answers_of_any_numeric_type(right, capsys):
    assert lessons.solved("order", right) is right
    assert capsys.readouterr().out == "Right: the list is in order. The notebook goes on with your `order`.\n"


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
def test_wrong_answers_are_refused_by_name_and_the_packages_function_goes_on(wrong, message, check_order, capsys):
    with pytest.raises(lessons.WrongAnswer, match=message) as caught:
        check_order(wrong)
    assert isinstance(caught.value, AssertionError)
    assert lessons.solved("order", wrong) is order
    assert capsys.readouterr().out == f"Not right yet: {caught.value} Until it is, the package's `order` runs.\n"


@pytest.mark.usefixtures("check_order")
def test_solved_shows_an_exception_of_the_readers_code_in_one_line(capsys):
    assert lessons.solved("order", lambda numbers: 1 / 0) is order
    assert capsys.readouterr().out == (
        "Not right yet: `order` raised ZeroDivisionError: division by zero. Until it is, the package's runs.\n"
    )


@pytest.mark.usefixtures("check_order")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_solved_lets_an_interruption_through(stop):
    def interrupted(numbers):
        raise stop

    with pytest.raises(stop):
        lessons.solved("order", interrupted)


def test_solved_refuses_an_unknown_exercise_and_names_the_known_ones():
    with pytest.raises(ValueError, match=r"there is no exercise 'oder'; there are .*decode"):
        lessons.solved("oder", stub)


def test_solved_finds_the_exercises_of_every_module():
    modules = {path.stem for path in Path(lessons.__file__).parent.glob("checks_*.py")}
    registered = [solution.__module__.rpartition(".")[2] for solution, _ in answers.exercises().values()]
    assert set(registered) == modules
    assert all(name == solution.__name__ for name, (solution, _) in answers.exercises().items())


@pytest.mark.usefixtures("check_order")
def test_name_of_an_exercise_of_another_module_is_refused():
    def order(numbers):
        return numbers

    order.__module__ = "elsewhere"
    with pytest.raises(ValueError, match=r"two exercises are named 'order': in .* and in elsewhere"):
        exercise(order)(lambda answer: "")


def test_check_keeps_what_it_asks_with_from_being_changed():
    numbers = [3, 1, 2]
    assert ask(lambda given: given.sort() or given, numbers) == [1, 2, 3]
    assert numbers == [3, 1, 2]


def test_answer_of_several_parts_is_counted():
    assert as_parts((1, 2), ("spk", "mem")) == (1, 2)
    with pytest.raises(lessons.WrongAnswer, match="return 2 things, spk, mem; got 1"):
        as_parts(1, ("spk", "mem"))


def test_network_for_a_notebook_is_named_left_or_trained(tmp_path, monkeypatch):
    from snn_helpers import TrainConfig, train

    monkeypatch.setenv("SNN_RESULTS_DIR", str(tmp_path / "results"))
    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path / "runs"))
    asked = {"profile": "smoke", "dataset": None, "data_dir": None, "seed": 1}
    short = {"num_samples": 20, "time_steps": 2, "epochs": 1, "batch_size": 10}
    path, config, words = lessons.trained_network(None, asked, short)
    assert (config.seed, config.time_steps) == (1, 2)
    assert words.startswith("a network trained here for a moment, since notebook 06 has left none that fits: cnn")
    other = train(TrainConfig(**{**asked, **short, "time_steps": 3}, save_dir=tmp_path / "left")).paths["best"]
    lessons.write_results("06_training", "", {}, {"checkpoint": str(other)})
    left, config, words = lessons.trained_network(None, asked, short)
    assert (left, config.time_steps) == (other, 3)
    assert words.startswith("the network that notebook 06 left: cnn, simulated, T = 3, 1 epoch, seed 1")
    assert lessons.trained_network(str(path), asked, short)[0] == path
    other.write_bytes(b"damaged")
    assert lessons.trained_network(None, asked, short)[1].time_steps == 2


def test_small_network_learns_and_is_the_same_for_the_same_seed(make_folder_at, tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_DATA_DIR", str(tmp_path / "data"))
    folder = str(make_folder_at(tmp_path / "NMNIST", {"Train": 20, "Test": 4}))
    facts = lessons.train_small("nmnist", folder, hidden=30, epochs=20)
    assert facts["valid_accuracy"] > 0.3  # chance is 0.1
    assert 0 < facts["hidden_spike_fraction"] < 1
    assert lessons.train_small("nmnist", folder, hidden=30, epochs=20) == facts
    assert lessons.train_small("nmnist", folder, hidden=30, epochs=20, seed=1) != facts
    wider = lessons.train_small("nmnist", folder, hidden=60, epochs=20)
    assert wider["synaptic_operations"] > facts["synaptic_operations"]


def test_synaptic_operations_are_the_additions_of_events_and_spikes(make_folder_at, tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_DATA_DIR", str(tmp_path / "data"))
    folder = str(make_folder_at(tmp_path / "NMNIST", {"Train": 20, "Test": 4}))
    facts = lessons.train_small("nmnist", folder, hidden=30, epochs=1)
    valid = load_dataset("nmnist", folder, "valid").pooled(17)
    cells = (valid.frames(range(len(valid)), 5) > 0).sum() / len(valid)
    spikes = facts["hidden_spike_fraction"] * 5 * 30
    assert facts["synaptic_operations"] == pytest.approx(cells * 30 + spikes * 10)


def test_small_job_has_the_parameters_of_the_training_and_the_cell_between(tmp_path):
    first, between, last = nbformat.read(lessons.write_small_job(tmp_path, "print(beta)"), as_version=4).cells
    parameters = {}
    exec(first.source, parameters)
    wanted = inspect.signature(lessons.train_small).parameters
    assert wanted.keys() == parameters.keys() - {"__builtins__"}
    assert {name: parameters[name] for name in wanted if name != "dataset"} == {
        name: parameter.default for name, parameter in wanted.items() if name != "dataset"
    }
    assert first.metadata["tags"] == ["parameters"]
    assert between.source == "print(beta)"
    assert "train_small(dataset, data_dir" in last.source


def test_folder_of_a_notebook_is_new_and_can_be_chosen(runs_home, tmp_path):
    folder = lessons.new_folder("mine")
    assert folder.is_dir()
    assert folder.parent == tmp_path / "runs"
    assert folder.name.startswith("mine-")
