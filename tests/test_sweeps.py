"""Notebooks of the series as jobs: their parameters are `TrainConfig`'s, and the commands say what is wrong."""

import difflib
import json
from pathlib import Path

import pytest
from job_notebooks import FINDS, write_notebook

from snn_helpers import TrainConfig
from snn_helpers.batch.parameters import read_parameters
from snn_helpers.cli import main
from snn_helpers.sweeps import sweep, training_rules

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
# What `TrainConfig` has no word for, beside the states of widgets.
OWN = {"digit", "num_steps", "step_ms", "tau_ms", "learning_rate", "jobs", "checkpoint", "sample"}
OWN |= {"margin", "stacked", "recordings", "slice_ms"}  # of notebooks 10 and 11


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_settings_of_the_same_name_or_stand_in_a_list(path):
    known = TrainConfig.names()
    for name, default in read_parameters(path).items():
        assert name in known or name in OWN or name.endswith("_state"), (
            f"{name}: name it as in TrainConfig {difflib.get_close_matches(name, known)}, or list it"
        )
        if name in known:
            TrainConfig.from_params({name: default})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_can_be_checked_before_it_runs(path):
    training_rules().check(read_parameters(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "bta=0.8"], "Did you mean 'beta'"),
        (["--grid", "beta=0.8,1.8"], "`beta` must be a number in [0, 1]; got 1.8"),
        (["--grid", "beta"], "must be NAME=VALUES"),
        (["--grid", "beta=0.8", "beta=0.9"], "`beta` is given twice"),
        (["--grid", "beta=0.8", "--jobs", "3", "--gpus", "2"], "a run needs a GPU of its own"),
        (["--grid", "beta=0.8", "--limit", "0"], "`limit` must be a number in (0, 1000000000]"),
        (["--grid", "seed=0..99999999999"], "makes 100,000,000,000 runs, and a sweep takes 100,000 at most"),
        (["--grid", "beta=0.8", "--jobs", "0"], "`jobs` must be a whole number in [1, 1024]; got 0"),
        (["--grid", "beta=0.8", "--trials", "0"], "`trials` must be a whole number in [1, 100000]; got 0"),
        (["--grid", "beta=0.8", "-p", "save_dir", "x"], "has a folder of its own"),
        (["--grid", "model=cnn,resnet", "-p", "learn", "rho"], "`learn` must be one of"),
        ([], "`--grid` is empty"),
    ],
)
def test_wrong_sweep_is_one_line_and_runs_nothing(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = Path(__file__).resolve().parents[1] / "notebooks" / "06_training.ipynb"
    assert main(["sweep", str(notebook), *arguments]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_command_python_and_file_are_one_sweep_and_the_report_follows(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_notebook(tmp_path / "job.ipynb", "speed = 1  # help\nseed = 0  # help", FINDS)
    options = ["--jobs", "2", "--metric", "score", "--out", "sweep"]
    assert main(["sweep", "job.ipynb", "--grid", "speed=1,2", "seed=0..1", *options]) == 0
    printed = capsys.readouterr().out
    assert "4 runs: 4 done" in printed
    assert "snn-helpers report sweep" in printed
    ledger = (tmp_path / "sweep" / "runs.jsonl").read_text()
    rows = sweep("job.ipynb", {"speed": [1, 2], "seed": range(2)}, "sweep", jobs=2, metric="score")
    assert [row["results"]["score"] for row in rows.values()] == [10, 11, 20, 21]
    text = 'notebook = "job.ipynb"\nout = "sweep"\nmetric = "score"\n[grid]\nspeed = [1, 2]\nseed = "0..1"\n'
    (tmp_path / "plan.toml").write_text(text)
    assert main(["sweep", "plan.toml"]) == 0
    assert (tmp_path / "sweep" / "runs.jsonl").read_text() == ledger, "all three are the same runs"
    capsys.readouterr()
    assert main(["report", "sweep"]) == 0
    told = capsys.readouterr().out
    assert "speed 1 to 2: score +10.0000, 95 % interval +10.0000 to +10.0000 (2 seeds, 2 pairs)" in told
    assert "best: speed 2, score 20.5000" in told
    versions = json.loads(ledger.splitlines()[0])["versions"]
    assert {"python", "torch", "snn_helpers"} <= set(versions)


def test_failed_run_ends_the_command_with_1(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_notebook(tmp_path / "job.ipynb", "seed = 0  # help", "raise ValueError('no luck')")
    assert main(["sweep", "job.ipynb", "--grid", "seed=0", "--out", "sweep"]) == 1
    assert "ValueError: no luck" in capsys.readouterr().out


def test_unknown_line_of_a_plan_is_refused(tmp_path, capsys):
    write_notebook(tmp_path / "job.ipynb", "seed = 0  # help", "1")
    (tmp_path / "plan.toml").write_text('notebook = "job.ipynb"\njob = 2\n[grid]\nseed = [0]\n')
    assert main(["sweep", str(tmp_path / "plan.toml")]) == 1
    assert "Did you mean 'jobs'?" in capsys.readouterr().err
