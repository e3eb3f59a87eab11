"""What a notebook found, kept for the next ones and for the table at the end of the series."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn_helpers._files import writable_folder, write_json
from snn_helpers._paths import results_home, runs_home
from snn_helpers._versions import release


def machine() -> str:
    """Say in a few words what this machine is, for beside a measured time."""
    import torch

    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"


def check_results_home() -> None:
    """Refuse, at a notebook's beginning, a folder that could not keep what it finds at its end."""
    writable_folder("SNN_RESULTS_DIR", results_home())


def new_folder(name: str) -> Path:
    """Make a folder for what a notebook runs, named after it, the time and the process; SNN_RUNS_DIR says where."""
    folder = runs_home() / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    return writable_folder("SNN_RUNS_DIR", folder)


def write_results(notebook: str, question: str, findings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Keep what a notebook found, for the next ones and for the table at the end of the series.

    Parameters
    ----------
    notebook : str
        Its name without the suffix, for example "01_events".
    question : str
        The one question it answers.
    findings : dict
        A few answers in words and numbers, shown in the table: name to text.
    facts : dict of plain JSON values
        Numbers and paths that other notebooks read.
    """
    versions = {name: release(name) for name in ("snn_helpers", "torch", "snntorch", "numpy")}
    row = {"notebook": notebook, "question": question, "findings": dict(findings), "facts": dict(facts)}
    row |= {"profile_variable": os.environ.get("SNN_PROFILE"), "versions": versions, "machine": machine()}
    folder = writable_folder("SNN_RESULTS_DIR", results_home())
    write_json(folder / f"{notebook}.json", row)


def read_results(notebook: str) -> dict[str, Any] | None:
    """Return what `write_results` kept of a notebook, or None if it has not been run here."""
    path = results_home() / f"{notebook}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
