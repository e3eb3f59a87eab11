"""Count what readers are asked to do, and say so at the end of the run."""

from pathlib import Path

import nbformat
from contract import tagged

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def pytest_terminal_summary(terminalreporter):
    counts = {}
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        counts[path.stem] = [len(tagged(notebook, tag)) for tag in ("predict", "exercise")]
    terminalreporter.section("what readers are asked to do")
    for name, (predictions, exercises) in counts.items():
        terminalreporter.write_line(f"{name:<20}{predictions:>3} predictions{exercises:>4} exercises")
    predictions, exercises = (sum(column) for column in zip(*counts.values()))
    terminalreporter.write_line(f"{'together':<20}{predictions:>3} predictions{exercises:>4} exercises")
