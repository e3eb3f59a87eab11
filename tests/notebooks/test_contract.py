"""Every stored notebook keeps the contract, and each rule of it catches a planted fault."""

import copy
from pathlib import Path

import nbformat
import pytest
from contract import RULES, card, checked_facts, code_cells, figures, parameters, portable, readable_cells, stored_form

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
    config = TrainConfig().as_dict()
    differing = {name: value for name, value in values.items() if name in config and config[name] != value}
    assert differing == {}
    if path.stem == "05_training":
        assert set(config) <= set(values), "every setting of a run is a parameter"


def spoil_card(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("**You need**", "")


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


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        (card, spoil_card),
        (parameters, spoil_parameters),
        (stored_form, spoil_order),
        (stored_form, spoil_kernel),
        (portable, spoil_path),
        (portable, spoil_magic),
        (readable_cells, spoil_length),
        (readable_cells, spoil_words),
        (figures, spoil_alt),
        (checked_facts, spoil_assert),
        (checked_facts, spoil_checked),
    ],
)
def test_rule_catches_a_planted_fault(rule, spoil):
    notebook = read(NOTEBOOKS[0])
    spoil(notebook)
    assert rule(notebook) != []
