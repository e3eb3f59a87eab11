"""Notebooks one after the other: run them headlessly, and say what each found."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from snn_helpers._files import writable_folder
from snn_helpers._paths import results_home, user_path
from snn_helpers.batch.parameters import Rules, check_values, read_parameters
from snn_helpers.batch.runner import Job, Limits, Outcome, execute


def run_series(
    notebooks: Sequence[Path],
    out: Path,
    parameters: Mapping[str, Any],
    rules: Rules | None = None,
    limits: Limits | None = None,
) -> int:
    """Execute notebooks one after the other with papermill and print a table of what they found.

    Each runs in a process of its own; one that fails does not stop the next. They share the folder of findings, so
    that a notebook can read what an earlier one left.

    Parameters
    ----------
    notebooks : sequence of Path
        In the order to run.
    out : Path
        Folder for the executed notebooks, whose names stay; it must not be a notebook's own folder.
    parameters : dict
        Values for the notebooks' parameters, the same for all; texts are read as the parameter's type.
    rules : Rules or None
        What is known of the parameters.
    limits : Limits or None
        Of each notebook.

    Returns
    -------
    int
        0 if all notebooks ran, else 1.

    Raises
    ------
    ValueError, TypeError
        If a notebook is missing or does not know a parameter, or a value is not good for it; nothing is run then.
    """
    notebooks, out = [user_path(path) for path in notebooks], user_path(out)
    values = [_checked(notebook, notebooks, out, parameters, rules) for notebook in notebooks]
    writable_folder("--out", out)
    writable_folder("SNN_RESULTS_DIR", results_home())
    rows = []
    for number, (notebook, given) in enumerate(zip(notebooks, values), 1):
        print(f"[{number}/{len(notebooks)}] {notebook.name} ...", end=" ", flush=True)
        started = time.time()
        with TemporaryDirectory() as folder:
            outcome = execute(Job(notebook, out / notebook.name, Path(folder), given, limits or Limits()))
        print(f"{_word(outcome)} in {outcome.seconds:.0f} s", flush=True)
        rows.append((notebook.stem, outcome, _findings_since(notebook.stem, started)))
    print(_table(rows))
    return int(any(outcome.status != "done" for _, outcome, _ in rows))


def _checked(notebook: Path, notebooks, out: Path, parameters, rules) -> dict[str, Any]:
    values = check_values(notebook, read_parameters(notebook), parameters, rules)
    if out.resolve() == notebook.parent.resolve():
        raise ValueError(f"`--out`: {out} holds the notebooks themselves; choose another folder.")
    if sum(other.name == notebook.name for other in notebooks) > 1:
        raise ValueError(f"{notebook.name} is given twice: in {out} one would overwrite the other.")
    return values


def _word(outcome: Outcome) -> str:
    return "done" if outcome.status == "done" else outcome.status.upper()


def _findings_since(stem: str, started: float) -> dict[str, Any]:
    path = results_home() / f"{stem}.json"
    # A second of slack: file systems keep coarser times than the clock.
    if not path.is_file() or path.stat().st_mtime < started - 1:
        return {}
    return json.loads(path.read_text(encoding="utf-8"))["findings"]


def _table(rows: Sequence[tuple[str, Outcome, Mapping[str, Any]]]) -> str:
    lines = ["", f"{'notebook':<20} {'seconds':>7}  found", "-" * 100]
    for stem, outcome, findings in rows:
        entries = [f"{name}: {text}" for name, text in findings.items()] or ["(wrote no findings)"]
        if outcome.status != "done":
            entries = [f"{_word(outcome)}: {outcome.error}"] + ([f"in cell {outcome.cell}"] if outcome.cell else [])
        for position, entry in enumerate(entries):
            head = f"{stem:<20} {outcome.seconds:>7.0f}" if position == 0 else " " * 28
            lines.append(f"{head}  {entry}")
    total = sum(outcome.seconds for _, outcome, _ in rows)
    lines += ["-" * 100, f"{'in all':<20} {total:>7.0f}"]
    return "\n".join(lines)
