"""Sweeps: every run exactly once in the ledger, whatever happens to a run, to the sweep, or beside it."""

import json
import signal
import subprocess
import sys
from collections import Counter

import nbformat
import pytest
from job_notebooks import (
    FATES,
    FINDS,
    hold,
    is_alive,
    limit_from_what_is_seen,
    open_when_started,
    quiet,
    runs_in,
    wait_for,
    write_notebook,
)  # fmt: skip

from snn_helpers.batch import Limits, SweepBusy, SweepPlan, Workers, read_rows, run_sweep
from snn_helpers.batch.attempts import collect_results
from snn_helpers.batch.ledger import LEDGER
from snn_helpers.batch.report import make_report
from snn_helpers.batch.runner import Job, execute


def test_every_fate_is_a_row_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = write_notebook(
        tmp_path / "job.ipynb", "fate = 'good'  # help\nspeed = 1  # help\nseed = 0  # help", FATES, FINDS
    )
    plan = SweepPlan(notebook, {"fate": "raise,sleep,exit,print,disk,memory,good"}, metric="score")
    lines = []
    limit_from_what_is_seen(
        monkeypatch,
        lambda parameters: parameters["fate"] in ("sleep", "print"),
        '"waiting',
        lambda job: (tmp_path / f"{job['parameters']['fate']}-was-seen").touch(),
    )
    rows = run_sweep(plan, tmp_path / "sweep", Workers(jobs=2, limits=Limits(25, 6000)), say=lines.append)
    by_fate = {row["parameters"]["fate"]: row for row in rows.values()}
    statuses = {fate: row["status"] for fate, row in by_fate.items()}
    assert statuses == {"raise": "failed", "sleep": "timeout", "exit": "killed", "print": "timeout", "disk": "failed",
                        "memory": "failed", "good": "done"}  # fmt: skip
    assert by_fate["raise"]["error"] == "ValueError: no such recording"
    assert by_fate["raise"]["cell"] == "2: import os, resource, time"
    assert by_fate["sleep"]["cell"].startswith("2: ")
    assert "File too large" in by_fate["disk"]["error"]
    assert by_fate["memory"]["error"] == "MemoryError"
    assert by_fate["good"]["results"] == {"score": 10, "parts.first": 1.5}
    assert sum("failed" in line for line in lines) == 4  # three runs and the count of all
    printed = tmp_path / "sweep" / by_fate["print"]["output"]
    assert printed.stat().st_size < 3_000_000
    for fate in ("sleep", "print"):
        told = nbformat.read(tmp_path / "sweep" / by_fate[fate]["output"], as_version=4).cells[-2].outputs
        assert told[0]["text"].startswith("half way"), "what was printed before the end is kept"


def test_finished_runs_are_not_run_again_and_a_larger_grid_adds_to_them(tmp_path, job, ran, stand_in):
    workers = Workers(jobs=2, command=stand_in)
    first = run_sweep(SweepPlan(job, {"seed": "0..2"}, metric="score"), tmp_path / "sweep", workers, say=quiet)
    assert len(runs_in(ran)) == 3
    again = run_sweep(SweepPlan(job, {"seed": "0..2"}, metric="score"), tmp_path / "sweep", workers, say=quiet)
    assert again == first
    assert len(runs_in(ran)) == 3
    more = run_sweep(SweepPlan(job, {"seed": "0..4"}, metric="score"), tmp_path / "sweep", workers, say=quiet)
    assert len(runs_in(ran)) == 5
    assert {run_id: more[run_id] for run_id in first} == first


def test_runs_have_folders_threads_and_gpus_of_their_own(tmp_path, job, ran, stand_in):
    open_when_started(hold(ran), ran, 2)
    workers = Workers(jobs=2, gpus=2, threads=1, command=stand_in)
    rows = run_sweep(SweepPlan(job, {"seed": "0..5"}, metric="score"), tmp_path / "sweep", workers,
                     say=quiet)  # fmt: skip
    assert sorted(row["results"]["score"] for row in rows.values()) == [0, 100, 200, 300, 400, 500]
    assert {row["results"]["gpu"] for row in rows.values()} == {0, 1}
    assert {row["worker"].split(", ")[1] for row in rows.values()} == {"1 threads"}
    assert len(set(runs_in(ran))) == 6


def test_retry_runs_those_that_did_not_end_well_and_no_others(tmp_path, job, ran, stand_in, monkeypatch):
    plan = SweepPlan(job, {"seed": "0..3"}, metric="score")
    broken = tmp_path / "broken.py"
    broken.write_text("import sys, json\njob = json.load(open(sys.argv[1]))\n"
                      "sys.exit('no luck' if job['parameters']['seed'] % 2 else 0)")  # fmt: skip
    first = run_sweep(plan, tmp_path / "sweep", Workers(command=(sys.executable, "-S", str(broken))), say=quiet)
    assert Counter(row["status"] for row in first.values()) == {"done": 2, "failed": 2}
    assert {row["error"] for row in first.values()} == {None, "no luck"}
    workers = Workers(command=stand_in)
    assert run_sweep(plan, tmp_path / "sweep", workers, say=quiet) == first, "failures are not run again unasked"
    assert run_sweep(plan, tmp_path / "sweep", workers, retry=["killed"], say=quiet) == first
    mended = run_sweep(plan, tmp_path / "sweep", workers, retry=["failed"], say=quiet)
    assert {row["status"] for row in mended.values()} == {"done"}
    assert len(runs_in(ran)) == 2
    assert sorted(row["attempt"] for row in mended.values()) == [1, 1, 2, 2]
    assert len(read_rows(tmp_path / "sweep")) == 6


SWEEP = """
import signal
import sys
from pathlib import Path
from snn_helpers.batch import SweepPlan, Workers, run_sweep
job, folder, grid, *command = sys.argv[1:]
grid = dict(part.split("=") for part in grid.split(";"))
plan = SweepPlan(Path(job), grid, metric="score")
options = {"command": tuple(command)} if command else {}
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it starts with & ignore it
if __name__ == "__main__":
    run_sweep(plan, Path(folder), Workers(jobs=2, **options))
"""


def start_sweep(tmp_path, job, command=(), grid=("seed=0..11",)):
    script = tmp_path / "sweep.py"
    script.write_text(SWEEP)
    arguments = [sys.executable, script, job, tmp_path / "sweep", ";".join(grid), *command]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_sweep_killed_in_the_middle_loses_nothing_and_repeats_nothing(tmp_path, job, ran, stand_in):
    gate = hold(ran, first=5)
    sweep = start_sweep(tmp_path, job, command=stand_in)
    wait_for(lambda: len(read_rows(tmp_path / "sweep")) >= 4)
    sweep.kill()
    sweep.communicate()
    gate.unlink()
    before = read_rows(tmp_path / "sweep")
    assert 4 <= len(before) < 12
    again = start_sweep(tmp_path, job, command=stand_in)
    printed, _ = again.communicate()
    assert again.returncode == 0, printed
    assert f"{len(before)} of 12 runs are in the ledger already" in printed
    rows = read_rows(tmp_path / "sweep")
    assert rows[: len(before)] == before
    assert sorted(row["parameters"]["seed"] for row in rows) == list(range(12))
    # Only the two that were under way when it was killed were started twice.
    assert len(runs_in(ran)) <= 14


def test_report_of_a_sweep_that_was_killed_has_the_numbers_of_single_runs(tmp_path, job, ran, stand_in):
    grid = ("beta=0.1,0.2", "seed=0..3")
    gate = hold(ran, first=3)
    sweep = start_sweep(tmp_path, job, command=stand_in, grid=grid)
    wait_for(lambda: len(read_rows(tmp_path / "sweep")) >= 2)
    sweep.kill()
    sweep.communicate()
    gate.unlink()
    assert len(read_rows(tmp_path / "sweep")) < 8
    printed, _ = start_sweep(tmp_path, job, command=stand_in, grid=grid).communicate()
    report = make_report(tmp_path / "sweep")
    assert report.counts == {"done": 8}, printed
    for setting in report.settings:
        singles = {}
        for seed in range(4):
            folder = tmp_path / f"{setting.name} {seed}"
            folder.mkdir()
            values = {**setting.knobs, "seed": seed}
            environment = {"SNN_RESULTS_DIR": str(folder / "results")}
            execute(Job(job, folder / "job.ipynb", folder, values, environment=environment, command=stand_in))
            singles[seed] = collect_results(folder, "job")["score"]
        assert setting.by_seed == singles
        assert setting.mean == pytest.approx(setting.knobs["beta"] + 150)


def test_kernel_ends_when_the_sweep_is_killed(tmp_path):
    notebook = write_notebook(
        tmp_path / "job.ipynb",
        f"speed = 0.0  # help\nseed = 0  # help\nfolder = '{tmp_path}'  # help",
        "import os, pathlib, time\n(pathlib.Path(folder) / f'pid-{os.getpid()}').touch()\ntime.sleep(600)",
    )
    sweep = start_sweep(tmp_path, notebook)
    wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    sweep.kill()
    sweep.communicate()
    kernels = [int(path.name.split("-")[1]) for path in tmp_path.glob("pid-*")]
    wait_for(lambda: not any(is_alive(pid) for pid in kernels))


def test_interrupt_ends_the_runs_under_way_and_leaves_them_missing(tmp_path, job, ran, stand_in):
    hold(ran)
    sweep = start_sweep(tmp_path, job, command=stand_in)
    wait_for(lambda: ran.is_file() and len(runs_in(ran)) == 2)
    sweep.send_signal(signal.SIGINT)
    sweep.communicate()
    assert sweep.returncode != 0
    pids = [json.loads(line)[1] for line in ran.read_text().splitlines()]
    assert not any(is_alive(pid) for pid in pids)
    assert read_rows(tmp_path / "sweep") == []


def test_two_sweeps_in_one_folder_are_refused(tmp_path, job, ran, stand_in):
    gate = hold(ran)
    sweep = start_sweep(tmp_path, job, command=stand_in)
    wait_for(lambda: ran.is_file() and len(runs_in(ran)) == 2)
    with pytest.raises(SweepBusy, match="another sweep is at work here"):
        run_sweep(SweepPlan(job, {"seed": [0]}), tmp_path / "sweep", say=quiet)
    sweep.kill()
    sweep.communicate()
    gate.unlink()  # what has outlived its sweep ends


def test_row_cut_in_half_is_mended_with_a_message_and_its_run_repeated(tmp_path, job, ran, stand_in):
    plan, workers = SweepPlan(job, {"seed": "0..2"}, metric="score"), Workers(command=stand_in)
    run_sweep(plan, tmp_path / "sweep", workers, say=quiet)
    ledger = tmp_path / "sweep" / LEDGER
    ledger.write_bytes(ledger.read_bytes()[:-40])
    lines = []
    rows = run_sweep(plan, tmp_path / "sweep", workers, say=lines.append)
    assert "the last row was cut off" in lines[0]
    assert len(runs_in(ran)) == 4
    assert [row["status"] for row in rows.values()] == ["done"] * 3


def test_folder_of_another_notebook_and_of_the_notebook_itself_are_refused(tmp_path, job, ran, stand_in):
    run_sweep(SweepPlan(job, {"seed": [0]}), tmp_path / "sweep", Workers(command=stand_in), say=quiet)
    other = write_notebook(tmp_path / "other.ipynb", "seed = 0  # help", "1")
    with pytest.raises(ValueError, match=r"holds a sweep of job\.ipynb"):
        run_sweep(SweepPlan(other, {"seed": [0]}), tmp_path / "sweep", say=quiet)
    with pytest.raises(ValueError, match="holds the notebook itself"):
        run_sweep(SweepPlan(job, {"seed": [0]}), tmp_path, say=quiet)


def test_plan_that_is_wrong_leaves_no_folder(tmp_path, job):
    with pytest.raises(ValueError, match="Did you mean 'seed'"):
        run_sweep(SweepPlan(job, {"sed": [0]}), tmp_path / "sweep", say=quiet)
    assert not (tmp_path / "sweep").exists()
