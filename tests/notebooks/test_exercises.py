"""Every exercise can be solved: its check accepts the notebook's own solution, and refuses wrong answers by name.

Wrong answers to the checks of notebook NN stand in `wrong_NN.py`: WRONG = {check: [(answer, words of the message)]}.
"""

import ast
import importlib
import inspect
from pathlib import Path

import nbformat
import pytest
from contract import code_cells, exercise_parts, tagged

from snn_helpers import lessons

HERE = Path(__file__).resolve().parent
NOTEBOOKS = sorted((HERE.parents[1] / "notebooks").glob("*.ipynb"))
WRONG = {}
for file in sorted(HERE.glob("wrong_*.py")):
    WRONG |= importlib.import_module(file.stem).WRONG


def imports_of(notebook):
    """Return what the notebook's cells import, and nothing else that they do: exercises stand on their own."""
    nodes = [node for cell in code_cells(notebook) for node in ast.walk(ast.parse(cell.source))]
    lines = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(dict.fromkeys(lines))


def exercises_of(path):
    """Return (stub, check, exercise cell, solution cell, imports) of each exercise in a notebook."""
    notebook = nbformat.read(path, as_version=4)
    cells = zip(tagged(notebook, "exercise"), tagged(notebook, "solution"))
    return [(*exercise_parts(one), one.source, other.source, imports_of(notebook)) for one, other in cells]


EXERCISES = [pytest.param(*parts, id=f"{path.stem}-{parts[0]}") for path in NOTEBOOKS for parts in exercises_of(path)]
CHECKS = {name for name in dir(lessons) if name.startswith("check_")}


@pytest.mark.parametrize(("stub", "check", "exercise", "solution", "imports"), EXERCISES)
def test_check_accepts_the_notebooks_solution(stub, check, exercise, solution, imports, capsys):
    names = {}
    exec(f"{imports}\n{solution}", names)
    exec(f"{imports}\n{exercise}", names)
    asked, solved = (list(inspect.signature(names[name]).parameters) for name in (stub, f"{stub}_solution"))
    assert solved[: len(asked)] == asked
    capsys.readouterr()
    assert getattr(lessons, check)(names[f"{stub}_solution"]) is True
    (printed,) = capsys.readouterr().out.splitlines()
    assert printed.startswith("Right: ")


@pytest.mark.parametrize(("stub", "check", "exercise", "solution", "imports"), EXERCISES)
def test_unsolved_stub_passes(stub, check, exercise, solution, imports, capsys):
    exec(f"{imports}\n{exercise}", {})
    assert capsys.readouterr().out.startswith("Not solved yet: ")


@pytest.mark.parametrize(
    ("check", "answer", "message"),
    [
        pytest.param(check, answer, message, id=f"{check}-{number}")
        for check, answers in WRONG.items()
        for number, (answer, message) in enumerate(answers)
    ],
)
def test_check_refuses_a_wrong_answer_and_names_the_mistake(check, answer, message):
    with pytest.raises(lessons.WrongAnswer, match=message):
        getattr(lessons, check)(answer)


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_check_has_two_wrong_answers_that_fail_differently(check):
    assert len({message for _, message in WRONG.get(check, [])}) >= 2


def test_every_public_check_is_used_by_one_notebook():
    used = [parameters.values[1] for parameters in EXERCISES]
    assert sorted(used) == sorted(CHECKS)
    assert set(WRONG) == CHECKS
