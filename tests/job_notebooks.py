"""Small notebooks to run as jobs, and a stand-in for the kernel where only the scheduling is tested."""

import json
import math
import sys
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil

from snn_helpers.batch import runner
from snn_helpers.batch.ledger import LEDGER
from snn_helpers.batch.sweep import PLAN

FINDS = """
import json, os, pathlib
folder = pathlib.Path(os.environ["SNN_RESULTS_DIR"])
folder.mkdir(parents=True, exist_ok=True)
facts = {"score": 10 * speed + seed, "parts": {"first": 1.5}}
(folder / "job.json").write_text(json.dumps({"findings": {"speed": speed * 2}, "facts": facts}))
"""

FATES = """
import os, resource, time
print("half way", flush=True)
if fate == "raise":
    raise ValueError("a long story\\nno such recording")
while fate in ("sleep", "print") and not os.path.exists(f"{fate}-was-seen"):
    print("waiting", flush=True)
    time.sleep(0.2)
if fate == "sleep":
    time.sleep(100_000)
if fate == "exit":
    os._exit(9)
if fate == "print":
    while True:
        print("x" * 10_000)
if fate == "disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    open("filler", "wb").write(bytes(10_000_000))
if fate == "memory":
    bytearray(10**11)
"""

# Reports a score, as a notebook would: without a kernel, in a few ms. While there is a gate (see `hold`), later seeds
# wait at it, so that what a test does in the meantime happens in the middle of a sweep on any machine.
STAND_IN = """
import json, os, pathlib, sys, time
job = json.loads(pathlib.Path(sys.argv[1]).read_text())
values = job["parameters"]
ran = pathlib.Path(os.environ["STAND_IN_RAN"])
with open(ran, "a") as file:
    file.write(json.dumps([sys.argv[1], os.getpid()]) + "\\n")
gate = pathlib.Path(str(ran) + ".gate")
while gate.exists() and values["seed"] >= int(gate.read_text() or 0):
    time.sleep(0.02)
folder = pathlib.Path(os.environ["SNN_RESULTS_DIR"])
folder.mkdir(parents=True)
facts = {"score": values.get("beta", 0) + 100 * values.get("seed", 0)}
facts["gpu"] = int(os.environ.get("CUDA_VISIBLE_DEVICES") or -1)
(folder / "job.json").write_text(json.dumps({"findings": {}, "facts": facts}))
"""


def write_notebook(path, *sources):
    """Write code cells as a notebook, the first one its parameters."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def write_stand_in(folder):
    """Return the command of a stand-in for the kernel; set STAND_IN_RAN to the file that lists what it ran."""
    script = folder / "stand_in.py"
    script.write_text(STAND_IN)
    return (sys.executable, "-S", "-E", str(script))


def runs_in(ran):
    """Return the job files that a stand-in has listed in `ran`, one for each start."""
    return [json.loads(line)[0] for line in ran.read_text().splitlines()]


def quiet(line):
    """Say nothing."""


def wait_for(condition):
    """Wait for an event, however long this machine takes; pytest's own limit is for what never happens."""
    while not condition():
        time.sleep(0.02)


def hold(ran, first=0):
    """Have stand-ins with a seed of `first` or more wait until the file that is returned is deleted."""
    gate = ran.with_name(f"{ran.name}.gate")
    gate.write_text(str(first))
    return gate


def open_when_started(gate, ran, count):
    """Delete a gate, from a thread, once so many stand-ins have started: they were at work side by side."""

    def watch():
        wait_for(lambda: ran.is_file() and len(runs_in(ran)) >= count)
        gate.unlink()

    threading.Thread(target=watch, daemon=True).start()


def limit_from_what_is_seen(monkeypatch, is_endless, words, see=lambda job: None):
    """Count the time limit of jobs that never end from the moment at which `words` stand in the saved notebook.

    `is_endless(parameters)` says which jobs these are; the others have no limit. `see(job)` is called at that moment.
    """
    wait, limit = runner._wait, 1.0

    def wait_from_there(process, deadline, stop):
        job = json.loads(Path(process.args[-1]).read_text(encoding="utf-8"))
        if not is_endless(job["parameters"]):
            return wait(process, math.inf, stop)
        target = Path(job["target"])
        wait_for(lambda: process.poll() is not None or (target.is_file() and words in _printed(target)))
        see(job)
        return wait(process, time.monotonic() + limit, stop)

    monkeypatch.setattr(runner, "_wait", wait_from_there)
    monkeypatch.setattr(runner, "_GRACE_S", 600.0)  # to save what was printed


def _printed(notebook):
    """Return the outputs of a saved notebook as JSON (its source may hold the same words); "" while it is written."""
    try:
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
    except json.JSONDecodeError:
        return ""
    return json.dumps([cell.get("outputs", []) for cell in cells])


def is_alive(pid):
    """Return whether a process runs; one that has ended and is not yet collected by its parent does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


FATES_OF_RUNS = ("done", "done", "failed", "done", "killed", "timeout")


def ledger_row(run_id, status, results, error=None, attempt=1):
    return {"id": run_id, "attempt": attempt, "status": status, "seconds": 2.5, "results": results, "error": error,
            "cell": "4: train(config)" if error else None,
            "output": f"runs/{run_id}/{attempt}/job.ipynb"}  # fmt: skip


def write_sweep(folder, count, fates=FATES_OF_RUNS, missing=0, most_results=1):
    """Write the files of a sweep of `count` runs, the last `missing` of which have not ended."""
    rng = np.random.default_rng(0)
    runs, rows = {}, []
    for place in range(count):
        run_id, status = f"run{place:05d}", fates[place % len(fates)]
        runs[run_id] = {"beta": [0.8, 0.95, 1e-5][place % 3], "model": ["cnn", "resnet"][place % 2], "seed": place}
        # Few digits, so that there are ties.
        results = {"valid_accuracy": round(rng.random(), 1), "hidden_spike_fraction": rng.random() / 1000}
        results |= {f"firing/layer{number}": rng.random() for number in range(most_results)}
        error = None if status == "done" else f"ValueError: Größe {place}"
        if place < count - missing:
            rows.append(ledger_row(run_id, status, results if status == "done" else {}, error))
    folder.mkdir(exist_ok=True)
    plan = {"notebook": "job.ipynb", "metric": "valid_accuracy", "direction": "maximize", "runs": runs}
    (folder / PLAN).write_text(json.dumps({**plan, "swept": ["beta", "model", "seed"]}), encoding="utf-8")
    (folder / LEDGER).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
