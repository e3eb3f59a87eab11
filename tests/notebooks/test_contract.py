"""Every stored notebook keeps the contract, and each rule of it catches a planted fault."""

import re
from pathlib import Path

import nbformat
import pytest
from contract import (
    MAX_CELLS,
    RULES,
    UNUSED,
    card,
    checked_facts,
    code_cells,
    collapsed,
    exercises,
    figures,
    hidden_text,
    is_explained,
    numbers_from_the_run,
    open_ended,
    parameters,
    plain_code,
    plain_words,
    planted_fault,
    portable,
    predictions,
    readable_cells,
    readers_code_runs,
    references,
    refuses_early,
    size,
    stored_form,
    tagged,
    terms,
    widgets,
)
from example import example_notebook

from snn_helpers import TrainConfig

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_rule(path, rule):
    assert rule(read(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_sees_every_parameter(path):
    from papermill import inspect_notebook

    (cell,) = [cell for cell in read(path).cells if "parameters" in cell.metadata.get("tags", [])]
    assert list(inspect_notebook(str(path))) == [line.split(" = ")[0] for line in cell.source.splitlines()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_mean_what_the_flags_of_the_same_name_mean(path):
    (cell,) = [cell for cell in read(path).cells if "parameters" in cell.metadata.get("tags", [])]
    values = {}
    exec(cell.source, values)
    config = {**TrainConfig(model="resnet").as_dict(), **TrainConfig().as_dict()}
    differing = {name: value for name, value in values.items() if name in config and config[name] != value}
    assert differing == {}
    if path.stem == "06_training":
        assert set(config) <= set(values), "every setting of a run is a parameter"


def test_00_start_here_maps_all_others_with_their_questions():
    text = "\n".join(cell.source for cell in read(NOTEBOOKS[0]).cells)
    for path in NOTEBOOKS[1:]:
        question = re.search(r"\*\*Question\*\* (.*)", read(path).cells[0].source)[1]
        assert f"| [{path.stem}]({path.name}) | {question} |" in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_last_cell_writes_the_findings_under_the_notebooks_name(path):
    last = read(path).cells[-1]
    assert "assert " in last.source
    assert re.search(rf"write_results\(\s*\"{path.stem}\"", last.source)


def test_example_keeps_every_rule():
    nbformat.validate(example_notebook())
    assert {rule.__name__: rule(example_notebook()) for rule in RULES} == {rule.__name__: [] for rule in RULES}


def first(notebook, words):
    """Return the first cell that contains some words."""
    return next(cell for cell in notebook.cells if words in cell.source)


def swap(words, other, within=None):
    """Return a spoiler that replaces words in the first cell that contains them (or that contains `within`)."""

    def spoil(notebook):
        cell = first(notebook, within or words)
        assert words in cell.source
        cell.source = cell.source.replace(words, other)

    spoil.__name__ = f"{words[:30]!r} to {other[:30]!r}"
    return spoil


def add(cell, at=None):
    """Return a spoiler that adds a cell at the end, or at a place."""

    def spoil(notebook):
        notebook.cells.insert(len(notebook.cells) if at is None else at, cell)

    spoil.__name__ = f"add {cell.source[:30]!r}"
    return spoil


def code(source):
    return nbformat.v4.new_code_cell(source)


def say(words):
    return add(nbformat.v4.new_markdown_cell(words), at=7)


def untag(tag, number=0):
    """Return a spoiler that takes the tags off the last cells with a tag, and leaves some."""

    def spoil(notebook):
        for cell in tagged(notebook, tag)[number:]:
            cell.metadata["tags"] = []

    spoil.__name__ = f"fewer cells tagged {tag}"
    return spoil


def remove(words):
    """Return a spoiler that removes the first cell that contains some words."""

    def spoil(notebook):
        notebook.cells.remove(first(notebook, words))

    spoil.__name__ = f"without {words[:30]!r}"
    return spoil


def move_last(words):
    """Return a spoiler that moves the first cell that contains some words to the end."""

    def spoil(notebook):
        cell = first(notebook, words)
        notebook.cells.remove(cell)
        notebook.cells.append(cell)

    spoil.__name__ = f"{words[:30]!r} last"
    return spoil


def without_outputs(words):
    """Return a spoiler that removes the outputs of the first cell that contains some words."""

    def spoil(notebook):
        first(notebook, words).outputs = []

    spoil.__name__ = f"no outputs of {words[:30]!r}"
    return spoil


def uncollapse(words):
    """Return a spoiler that opens a collapsed cell."""

    def spoil(notebook):
        del first(notebook, words).metadata["jupyter"]

    spoil.__name__ = f"open {words[:30]!r}"
    return spoil


def spoil_execution_order(notebook):
    code_cells(notebook)[1].execution_count = 9


def spoil_kernel(notebook):
    notebook.metadata.kernelspec.name = "my-venv"


def spoil_widget_state_stored(notebook):
    notebook.metadata["widgets"] = {}


def spoil_alt(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            output["metadata"] = nbformat.from_dict({})


def spoil_number_of_cells(notebook):
    notebook.cells += [nbformat.v4.new_markdown_cell("More.") for _ in range(MAX_CELLS)]


def spoil_too_few_cells(notebook):
    del notebook.cells[10:]


def spoil_first_figure(notebook):
    for cell in notebook.cells[:8]:
        cell["outputs"] = []


def spoil_used_name(notebook):
    name = first(notebook, "answer = ")
    name.source = "answer = 1"


def spoil_question_above_the_experiment(notebook):
    place = notebook.cells.index(tagged(notebook, "open-ended")[0])
    notebook.cells[place - 1].source = "Try it."


def spoil_what_to_look_for(notebook):
    cell = first(notebook, "What to look for")
    cell.source = "The number grows."


def spoil_predictions_before_the_fault(notebook):
    cell = first(notebook, "What is wrong")
    notebook.cells.remove(cell)
    notebook.cells.insert(5, cell)


def spoil_third_reference(notebook):
    cell = first(notebook, "## References")
    cell.source = cell.source[: cell.source.index("- Gallego")]


FACTORY = "def power(n):\n    return lambda x: x**n"
HIDDEN = "<details><summary>More</summary>\n\nText.\n"


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        (card, swap("**You need**", "")),
        (card, swap("nothing.", "nothing. And why?")),
        (card, swap("no other notebook", "patience")),
        (card, swap("- read;\n", "")),
        (card, swap("measured on", "guessed for")),
        (parameters, swap("# of the neuron", "")),
        (parameters, swap("threshold = 1.0", "threshold: float = 1.0")),
        (parameters, untag("parameters")),
        (parameters, move_last("threshold = 1.0")),
        (refuses_early, add(code("import numpy as np"), at=3)),
        (stored_form, spoil_execution_order),
        (stored_form, spoil_kernel),
        (stored_form, spoil_widget_state_stored),
        (portable, add(code("print('/home/me/data')"))),
        (portable, add(code("!pip install torch"))),
        (portable, add(code("import urllib.request"))),
        (size, spoil_number_of_cells),
        (size, spoil_too_few_cells),
        (size, spoil_first_figure),
        (collapsed, uncollapse("TrainConfig")),
        (collapsed, uncollapse("write_results(")),
        (readable_cells, add(code("pass"))),
        (readable_cells, swap("answer = ", "pass\n" * 12 + "answer = ")),
        (readable_cells, swap("answer = ", f"# {'x' * 88}\nanswer = ")),
        (readable_cells, say("word " * 121)),
        (plain_code, add(code("from snn_helpers._checks import one_of"))),
        (plain_code, add(code("import snn_helpers.plots._axes"))),
        (plain_code, add(code("from snn_helpers import lessons, _checks"))),
        (plain_code, add(code("[[1 for _ in range(2)] for _ in range(2)]"))),
        (plain_code, add(code("[x + y for x in range(2) for y in range(2)]"))),
        (plain_code, add(code("{n: lambda x: n * x for n in range(2)}"))),
        (plain_code, add(code("power = lambda n: lambda x: x**n"))),
        (plain_code, add(code(FACTORY))),
        (plain_code, add(code("a, b, c, d, e, f = range(6)"))),
        (figures, spoil_alt),
        (widgets, remove("EventPlayer")),
        (widgets, without_outputs("EventPlayer")),
        (widgets, swap("state=player_state", "state=None")),
        (predictions, untag("predict", 1)),
        (predictions, swap("my_count = None", "my_count = 12")),
        (predictions, swap("  # your guess", "")),
        (predictions, move_last("my_rate = None")),
        (predictions, swap("lessons.reveal(", "print(")),
        (predictions, add(code("lessons.reveal('that', my_other, 3)"))),
        (exercises, untag("open-ended")),
        (exercises, untag("exercise")),
        (exercises, swap("    ...", "    return 1")),
        (exercises, swap("= lessons.solved(", "= str(")),
        (exercises, swap('lessons.solved("', 'lessons.solved("un')),
        (exercises, swap("<summary>Hint", "<summary>Help")),
        (exercises, swap("<summary>Solution", "<summary>Result")),
        (exercises, swap("return ", "return  ", within="```python")),
        (exercises, swap("```python\n", "```python\n# So:\n")),
        (readers_code_runs, spoil_used_name),
        (readers_code_runs, add(code("decode_solution(raw)"))),
        (open_ended, untag("open-ended")),
        (open_ended, without_outputs("threshold 1")),
        (open_ended, spoil_question_above_the_experiment),
        (open_ended, spoil_what_to_look_for),
        (planted_fault, remove("What is wrong")),
        (planted_fault, spoil_predictions_before_the_fault),
        (hidden_text, swap("<details>", "<details open>")),
        (hidden_text, swap("</details>", "")),
        (hidden_text, swap("</summary>\n\n", "</summary>\n")),
        (hidden_text, say(HIDDEN)),
        (references, remove("## References")),
        (references, spoil_third_reference),
        (references, swap("2015", "some time ago")),
        (references, swap(": how N-MNIST was recorded with a moving camera", "")),
        (references, move_last("## References")),
        (numbers_from_the_run, say("It is right in 93.1 % of recordings.")),
        (numbers_from_the_run, say("The engine is 4.2 times faster than the loop.")),
        (numbers_from_the_run, say("The engine is four times as fast.")),
        (numbers_from_the_run, say("An accuracy of 0.93 on the test split.")),
        (numbers_from_the_run, say("It fires about 1,200 times.")),
        (numbers_from_the_run, say("Training took 74 s.")),
        (numbers_from_the_run, add(code("lessons.show(figure, 'It is right in 93.1 %.', 'Bars.')"))),
        (plain_words, say("The interval that this many recordings leave open.")),
        (plain_words, add(code("lessons.show(figure, 'We shall see.', 'Bars.')"))),
        (terms, swap("**surrogate gradient**", "surrogate gradient")),
        (terms, swap("A **spike train**", "A spike train is a list. A **spike train**")),
        (terms, say("Early stopping prevents\noverfitting.")),
        (terms, swap("**event**", "event")),
        (checked_facts, swap("assert ", "print ")),
        (checked_facts, swap("write_results(", "print(")),
        (checked_facts, untag("nbval-check-output")),
    ],
    ids=lambda part: part.__name__,
)
def test_rule_catches_a_planted_fault(rule, spoil):
    notebook = example_notebook()
    assert rule(notebook) == []
    spoil(notebook)
    assert rule(notebook) != []


def test_every_rule_has_a_planted_fault():
    (mark,) = [mark for mark in test_rule_catches_a_planted_fault.pytestmark if mark.name == "parametrize"]
    assert {rule for rule, _ in mark.args[1]} == set(RULES)


@pytest.mark.parametrize(
    "words",
    [
        "Frames of 34 × 34 pixels, 300 ms long, T = 25.",
        "The Wilson interval is a 95 % interval.",
        "The 95 % **confidence interval** of an accuracy; 95 % of such intervals hold it.",
        "With `0.93 %` in code, and $u = 93 \\%$ in a formula.",
        "A record has 5 bytes, 23 bits of them for the time in µs.",
    ],
)
def test_constants_may_be_typed(words):
    notebook = example_notebook()
    say(words)(notebook)
    assert numbers_from_the_run(notebook) == []


@pytest.mark.parametrize(
    "words",
    [
        "You shall see.",
        "Who counts, sees this.",
        "The asked is a number.",
        "From what was found we go on.",
        "Put a claim about time to controls that spoil time.",
        "Each can be held against its twin.",
        "A pixel speaks only when its light changes.",
        "The interval that this many recordings leave open.",
        "What leaks grows with what is there.",
        "Who starts a sweep again wants to know which runs are there.",
    ],
)
def test_words_that_beginners_stumble_over_are_named(words):
    notebook = example_notebook()
    say(words)(notebook)
    assert plain_words(notebook) != []


@pytest.mark.parametrize(
    "words",
    [
        "Someone who knows PyTorch can start here. Which gradient is against the sign?",
        "This holds for every layer. We compare the result against chance.",
        "`what_was_found` is a name in code.",
    ],
)
def test_plain_sentences_are_let_through(words):
    notebook = example_notebook()
    say(words)(notebook)
    assert plain_words(notebook) == []


def test_every_word_that_is_not_used_has_its_replacement():
    assert all(re.compile(pattern) and better for pattern, better in UNUSED.items())


def test_code_of_a_lesson_may_be_longer():
    notebook = example_notebook()
    cell = first(notebook, "answer = ")
    cell.source = "\n".join(["pass"] * 20)
    assert readable_cells(notebook) != []
    cell.metadata["tags"] = ["lesson-code"]
    assert readable_cells(notebook) == []


@pytest.mark.parametrize(
    ("text", "explained"),
    [
        ("A **spike train** is a list. The spike train ends.", True),
        ("A **list of spike trains** is long.", True),
        ("A spike train, or **spike train**.", False),
        ("A train of **spikes**.", None),
    ],
)
def test_term_is_explained_where_it_is_bold_first(text, explained):
    assert is_explained(text, "spike trains?") is explained


def test_training_monitor_draws_a_run_and_needs_no_state():
    notebook = example_notebook()
    (cell,) = [cell for cell in code_cells(notebook) if "EventPlayer(" in cell.source]
    cell.source = (
        "from snn_helpers.widgets import TrainingMonitor\n\n"
        "with TrainingMonitor(2).live('Curves.', 'curves') as monitor:\n    train(config, monitor)"
    )
    assert widgets(notebook) == []
    cell.outputs = []
    assert widgets(notebook) != []
