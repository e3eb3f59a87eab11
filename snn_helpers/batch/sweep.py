"""A sweep from plan to ledger: only what is missing is run, whatever fails is a row, and the others go on."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from snn_helpers._checks import check_choice, check_int
from snn_helpers._files import writable_folder, write_json
from snn_helpers._paths import user_path
from snn_helpers.batch.attempts import Attempt, visible_gpu
from snn_helpers.batch.ledger import latest, read_rows, repair
from snn_helpers.batch.local import LocalPool
from snn_helpers.batch.parameters import Rules
from snn_helpers.batch.plan import Planner, Run, SweepPlan
from snn_helpers.batch.runner import COMMAND, Limits

PLAN = "sweep.json"
MOST_JOBS = 1024  # side by side on a machine, and threads of each
RETRIES = ("failed", "timeout", "killed")


class SweepBusy(RuntimeError):
    """Another process is at work in the sweep's folder."""


@dataclass(frozen=True)
class Workers:
    """Who does the runs.

    Attributes
    ----------
    jobs : int
        Runs side by side.
    limits : Limits
        Time and memory of each.
    threads : int or None
        Threads of each; None shares out this machine's cores.
    gpus : int
        GPUs of this machine to share out, one a run; 0 leaves what a run sees alone.
    cluster : str or None
        None runs in processes of this one; "local", "slurm" and others on dask, see `cluster.DaskPool`.
    scheduler : str or None
        Address of a running dask scheduler.
    options : dict
        For the cluster.
    command : tuple of str
        What runs a job.
    """

    jobs: int = 1
    limits: Limits = field(default_factory=Limits)
    threads: int | None = None
    gpus: int = 0
    cluster: str | None = None
    scheduler: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = COMMAND

    def __post_init__(self):
        check_int("jobs", self.jobs, low=1, high=MOST_JOBS)
        check_int("gpus", self.gpus, low=0, high=MOST_JOBS)
        if self.threads is not None:
            check_int("threads", self.threads, low=1, high=MOST_JOBS)
        if self.gpus and not (self.cluster or self.scheduler):
            visible_gpu(self.gpus - 1)
        if self.gpus and self.jobs > self.gpus:
            raise ValueError(f"`--jobs` {self.jobs} is more than `--gpus` {self.gpus}: a run needs a GPU of its own.")

    @property
    def threads_each(self) -> int:
        """Threads that a run may compute with."""
        return self.threads or max(1, (os.cpu_count() or 1) // self.jobs)

    def pool(self):
        """Open the pool of workers."""
        if self.cluster or self.scheduler:
            from snn_helpers.batch.cluster import DaskPool

            return DaskPool(self.jobs, self.scheduler, self.cluster or "local", self.options, self.gpus)
        return LocalPool(self.jobs, self.gpus)


def default_folder(plan: SweepPlan) -> Path:
    """Return the folder that the same plan always gets."""
    told = json.dumps([str(plan.notebook), repr(dict(plan.grid)), repr(dict(plan.fixed)), plan.search, plan.trials])
    return Path("runs") / f"sweep-{plan.notebook.stem}-{sha256(told.encode()).hexdigest()[:8]}"


def run_sweep(
    plan: SweepPlan,
    folder: Path | None = None,
    workers: Workers | None = None,
    rules: Rules | None = None,
    retry: Sequence[str] = (),
    say: Callable[[str], object] = print,
) -> dict[str, dict[str, Any]]:
    """Run what is missing of a sweep.

    Parameters
    ----------
    plan : SweepPlan
        What to run.
    folder : Path or None
        Where it is kept; None takes `default_folder`.
    workers : Workers or None
        Who does it; None is one run at a time.
    rules : Rules or None
        What is known of the parameters.
    retry : sequence of {"failed", "timeout", "killed"}
        Run those again that ended so. "failed" means every run that did not end well.
    say : callable
        Gets a line a run.

    Returns
    -------
    dict
        {id: row} of every run of the plan.

    Raises
    ------
    ValueError, TypeError
        If the plan is not good for the notebook; nothing is run then.
    SweepBusy
        If another sweep is at work in the folder.
    """
    planner = Planner(plan, rules)
    for status in retry:
        check_choice("--retry", status, RETRIES)
    runs = None if plan.search == "optuna" else planner.runs()
    folder = user_path(folder or default_folder(plan))
    _refuse_foreign(folder, plan)
    writable_folder("--out", folder)
    lock = FileLock(folder / ".sweep.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as err:
        raise SweepBusy(
            f"{folder}: another sweep is at work here. Wait for its end, or choose another `--out`."
        ) from err
    try:
        message = repair(folder)
        if message:
            say(message)
        return _Sweep(planner, folder, workers or Workers(), set(retry), say).run(runs)
    finally:
        lock.release()


def _refuse_foreign(folder: Path, plan: SweepPlan) -> None:
    if folder.resolve() == plan.notebook.resolve().parent:
        raise ValueError(f"`--out`: {folder} holds the notebook itself; choose another folder.")
    if (folder / PLAN).is_file():
        before = json.loads((folder / PLAN).read_text(encoding="utf-8"))["notebook"]
        if Path(before).name != plan.notebook.name:
            raise ValueError(f"`--out`: {folder} holds a sweep of {Path(before).name}; choose another folder.")


class _Sweep:
    def __init__(self, planner: Planner, folder: Path, workers: Workers, retry: set[str], say):
        self.planner, self.folder, self.workers, self.retry, self.say = planner, folder, workers, retry, say
        self.rows = latest(read_rows(folder))
        self.planned: dict[str, Run] = {}

    def run(self, runs: list[Run] | None) -> dict[str, dict[str, Any]]:
        with self.workers.pool() as pool:
            if runs is None:
                from snn_helpers.batch.search import OptunaSearch

                OptunaSearch(self.folder, self.planner).run(pool.width, lambda some: self._make(pool, some))
            else:
                self._make(pool, runs)
        mine = {run_id: self.rows[run_id] for run_id in self.planned}
        counts = Counter(row["status"] for row in mine.values())
        self.say(f"{len(mine)} runs: " + ", ".join(f"{number} {status}" for status, number in sorted(counts.items())))
        return mine

    def _make(self, pool, runs: Sequence[Run]) -> list[dict[str, Any]]:
        """Run what is missing of `runs`; return the rows of all of them."""
        self.planned |= {run.id: run for run in runs}
        self._write_plan()
        missing = [run for run in dict.fromkeys(run.id for run in runs) if self._wanted(run)]
        if len(missing) < len(runs):
            self.say(f"{len(runs) - len(missing)} of {len(runs)} runs are in the ledger already")
        for number, row in enumerate(self._finished(pool, missing), 1):
            self.rows[row["id"]] = row
            self.say(progress_line(number, len(missing), row, self.planner))
        return [self.rows[run.id] for run in runs]

    def _finished(self, pool, ids: Iterable[str]) -> Iterator[dict[str, Any]]:
        attempts = [self._attempt(self.planned[run_id]) for run_id in ids]
        return pool.rows(attempts) if attempts else iter(())

    def _wanted(self, run_id: str) -> bool:
        row = self.rows.get(run_id)
        if row is None:
            return True
        return row["status"] != "done" and ("failed" in self.retry or row["status"] in self.retry)

    def _attempt(self, run: Run) -> Attempt:
        before = self.rows.get(run.id)
        number = before["attempt"] + 1 if before else 1
        facts = {"notebook": self.planner.plan.notebook.name, "notebook_version": self.planner.notebook_version}
        facts |= {"code_version": self.planner.code_version}
        facts["data"] = self.planner.rules.data({**self.planner.defaults, **run.parameters})
        folder, notebook = self.folder.resolve(), self.planner.plan.notebook.resolve()
        parameters, limits, threads = dict(run.parameters), self.workers.limits, self.workers.threads_each
        return Attempt(folder, notebook, run.id, number, parameters, limits, threads, None, facts, self.workers.command)

    def _write_plan(self) -> None:
        plan = self.planner.plan
        told = {"notebook": str(plan.notebook), "search": plan.search, "metric": plan.metric}
        told |= {"direction": plan.direction, "fixed": self.planner.fixed, "swept": list(self.planner.space)}
        told["runs"] = {run.id: dict(run.parameters) for run in self.planned.values()}
        write_json(self.folder / PLAN, told)


def progress_line(number: int, total: int, row: Mapping[str, Any], planner: Planner) -> str:
    """Return one line about a run that has ended, readable in a log."""
    swept = " ".join(f"{name}={row['parameters'][name]}" for name in planner.space)
    told = row["results"].get(planner.plan.metric)
    ending = f"  {planner.plan.metric} {told:.4g}" if told is not None else ""
    if row["status"] != "done":
        ending = f"  {row['error']}" + (f"  (cell {row['cell']})" if row["cell"] else "")
    return f"[{number:>{len(str(total))}}/{total}] {row['status']:<7} {row['seconds']:5.0f} s  {swept}{ending}"
