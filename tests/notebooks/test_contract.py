"""Every stored notebook keeps the contract, and each rule of it catches a planted fault."""

import copy
import re
from pathlib import Path

import nbformat
import pytest
from contract import (
    RULES,
    card,
    checked_facts,
    code_cells,
    exercises,
    figures,
    numbers_from_the_run,
    parameters,
    portable,
    predictions,
    readable_cells,
    refuses_early,
    stored_form,
    tagged,
    widgets,
)

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
    if path.stem == "05_training":
        assert set(config) <= set(values), "every setting of a run is a parameter"


def test_first_notebook_maps_all_others_with_their_questions():
    text = "\n".join(cell.source for cell in read(NOTEBOOKS[0]).cells)
    for path in NOTEBOOKS[1:]:
        question = re.search(r"\*\*Question\*\* (.*)", read(path).cells[0].source)[1]
        assert f"| [{path.stem}]({path.name}) | {question} |" in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_last_cell_writes_the_findings_under_the_notebooks_name(path):
    last = read(path).cells[-1]
    assert "assert " in last.source
    assert re.search(rf"write_results\(\s*\"{path.stem}\"", last.source)


def spoil_card(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("**You need**", "")


def spoil_question(notebook):
    notebook.cells[0].source += "\n\nAnd why?"


def spoil_needs(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("no other notebook", "patience")


def spoil_network(notebook):
    code_cells(notebook)[1].source += "\nimport urllib.request"


def spoil_parameters(notebook):
    next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])).source += "\nlr: float = 1.0"


def spoil_order(notebook):
    code_cells(notebook)[1].execution_count = 9


def spoil_kernel(notebook):
    notebook.metadata.kernelspec.name = "my-venv"


def spoil_path(notebook):
    code_cells(notebook)[1].source += "\nprint('/home/me/data')"


def spoil_magic(notebook):
    code_cells(notebook)[1].source += "\n!pip install torch"


def spoil_length(notebook):
    code_cells(notebook)[1].source += "\npass" * 20


def spoil_words(notebook):
    notebook.cells.insert(5, copy.deepcopy(code_cells(notebook)[1]))


def spoil_alt(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            output["metadata"] = nbformat.from_dict({})


def spoil_assert(notebook):
    code_cells(notebook)[-1].source = code_cells(notebook)[-1].source.replace("assert ", "print ")


def spoil_checked(notebook):
    for cell in notebook.cells:
        cell.metadata["tags"] = [tag for tag in cell.metadata.get("tags", []) if tag != "nbval-check-output"]


def spoil_refusal(notebook):
    place = notebook.cells.index(tagged(notebook, "parameters")[0])
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("import numpy as np"))


def spoil_number_of_predictions(notebook):
    for cell in tagged(notebook, "predict")[1:]:
        cell.metadata["tags"] = []


def spoil_default_guess(notebook):
    cell = tagged(notebook, "predict")[0]
    cell.source = cell.source.replace("None", "12")


def spoil_guess_without_words(notebook):
    cell = tagged(notebook, "predict")[0]
    cell.source = cell.source.split("  #")[0]


def spoil_order_of_guess_and_truth(notebook):
    cell = tagged(notebook, "predict")[-1]
    notebook.cells.remove(cell)
    notebook.cells.append(cell)


def spoil_reveal(notebook):
    for cell in code_cells(notebook):
        cell.source = cell.source.replace("lessons.reveal(", "print(")


def spoil_reveal_of_another(notebook):
    notebook.cells.append(nbformat.v4.new_code_cell("lessons.reveal('that', my_other, 3)"))


def spoil_number_of_exercises(notebook):
    for cell in [*tagged(notebook, "exercise")[1:], *tagged(notebook, "solution")[1:]]:
        cell.metadata["tags"] = []


def spoil_stub(notebook):
    cell = tagged(notebook, "exercise")[0]
    cell.source = cell.source.replace("    ...", "    return 1")


def spoil_check(notebook):
    cell = tagged(notebook, "exercise")[0]
    cell.source = cell.source[: cell.source.index("lessons.check_")] + "pass"


def spoil_hint(notebook):
    for cell in notebook.cells:
        cell.source = cell.source.replace("<details>", "").replace("</details>", "")


def spoil_solution(notebook):
    notebook.cells.remove(tagged(notebook, "solution")[0])


def spoil_solution_unchecked(notebook):
    cell = tagged(notebook, "solution")[0]
    cell.source = cell.source[: cell.source.index("lessons.check_")]


def spoil_collapse(notebook):
    del tagged(notebook, "solution")[0].metadata["jupyter"]


def widget_cell(notebook):
    return next(cell for cell in code_cells(notebook) if "from snn_helpers.widgets import" in cell.source)


def spoil_widget(notebook):
    notebook.cells.remove(widget_cell(notebook))


def spoil_still_figure(notebook):
    widget_cell(notebook).outputs = []


def spoil_widget_state(notebook):
    cell = widget_cell(notebook)
    cell.source = re.sub(r"state=\w+", "state=None", cell.source)


def say(words):
    """Return a spoiler that adds a text."""

    def spoil(notebook):
        notebook.cells.insert(5, nbformat.v4.new_markdown_cell(words))

    spoil.__name__ = words[:30]
    return spoil


def spoil_caption(notebook):
    notebook.cells.append(nbformat.v4.new_code_cell("lessons.show(figure, 'It is right in 93.1 %.', 'Bars.')"))


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        (card, spoil_card),
        (card, spoil_question),
        (card, spoil_needs),
        (parameters, spoil_parameters),
        (refuses_early, spoil_refusal),
        (stored_form, spoil_order),
        (stored_form, spoil_kernel),
        (portable, spoil_path),
        (portable, spoil_magic),
        (portable, spoil_network),
        (readable_cells, spoil_length),
        (readable_cells, spoil_words),
        (figures, spoil_alt),
        (widgets, spoil_widget),
        (widgets, spoil_still_figure),
        (widgets, spoil_widget_state),
        (predictions, spoil_number_of_predictions),
        (predictions, spoil_default_guess),
        (predictions, spoil_guess_without_words),
        (predictions, spoil_order_of_guess_and_truth),
        (predictions, spoil_reveal),
        (predictions, spoil_reveal_of_another),
        (exercises, spoil_number_of_exercises),
        (exercises, spoil_stub),
        (exercises, spoil_check),
        (exercises, spoil_hint),
        (exercises, spoil_solution),
        (exercises, spoil_solution_unchecked),
        (exercises, spoil_collapse),
        (numbers_from_the_run, say("It is right in 93.1 % of recordings.")),
        (numbers_from_the_run, say("The engine is 4.2 times faster than the loop.")),
        (numbers_from_the_run, say("The engine is four times as fast.")),
        (numbers_from_the_run, say("An accuracy of 0.93 on the test split.")),
        (numbers_from_the_run, say("It fires about 1,200 times.")),
        (numbers_from_the_run, say("Training took 74 s.")),
        (numbers_from_the_run, spoil_caption),
        (checked_facts, spoil_assert),
        (checked_facts, spoil_checked),
    ],
    ids=lambda part: part.__name__,
)
def test_rule_catches_a_planted_fault(rule, spoil):
    notebook = read(NOTEBOOKS[0])
    assert rule(notebook) == []
    spoil(notebook)
    assert rule(notebook) != []


@pytest.mark.parametrize(
    "words",
    [
        "Frames of 34 × 34 pixels, 300 ms long, T = 25.",
        "The Wilson interval is a 95 % interval.",
        "With `0.93 %` in code, and $u = 93 \\%$ in a formula.",
        "A record has 5 bytes, 23 bits of them for the time in µs.",
    ],
)
def test_constants_may_be_typed(words):
    notebook = read(NOTEBOOKS[0])
    say(words)(notebook)
    assert numbers_from_the_run(notebook) == []
