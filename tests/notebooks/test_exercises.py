"""Every exercise can be solved: its check accepts the notebook's own solution, and refuses wrong answers by name.

Wrong answers to the exercises of notebook NN stand in `wrong_NN.py`: WRONG = {name: [(answer, words of the message)]}.
"""

import ast
import importlib
import inspect
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from contract import code_cells, details, exercise_name, places_of, solution_text, texts_after

from snn_helpers import lessons
from snn_helpers.lessons.answers import exercises

HERE = Path(__file__).resolve().parent
NOTEBOOKS = sorted((HERE.parents[1] / "notebooks").glob("*.ipynb"))
KNOWN = exercises()
WRONG = {path.stem: {} for path in NOTEBOOKS}
for path in NOTEBOOKS:
    if (HERE / f"wrong_{path.stem[:2]}.py").exists():
        WRONG[path.stem] = importlib.import_module(f"wrong_{path.stem[:2]}").WRONG


def imports_of(notebook):
    """Return what the notebook's cells import, and nothing else that they do: exercises stand on their own."""
    nodes = [node for cell in code_cells(notebook) for node in ast.walk(ast.parse(cell.source))]
    lines = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(dict.fromkeys(lines))


def exercises_of(path):
    """Return (name, code of the exercise, text of the solution, imports) of each exercise in a notebook."""
    notebook = nbformat.read(path, as_version=4)
    return [
        (exercise_name(notebook.cells[place]), notebook.cells[place].source, solution_text(notebook, place),
         imports_of(notebook))
        for place in places_of(notebook, "exercise")
    ]  # fmt: skip


EXERCISES = [pytest.param(*parts, id=f"{path.stem}-{parts[0]}") for path in NOTEBOOKS for parts in exercises_of(path)]


@pytest.mark.parametrize(("name", "exercise", "solution", "imports"), EXERCISES)
def test_solution_in_the_notebook_passes_and_runs_from_then_on(name, exercise, solution, imports, capsys):
    names = {}
    exec(f"{imports}\n{exercise}", names)
    expected = inspect.signature(KNOWN[name][0])
    exec(solution, names)
    answer = names[name]
    assert inspect.signature(answer) == expected
    capsys.readouterr()
    assert lessons.solved(name, answer) is answer
    (printed,) = capsys.readouterr().out.splitlines()
    assert printed.startswith("Right: ")


@pytest.mark.parametrize(("name", "exercise", "solution", "imports"), EXERCISES)
def test_stub_is_not_solved_yet_and_the_packages_solution_runs(name, exercise, solution, imports, capsys):
    names = {}
    exec(f"{imports}\n{exercise}", names)
    assert capsys.readouterr().out.startswith("Not solved yet: ")
    assert names[name] is KNOWN[name][0]


@pytest.mark.parametrize(("name", "exercise", "solution", "imports"), EXERCISES)
def test_stub_takes_what_the_solution_takes(name, exercise, solution, imports):
    stub = ast.parse(exercise).body[0]
    assert [argument.arg for argument in stub.args.args] == list(inspect.signature(KNOWN[name][0]).parameters)


WRONG_ANSWERS = [
    pytest.param(name, answer, message, id=f"{stem}-{name}-{number}")
    for stem, exercises_wrong in WRONG.items()
    for name, answers in exercises_wrong.items()
    for number, (answer, message) in enumerate(answers)
]


@pytest.mark.parametrize(("name", "answer", "message"), WRONG_ANSWERS)
def test_wrong_answer_is_refused_with_the_mistakes_name(name, answer, message, capsys):
    solution, check = KNOWN[name]
    with pytest.raises(lessons.WrongAnswer, match=message):
        check(answer)
    assert lessons.solved(name, answer) is solution
    assert capsys.readouterr().out.startswith("Not right yet: ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_have_two_wrong_answers_that_fail_differently(path):
    names = [parts[0] for parts in exercises_of(path)]
    assert set(WRONG[path.stem]) == set(names)
    for name in names:
        assert len({message for _, message in WRONG[path.stem][name]}) >= 2, name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_of_the_notebook_are_those_of_its_module(path):
    module = f"snn_helpers.lessons.checks_{path.stem[:2]}"
    registered = [name for name, (solution, _) in KNOWN.items() if solution.__module__ == module]
    assert sorted(registered) == sorted(parts[0] for parts in exercises_of(path))


class Shown(HTMLParser):
    """Sort the text of a page into what is shown and what stands in closed <details>."""

    def __init__(self):
        super().__init__()
        self.depth, self.shown, self.hidden, self.opened = 0, [], [], 0

    def handle_starttag(self, tag, attributes):
        """Count the <details> that we are in."""
        if tag == "details":
            self.depth += 1
            self.opened += "open" in dict(attributes)

    def handle_endtag(self, tag):
        """Leave a <details>."""
        self.depth -= tag == "details"

    def handle_data(self, data):
        """Keep a piece of text."""
        (self.hidden if self.depth else self.shown).append(data)


def squeezed(text):
    """Return a text without blanks, which an export may change."""
    return "".join("".join(text).split())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # those of nbconvert are not ours
def test_export_to_html_keeps_solutions_and_reveals_closed(path):
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)
    page = Shown()
    page.feed(HTMLExporter().from_notebook_node(notebook)[0])
    shown, hidden = squeezed(page.shown), squeezed(page.hidden)
    assert (page.depth, page.opened) == (0, 0)
    for place in places_of(notebook, "exercise"):
        body = squeezed(solution_text(notebook, place).split('"""')[-1])  # the docstring is the stub's as well
        assert body in hidden
        assert body not in shown
        assert all(squeezed(summary) in hidden for summary, _ in details(texts_after(notebook, place)))
    count = sum(cell.source.count("<details") for cell in notebook.cells if cell.cell_type == "markdown")
    assert count >= 2 * len(places_of(notebook, "exercise")) + 2  # the experiment's, and the planted fault's
    assert count == sum(len(details(cell.source)) for cell in notebook.cells if cell.cell_type == "markdown")
