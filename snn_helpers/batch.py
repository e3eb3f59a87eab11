"""Notebooks as jobs: execute them headlessly in order and say what each found."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snn_helpers._checks import check_choice
from snn_helpers._paths import results_home


def run_series(notebooks: Sequence[Path], out: Path, parameters: Mapping[str, Any]) -> int:
    """Execute notebooks one after the other with papermill and print a table of what they found.

    Each runs in a process of its own; one that fails does not stop the next.

    Parameters
    ----------
    notebooks : sequence of Path
        In the order to run.
    out : Path
        Folder for the executed notebooks, whose names stay; it must not be the notebooks' own folder.
    parameters : dict
        Values for the notebooks' parameters, the same for all.

    Returns
    -------
    int
        0 if all notebooks ran, else 1.

    Raises
    ------
    ValueError
        If a notebook is missing or does not know a parameter; nothing is run then.
    """
    notebooks, out = [Path(path) for path in notebooks], Path(out)
    for notebook in notebooks:
        _check_notebook(notebook, out, parameters)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, notebook in enumerate(notebooks, 1):
        print(f"[{number}/{len(notebooks)}] {notebook.name} ...", end=" ", flush=True)
        started = time.time()
        error = _execute(notebook, out / notebook.name, parameters)
        seconds = time.time() - started
        print(f"{'FAILED' if error else 'done'} in {seconds:.0f} s", flush=True)
        rows.append((notebook.stem, seconds, error, _findings_since(notebook.stem, started)))
    print(_table(rows))
    return int(any(error for _, _, error, _ in rows))


def _check_notebook(notebook: Path, out: Path, parameters: Mapping[str, Any]) -> None:
    from papermill import inspect_notebook

    if not notebook.is_file():
        raise ValueError(f"{notebook}: there is no such notebook.")
    if out.resolve() == notebook.parent.resolve():
        raise ValueError(f"`--out`: {out} holds the notebooks themselves; choose another folder.")
    known = list(inspect_notebook(str(notebook)))
    for name in parameters:
        check_choice(f"-p of {notebook.name}", name, known)


def _execute(notebook: Path, target: Path, parameters: Mapping[str, Any]) -> str | None:
    """Run one notebook; return None, or what went wrong."""
    command = [sys.executable, "-m", "papermill", str(notebook), str(target), "--kernel", "python3"]
    command += ["--no-progress-bar", "--log-level", "WARNING"]
    for name, value in parameters.items():
        command += ["-p", name, str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return lines[-1] if lines else f"papermill ended with code {done.returncode}"


def _findings_since(stem: str, started: float) -> dict[str, Any]:
    path = results_home() / f"{stem}.json"
    # A second of slack: file systems keep coarser times than the clock.
    if not path.is_file() or path.stat().st_mtime < started - 1:
        return {}
    return json.loads(path.read_text(encoding="utf-8"))["findings"]


def _table(rows: Sequence[tuple[str, float, str | None, Mapping[str, Any]]]) -> str:
    lines = ["", f"{'notebook':<20} {'seconds':>7}  found", "-" * 100]
    for stem, seconds, error, findings in rows:
        entries = [f"FAILED: {error}"] if error else [f"{name}: {text}" for name, text in findings.items()]
        for position, entry in enumerate(entries or ["(wrote no findings)"]):
            head = f"{stem:<20} {seconds:>7.0f}" if position == 0 else " " * 28
            lines.append(f"{head}  {entry}")
    total = sum(seconds for _, seconds, _, _ in rows)
    lines += ["-" * 100, f"{'in all':<20} {total:>7.0f}"]
    return "\n".join(lines)
