"""Run one notebook in a process of its own, with a time limit, and say how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snn_helpers._checks import check_float, check_int

STATUSES = ("done", "failed", "timeout", "killed")
COMMAND = (sys.executable, "-m", "snn_helpers.batch.child")
_GRACE_S = 3.0  # to save the partial notebook


class Interrupted(RuntimeError):
    """The run was stopped from outside: it has no outcome."""


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Attributes
    ----------
    seconds : float > 0
        Wall-clock time; then the run is ended, and what it has written so far is kept.
    memory_mb : int or None
        Address space of the kernel in MiB; None sets no limit.
    """

    seconds: float = 3600.0
    memory_mb: int | None = None

    def __post_init__(self):
        check_float("limit", self.seconds, low=0, high=1_000_000_000, above=True)
        if self.memory_mb is not None:
            check_int("memory", self.memory_mb, low=1, high=1_000_000_000)


@dataclass(frozen=True)
class Job:
    """One notebook to run.

    Attributes
    ----------
    notebook, target : Path
        What to run, and where the executed notebook goes.
    folder : Path
        For the job's own files; it exists.
    parameters : dict of plain values
        Checked before.
    limits : Limits
        Time and memory.
    environment : dict
        Variables beside those of this process.
    command : tuple of str
        The program that is handed the job's file; exit code 0 means done, unless it writes another `outcome.json`.
    """

    notebook: Path
    target: Path
    folder: Path
    parameters: Mapping[str, Any]
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = COMMAND


@dataclass(frozen=True)
class Outcome:
    """How a run ended: one of `STATUSES`, wall-clock seconds, and of a failure the cell and the error's last line."""

    status: str
    seconds: float
    error: str | None = None
    cell: str | None = None


def execute(job: Job, stop: threading.Event | None = None) -> Outcome:
    """Run a job to its end, its time limit, or until `stop` is set.

    Raises
    ------
    Interrupted
        If `stop` was set, or a KeyboardInterrupt came; all processes of the run are ended then, too.
    """
    file = job.folder / "job.json"
    told = {"notebook": os.path.abspath(job.notebook), "target": os.path.abspath(job.target)}
    told |= {"parameters": dict(job.parameters), "memory_mb": job.limits.memory_mb}
    file.write_text(json.dumps(told, allow_nan=False), encoding="utf-8")
    environment = {**os.environ, **job.environment}
    started = time.monotonic()
    with open(job.folder / "log.txt", "w", encoding="utf-8") as log:
        # The open pipe to its standard input is the child's life line: it ends itself when we are gone.
        process = subprocess.Popen(
            [*job.command, str(file)], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            in_time = _wait(process, started + job.limits.seconds, stop)
        except BaseException:
            _end(process, grace=0)
            raise
        finally:
            process.stdin.close()
    seconds = time.monotonic() - started
    if not in_time:
        cell = _running_cell(job.target)
        return Outcome("timeout", seconds, f"the time limit of {job.limits.seconds:g} s was over", cell)
    return _read_outcome(job.folder, process.returncode, seconds)


def _wait(process: subprocess.Popen, deadline: float, stop: threading.Event | None) -> bool:
    """Wait for the end; return False if the time limit came first."""
    while True:
        rest = deadline - time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, min(rest, 0.2)))
            return True
        if stop is not None and stop.is_set():
            raise Interrupted("stopped")
        if rest <= 0:
            _end(process, grace=_GRACE_S)
            return False


def _end(process: subprocess.Popen, grace: float) -> None:
    """End a process and all that it started. A kernel leads a session of its own: a process group is not enough."""
    import psutil

    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    if grace:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def _read_outcome(folder: Path, code: int, seconds: float) -> Outcome:
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
        return Outcome(told["status"], seconds, told["error"], told["cell"])
    if code == 0:
        return Outcome("done", seconds)
    with open(folder / "log.txt", encoding="utf-8", errors="replace") as log:
        lines = [line.strip() for line in log if line.strip()]
    if code < 0:
        return Outcome("killed", seconds, f"ended by signal {signal.Signals(-code).name}")
    return Outcome("failed", seconds, lines[-1] if lines else f"ended with code {code}")


def _running_cell(target: Path) -> str | None:
    """Return "index: first line" of the cell at which a saved notebook stopped."""
    try:
        cells = json.loads(target.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return None
    for index, cell in enumerate(cells):
        if cell["metadata"].get("papermill", {}).get("status") == "running":
            lines = "".join(cell["source"]).strip().splitlines()
            return f"{index}: {lines[0] if lines else ''}"
    return None
