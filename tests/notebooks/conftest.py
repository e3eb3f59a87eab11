"""Count what readers are asked to do, and say so at the end of the run."""

from pathlib import Path

import nbformat
from contract import tagged

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def pytest_terminal_summary(terminalreporter):
    counts = {}
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        counts[path.stem] = [len(tagged(notebook, tag)) for tag in ("predict", "exercise", "open-ended")]
    terminalreporter.section("what readers are asked to do")
    counts["together"] = [sum(column) for column in zip(*counts.values())]
    for name, (predictions, exercises, experiments) in counts.items():
        row = f"{name:<24}{predictions:>3} predictions{exercises:>4} exercises{experiments:>4} open-ended"
        terminalreporter.write_line(row)
