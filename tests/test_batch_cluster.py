"""The same sweep on dask: real worker processes, lost ones, a scheduler by address, a batch system's script."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from job_notebooks import hold, open_when_started, quiet, runs_in, wait_for

from snn_helpers.batch import SweepPlan, Workers, read_rows, run_sweep
from snn_helpers.batch.cluster import make_cluster

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


@pytest.fixture
def scheduler(tmp_path, ran):
    """Return the address of a scheduler, and a starter of workers for it."""
    processes = []

    def start(*arguments):
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *map(str, arguments[1:])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
        processes.append(process)
        return process

    told = tmp_path / "scheduler.json"
    start("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", told)
    wait_for(lambda: told.is_file() and told.read_text())
    yield json.loads(told.read_text())["address"], start
    for process in processes:
        process.terminate()
        process.wait()


def test_hundreds_of_runs_are_each_run_once(tmp_path, job):
    listed = tmp_path / "listed.txt"
    command = ("/bin/sh", "-c", f'echo "$0" >> {listed}')
    plan = SweepPlan(job, {"seed": "0..299"}, metric="score")
    rows = run_sweep(plan, tmp_path / "sweep", Workers(jobs=2, cluster="local", command=command), say=quiet)
    assert len(rows) == 300
    assert {row["status"] for row in rows.values()} == {"done"}
    started = listed.read_text().split()
    assert len(started) == len(set(started)) == 300
    assert len(read_rows(tmp_path / "sweep")) == 300


def test_runs_of_a_killed_worker_go_elsewhere_and_the_ledger_is_that_of_one_machine(
    tmp_path, job, ran, stand_in, scheduler
):
    address, start = scheduler
    plan = SweepPlan(job, {"beta": "0.1,0.2", "seed": "0..5"}, metric="score")
    gate = hold(ran, first=3)
    workers = [start("worker", address, "--nthreads", 1, "--no-nanny", "--no-dashboard") for _ in range(2)]
    lines = []

    def held():
        jobs = [json.loads(Path(job).read_text(encoding="utf-8")) for job in runs_in(ran)]
        return sum(job["parameters"]["seed"] >= 3 for job in jobs)

    def kill_one_in_the_middle(line):
        lines.append(line)
        if len(lines) == 3:
            wait_for(lambda: held() == 2)  # a run on either worker
            workers[0].send_signal(signal.SIGKILL)
            gate.unlink()

    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(2)
    options = {"command": stand_in, "threads": 1}
    far = run_sweep(plan, tmp_path / "far", Workers(scheduler=address, **options), say=kill_one_in_the_middle)
    assert workers[0].wait() == -signal.SIGKILL
    assert lines[-1] == "12 runs: 12 done"
    assert len(read_rows(tmp_path / "far")) == 12
    assert 12 < len(runs_in(ran)) <= 14, "the run that its worker took with it was run again"
    near = run_sweep(plan, tmp_path / "near", Workers(jobs=2, **options), say=quiet)
    for run_id, row in near.items():
        for column in ("status", "attempt", "parameters", "results", "code_version", "versions", "worker", "error"):
            assert far[run_id][column] == row[column]
    assert list(far) == list(near)


def test_run_that_kills_every_worker_is_a_row_and_the_others_go_on(tmp_path, job, ran, stand_in, monkeypatch):
    monkeypatch.setattr("snn_helpers.batch.cluster.LOSSES", 1)
    killer = tmp_path / "killer.py"
    killer.write_text(
        "import json, os, signal, sys\njob = json.load(open(sys.argv[1]))\n"
        "if job['parameters']['seed'] == 1: os.kill(os.getppid(), signal.SIGKILL)"
    )
    workers = Workers(jobs=2, cluster="local", command=(sys.executable, "-S", "-E", str(killer)))
    rows = run_sweep(SweepPlan(job, {"seed": "0..3"}, metric="score"), tmp_path / "sweep", workers, say=quiet)
    by_seed = {row["parameters"]["seed"]: row for row in rows.values()}
    assert [by_seed[seed]["status"] for seed in range(4)] == ["done", "killed", "done", "done"]
    assert "its worker was lost 2 times" in by_seed[1]["error"]


def test_workers_that_dask_gives_up_are_replaced(tmp_path, job, ran, monkeypatch):
    async def look_away(nanny, exitcode):
        """Do nothing, as where a worker dies while it starts."""

    monkeypatch.setattr(distributed.Nanny, "_on_worker_exit", look_away)
    monkeypatch.setattr("snn_helpers.batch.cluster._LOOK_MS", 500)
    killer = tmp_path / "killer.py"
    killer.write_text(
        "import json, os, pathlib, signal, sys\njob = json.load(open(sys.argv[1]))\n"
        f"seen = pathlib.Path({str(tmp_path)!r}, 'seen')\n"
        "if not seen.exists(): seen.touch(), os.kill(os.getppid(), signal.SIGKILL)"
    )
    workers = Workers(jobs=1, cluster="local", command=(sys.executable, "-S", "-E", str(killer)))
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}):
        rows = run_sweep(SweepPlan(job, {"seed": "0..1"}, metric="score"), tmp_path / "sweep", workers, say=quiet)
    assert [row["status"] for row in rows.values()] == ["done", "done"]


def test_workers_with_several_threads_are_refused(tmp_path, job, scheduler):
    address, start = scheduler
    start("worker", address, "--nthreads", 2, "--no-nanny", "--no-dashboard")
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(1)
    with pytest.raises(ValueError, match="--nthreads 1"):
        run_sweep(SweepPlan(job, {"seed": [0]}), tmp_path / "sweep", Workers(scheduler=address), say=quiet)


def test_scheduler_that_does_not_answer_is_named(tmp_path, job, monkeypatch):
    monkeypatch.setattr("snn_helpers.batch.cluster.PATIENCE", "1s")
    with pytest.raises(ValueError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_sweep(SweepPlan(job, {"seed": [0]}), tmp_path / "s", Workers(scheduler="tcp://127.0.0.1:9"), say=quiet)


def test_gpus_go_one_to_a_worker(tmp_path, job, ran, stand_in):
    workers = Workers(jobs=2, gpus=2, cluster="local", command=stand_in)
    open_when_started(hold(ran), ran, 2)
    plan = SweepPlan(job, {"seed": "0..5"}, metric="score")
    rows = run_sweep(plan, tmp_path / "sweep", workers, say=quiet)
    assert {row["results"]["gpu"] for row in rows.values()} == {0, 1}


@pytest.fixture
def daily_port_taken():
    """Occupy the port that dask would take first, as another sweep on this machine would."""
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # it is taken
            other.bind(("", 8787))
            other.listen()
        yield


def test_two_sweeps_on_one_machine_are_no_warning_and_listen_to_it_alone(daily_port_taken):
    with make_cluster("local", 1, {}):
        mine = psutil.Process().net_connections("inet")
        here = [other.laddr for other in mine if other.status == psutil.CONN_LISTEN and other.laddr.port != 8787]
        assert {address.ip for address in here} == {"127.0.0.1"}


def test_batch_system_gets_one_thread_workers_with_the_cores_of_a_run(monkeypatch, daily_port_taken):
    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    asked = []
    monkeypatch.setattr(dask_jobqueue.SLURMCluster, "scale", lambda self, jobs: asked.append(jobs))
    cluster = make_cluster("slurm", 7, {"cores": 4, "memory": "8GB", "walltime": "02:00:00", "queue": "short"})
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
    assert asked[0] == 7
    for line in ("#SBATCH -p short", "#SBATCH -t 02:00:00", "#SBATCH --cpus-per-task=4"):
        assert line in script
    assert script.rstrip().endswith("--nthreads 1")


def test_unknown_batch_system_is_refused():
    with pytest.raises(ValueError, match=r"'slurm'.*got 'slrum'"):
        make_cluster("slrum", 1, {})


def children():
    found = [child for child in psutil.Process(os.getpid()).children(recursive=True) if child.status() != "zombie"]
    return {child.pid for child in found if "resource_tracker" not in " ".join(child.cmdline())}


def test_workers_end_with_the_sweep(tmp_path, job, ran, stand_in):
    before = children()
    run_sweep(SweepPlan(job, {"seed": [0]}), tmp_path / "s", Workers(cluster="local", command=stand_in), say=quiet)
    assert children() <= before
