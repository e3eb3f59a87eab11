"""One attempt at one run of a sweep: own folders, the notebook, its results, and the row in the ledger."""

from __future__ import annotations

import functools
import json
import math
import os
import platform
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from snn_helpers._versions import release
from snn_helpers.batch.ledger import append_row, find_row
from snn_helpers.batch.runner import COMMAND, Job, Limits, Outcome, execute

_THREAD_VARIABLES = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "NUMBA")
_PACKAGES = ("snn_helpers", "torch", "snntorch", "numpy", "numba", "papermill")
_RESULT_KEYS = ("test_accuracy", "n_test", "interval_low", "interval_high", "seconds", "synaptic_operations")
_RESULT_KEYS += ("hidden_spike_fraction",)


@dataclass(frozen=True)
class Attempt:
    """What a worker needs to know to make one attempt at a run.

    Attributes
    ----------
    folder, notebook : Path
        The sweep's folder, on a disk that all workers share, and the notebook.
    id, attempt, parameters
        The run, the number of this attempt (from 1), and what is set.
    limits : Limits
        Time and memory of the run.
    threads : int
        Threads that it may compute with.
    gpu : int or None
        The GPU that it sees, of several; None leaves that alone, -1 hides all.
    facts : dict
        Goes into the row as it is: versions of notebook and code, the data.
    command : tuple of str
        What runs the job.
    """

    folder: Path
    notebook: Path
    id: str
    attempt: int
    parameters: Mapping[str, Any]
    limits: Limits = field(default_factory=Limits)
    threads: int = 1
    gpu: int | None = None
    facts: Mapping[str, Any] | None = None
    command: tuple[str, ...] = COMMAND


def make_attempt(attempt: Attempt, stop: threading.Event | None = None, gpu: int | None = None) -> dict[str, Any]:
    """Run a notebook in folders of its own and return its row, which the ledger has by then.

    An attempt that already has a row is not made again: a scheduler that lost a worker may ask twice.
    """
    present = find_row(attempt.folder, attempt.id, attempt.attempt)
    if present is not None:
        return present
    attempt = replace(attempt, gpu=attempt.gpu if gpu is None else gpu)
    folder = _own_folder(Path(attempt.folder) / "runs" / attempt.id)
    target = folder / Path(attempt.notebook).name
    environment = _environment(attempt, folder)
    started = time.time()
    job = Job(attempt.notebook, target, folder, attempt.parameters, attempt.limits, environment, attempt.command)
    outcome = execute(job, stop)
    return append_row(attempt.folder, _row(attempt, outcome, folder, target, started))


def lost_attempt(attempt: Attempt, error: str) -> dict[str, Any]:
    """Write the row of a run whose workers were lost as often as is put up with."""
    outcome = Outcome("killed", 0.0, error)
    return append_row(attempt.folder, _row(attempt, outcome, None, None, time.time()))


def _own_folder(parent: Path) -> Path:
    """Make the first free numbered folder: an attempt whose process was lost may still be writing into the last."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + sum(1 for _ in parent.iterdir())
    while True:
        try:
            (parent / str(number)).mkdir()
            return parent / str(number)
        except FileExistsError:
            number += 1


def _environment(attempt: Attempt, folder: Path) -> dict[str, str]:
    variables = {f"{name}_NUM_THREADS": str(attempt.threads) for name in _THREAD_VARIABLES}
    variables |= {"SNN_RESULTS_DIR": str(folder / "results"), "SNN_RUNS_DIR": str(folder / "checkpoints")}
    variables["SNN_LOGS_DIR"] = str(folder / "logs")
    if attempt.gpu is not None:
        variables["CUDA_VISIBLE_DEVICES"] = visible_gpu(attempt.gpu) if attempt.gpu >= 0 else ""
    return {name: os.path.abspath(value) if name.endswith("_DIR") else value for name, value in variables.items()}


def visible_gpu(number: int) -> str:
    """Return how CUDA calls one of the GPUs that this process may use, of which there may be a list."""
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if names and number >= len(names):
        raise ValueError(f"`--gpus`: CUDA_VISIBLE_DEVICES names {len(names)} GPUs; ask for no more than these.")
    return names[number] if names else str(number)


def _row(attempt: Attempt, outcome: Outcome, folder, target, started: float) -> dict[str, Any]:
    told = {"id": attempt.id, "attempt": attempt.attempt, **asdict(outcome)}
    told["seconds"] = round(outcome.seconds, 3)
    told["parameters"] = dict(attempt.parameters)
    told["results"] = collect_results(folder, target.stem) if outcome.status == "done" else {}
    exists = target is not None and target.is_file()
    told["output"] = os.path.relpath(target, attempt.folder) if exists else None
    told["started"] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(started))
    told["worker"] = f"{socket.gethostname()}, {attempt.threads} threads"
    return {**told, **(attempt.facts or {}), "versions": versions()}


@functools.cache
def versions() -> dict[str, str]:
    """Return the releases of what a run's numbers depend on."""
    found = {name: release(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **{name: text for name, text in found.items() if text}}


def collect_results(folder: Path, stem: str) -> dict[str, float | str]:
    """Return what a run found: the numbers among a notebook's facts, and those of the training run it has kept.

    Parameters
    ----------
    folder : Path
        Of the attempt, with `results/<stem>.json` and `checkpoints/<run>/result.json`, if the run wrote them.
    stem : str
        The notebook's name without its suffix.

    Returns
    -------
    dict
        Name to number; what stands in a dict gets a dotted name. Of a `history` the epoch of the best validation is
        taken, which is that of the weights that were tested.
    """
    found: dict[str, float | str] = {}
    notes = folder / "results" / f"{stem}.json"
    facts = json.loads(notes.read_text(encoding="utf-8"))["facts"] if notes.is_file() else {}
    results = list((folder / "checkpoints").glob("*/result.json"))
    if len(results) == 1:
        metrics = json.loads(results[0].read_text(encoding="utf-8"))
        found |= {name: metrics[name] for name in _RESULT_KEYS if _is_number(metrics.get(name))}
    history = facts.pop("history", None)
    if history:
        best = max(history, key=lambda row: row["valid_accuracy"])
        found |= {name: value for name, value in best.items() if _is_number(value)}
        found["epochs_run"] = len(history)
    _flatten(facts, "", found)
    return found


def _flatten(facts: Mapping[str, Any], prefix: str, found: dict[str, Any]) -> None:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            _flatten(value, f"{prefix}{name}.", found)
        elif _is_number(value):
            found[prefix + name] = value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
