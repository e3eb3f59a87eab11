"""What a run costs beyond papermill, what a second job gains, and what many runs cost: queued, and in the ledger.

Run it with `python benchmarks/batch.py`. The overhead is interleaved and repeated, and its medians are printed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import nbformat
import numpy as np

from snn_helpers.batch import Limits, SweepPlan, Workers, read_rows, run_sweep
from snn_helpers.batch.ledger import LEDGER
from snn_helpers.batch.plan import Planner
from snn_helpers.batch.report import make_report
from snn_helpers.batch.runner import Job, execute
from snn_helpers.sweep_report import write_report

REPEATS = 5
NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "06_training.ipynb"
SMOKE = {"profile": "smoke", "num_samples": 64, "time_steps": 4}


def quiet(line: str) -> None:
    """Say nothing."""


def write_no_op(folder: Path) -> Path:
    """Write a notebook that does nothing."""
    cell = nbformat.v4.new_code_cell("beta = 0.0  # help\nseed = 0  # help")
    cell.metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "no_op.ipynb")
    return folder / "no_op.ipynb"


def overhead(folder: Path) -> tuple[float, float]:
    """Return the seconds of a notebook that does nothing: by papermill's own command, and as a job."""
    notebook, times = write_no_op(folder), ([], [])
    plain = [sys.executable, "-m", "papermill", str(notebook), str(folder / "out.ipynb"), "--kernel", "python3"]
    for number in range(REPEATS):
        started = time.perf_counter()
        subprocess.run([*plain, "-p", "seed", "1"], capture_output=True, check=True)
        times[0].append(time.perf_counter() - started)
        (folder / str(number)).mkdir()
        started = time.perf_counter()
        execute(Job(notebook, folder / "job.ipynb", folder / str(number), {"seed": 1}, Limits()))
        times[1].append(time.perf_counter() - started)
    return median(times[0]), median(times[1])


def side_by_side(folder: Path) -> dict[int, float]:
    """Return the seconds of a sweep of 8 smoke runs of notebook 06, by jobs."""
    seconds = {}
    for jobs in (1, 2):
        plan = SweepPlan(NOTEBOOK, {"beta": [0.8, 0.9], "seed": "0..3"}, SMOKE)
        started = time.perf_counter()
        rows = run_sweep(plan, folder / str(jobs), Workers(jobs), say=quiet)
        seconds[jobs] = time.perf_counter() - started
        assert {row["status"] for row in rows.values()} == {"done"}
    return seconds


def queued(folder: Path, runs: int = 1000) -> tuple[float, int, int]:
    """Return the seconds of many runs of a stand-in on dask, the starts, and the rows."""
    listed = folder / "listed.txt"
    command = ("/bin/sh", "-c", f'echo "$0" >> {listed}')
    plan = SweepPlan(write_no_op(folder), {"seed": f"0..{runs - 1}"})
    started = time.perf_counter()
    run_sweep(plan, folder / "sweep", Workers(2, cluster="local", command=command), say=quiet)
    seconds = time.perf_counter() - started
    return seconds, len(set(listed.read_text().split())), len(read_rows(folder / "sweep"))


def ended(folder: Path, runs: int = 10_000) -> tuple[dict[str, float], float]:
    """Return the seconds of planning, resuming and reporting a sweep whose runs have ended, and the most memory in MB.

    The ledger's rows are made up, as long as those of notebook 06. To be called in a process of its own.
    """
    notebook = write_no_op(folder)
    plan = SweepPlan(notebook, {"beta": [number / 20 for number in range(20)], "seed": f"0..{runs // 20 - 1}"})
    rng = np.random.default_rng(0)
    with open(folder / LEDGER, "w", encoding="utf-8") as file:
        for run in Planner(plan).runs():
            results = {f"result_{number}": value for number, value in enumerate(rng.random(30))}
            results |= {"valid_accuracy": rng.random(), "output_spikes": rng.random()}
            row = {"id": run.id, "attempt": 1, "status": "done", "seconds": 1.0, "error": None, "cell": None}
            row |= {"parameters": dict(run.parameters), "results": results, "output": f"runs/{run.id}/1/no_op.ipynb"}
            file.write(json.dumps(row) + "\n")
    seconds = {}
    sweep = folder / "sweep"
    sweep.mkdir()
    (folder / LEDGER).rename(sweep / LEDGER)
    started = time.perf_counter()
    assert len(Planner(plan).runs()) == runs
    seconds["planned"] = time.perf_counter() - started
    assert len(run_sweep(plan, sweep, say=quiet)) == runs == len(read_rows(sweep))
    seconds["planned and resumed"] = time.perf_counter() - started - seconds["planned"]
    started = time.perf_counter()
    write_report(make_report(sweep), sweep)
    seconds["reported"] = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the four measurements."""
    with TemporaryDirectory() as folder:
        for name in ("overhead", "jobs", "queue", "ended"):
            (Path(folder) / name).mkdir()
        plain, job = overhead(Path(folder) / "overhead")
        print(f"a notebook that does nothing: papermill {plain:.2f} s, as a job {job:.2f} s, median of {REPEATS}")
        seconds, started, rows = queued(Path(folder) / "queue")
        print(f"1,000 queued runs of a stand-in, 2 dask workers: {seconds:.1f} s, {started} started, {rows} rows")
        with get_context("spawn").Pool(1) as pool:
            parts, peak = pool.apply(ended, [Path(folder) / "ended"])
        parts = ", ".join(f"{name} {value:.1f} s" for name, value in parts.items())
        print(f"10,000 runs that have ended: {parts}; at most {peak:.0f} MB")
        by_jobs = side_by_side(Path(folder) / "jobs")
        gain = by_jobs[1] / by_jobs[2]
        print(f"8 smoke runs of notebook 06: 1 job {by_jobs[1]:.0f} s, 2 jobs {by_jobs[2]:.0f} s, {gain:.2f} times")
        print(f"on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
