"""A made-up notebook that keeps every rule of the contract: the tests plant one fault at a time in it."""

import base64
import inspect

from contract import MAX_CELLS, MIN_CELLS
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from snn_helpers.lessons.answers import exercises

CARD = """# 00 · Example

**Question** What does an example show?

**You will be able to**
- read;
- write;
- count.

**You need** no other notebook.

**Time** under one minute on 2 CPU cores (measured on a machine).

**Leaves for the next** nothing."""
TERMS = (
    "A **spike train** is the list of times at which a neuron fires. A **surrogate gradient** replaces a derivative "
    "that is zero. An **event** is one change at one pixel. The surrogate gradient is used later."
)
EXPERIMENT = "print('threshold 1:', 3 * threshold)"
LOOK_FOR = "<details><summary>What to look for</summary>\n\nThe number grows with the threshold.\n</details>"
FAULT = "<details><summary>What is wrong</summary>\n\nThe sign.\n</details>"
REFERENCES = """## References
- Lichtsteiner, Posch and Delbruck 2008, IEEE JSSC 43: the first widely used event camera, and its noise.
- Orchard et al. 2015, Frontiers in Neuroscience 9: how N-MNIST was recorded with a moving camera.
- Gallego et al. 2020, IEEE TPAMI 44: a survey of what is done with events and how."""
CLAIMS = """assert threshold > 0
lessons.write_results("00_example", "What?", {}, {})"""


def text(words):
    return new_markdown_cell(words)


def code(source, *tags, shown=(), hidden=False):
    cell = new_code_cell(source, outputs=list(shown), metadata={"tags": list(tags)} if tags else {})
    if hidden:
        cell.metadata["jupyter"] = {"source_hidden": True}
    return cell


def printed(words):
    return new_output("stream", name="stdout", text=words)


def picture():
    """Return the outputs of `lessons.show`: an image with its alt text, and a caption."""
    image = {"image/png": base64.b64encode(b"\x89PNG").decode()}
    return (
        new_output("display_data", image, metadata={"image/png": {"alt": "a line"}}),
        new_output("display_data", {"text/markdown": "*A line.*"}),
    )


def exercise_cells(name, solution):
    """Return an exercise in the form of the series: words, stub, hint and solution, and the cell that uses it."""
    source = inspect.getsource(solution).strip("\n")
    stub = f'def {name}{inspect.signature(solution)}:\n    """Do it."""\n    ...\n\n{name} = lessons.solved("{name}", {name})'
    hidden = (
        f"<details><summary>Hint</summary>\n\nThink.\n</details>\n"
        f"<details><summary>Solution</summary>\n\n```python\n{source}\n```\n\n</details>"
    )
    return [
        text(f"### Exercise: {name}"),
        code(stub, "exercise", shown=[printed("Not solved yet")]),
        text(hidden),
        text("What you wrote is used here."),
        code(f"answer = {name}"),
    ]


def prediction_cells(name):
    return [
        text("**Predict.** How many?"),
        code(f"{name} = None  # your guess", "predict"),
        text("The answer."),
        code(f'lessons.reveal("How many", {name}, 3)'),
    ]


def example_notebook():
    """Return a new notebook that keeps every rule."""
    names = list(exercises().items())[:2]
    cells = [
        text(CARD),
        text("## Settings"),
        code("threshold = 1.0  # of the neuron\nplayer_state = None  # what the widget shows", "parameters"),
        text("The next cell, which is closed, checks them."),
        code("from snn_helpers import TrainConfig, lessons\n\nconfig = TrainConfig().resolve()", hidden=True),
        text(TERMS),
        code("lessons.show(figure, 'A line.', 'a line', 'made up')", shown=picture()),
        text("A player."),
        code(
            "from snn_helpers.widgets import EventPlayer\n\nplayer = EventPlayer(events, state=player_state)\n"
            "player.show('A line.', 'a line', 'made up')",
            shown=picture(),
        ),
        *prediction_cells("my_count"),
        *prediction_cells("my_rate"),
        *prediction_cells("my_fault"),
        text(FAULT),
        *(cell for name, (solution, _) in names for cell in exercise_cells(name, solution)),
        text("### Open-ended\nWhich threshold is best?"),
        code(EXPERIMENT, "open-ended", "nbval-check-output", shown=[printed("threshold 1: 3")]),
        text(LOOK_FOR),
        text(REFERENCES),
        text("The last cell, which is closed, checks the claims."),
        code(CLAIMS, hidden=True),
    ]
    assert MIN_CELLS <= len(cells) <= MAX_CELLS
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel}, nbformat_minor=5)
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count
    return notebook
