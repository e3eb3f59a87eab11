"""What would fail at the end of long work is tried at its beginning, in every command."""

import json
from importlib import metadata

import pytest
from job_notebooks import FINDS, quiet, write_notebook

import snn_helpers
from snn_helpers import _versions, batch, lessons
from snn_helpers.batch import SweepPlan, attempts, run_sweep
from snn_helpers.cli import main
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.loop import train

TINY = {"dataset": "nmnist", "epochs": 1, "batch_size": 16, "time_steps": 2}


@pytest.fixture
def file(tmp_path):
    """Return a file, which no folder can be made in, not even by root."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


@pytest.fixture
def nothing_is_done(monkeypatch):
    """Fail a test in which data are read, a network is made or a notebook is run."""

    def refuse(*_, **__):
        raise AssertionError("work had begun")

    for place in ("training.loop.estimate", "training.loop.load_dataset", "training.protocols.train",
                  "data.load_dataset", "activity_report.load_model", "batch.series.execute"):  # fmt: skip
        monkeypatch.setattr(f"snn_helpers.{place}", refuse)


@pytest.fixture
def not_installed(monkeypatch):
    """Have no metadata of this package, as in a checkout that is not installed."""
    version = metadata.version

    def of_others(name):
        if name == "snn_helpers":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(_versions.metadata, "version", of_others)


def test_training_in_a_checkout_that_is_not_installed_ends_with_its_result(make_folder, data_home, not_installed):
    result = train(TrainConfig(**TINY, data_dir=str(make_folder())))
    told = json.loads(result.paths["result"].read_text(encoding="utf-8"))
    assert told["versions"]["snn_helpers"] == snn_helpers.__version__
    assert told["versions"]["torch"] == metadata.version("torch")


def test_findings_and_ledger_of_a_checkout_that_is_not_installed_have_its_release(tmp_path, monkeypatch, not_installed):
    monkeypatch.setenv("SNN_RESULTS_DIR", str(tmp_path))
    lessons.write_results("01_events", "What?", {"it": "this"}, {})
    assert json.loads((tmp_path / "01_events.json").read_text())["versions"]["snn_helpers"] == snn_helpers.__version__
    attempts.versions.cache_clear()
    assert attempts.versions()["snn_helpers"] == snn_helpers.__version__
    attempts.versions.cache_clear()


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--visualize", "--log_dir={}"], "`--log_dir`: cannot write to"),
        (["train", "--save_dir={}"], "`--save_dir`: cannot write to"),
        (["visualize-data", "--log_dir={}"], "`--log_dir`: cannot write to"),
        (["visualize-activations", "--rates", "--resume=none", "--log_dir={}"], "`log_dir`: cannot write to"),
        (["protocol", "simulated"], "`SNN_RESULTS_DIR`: cannot write to"),
    ],
    ids=["train-figures", "train", "visualize-data", "visualize-activations", "protocol"],
)
def test_folder_that_cannot_be_written_at_the_end_is_refused_at_the_beginning(
    arguments, message, file, data_home, monkeypatch, capsys
):
    monkeypatch.setenv("SNN_RESULTS_DIR", str(file))
    assert main([part.format(file / "folder") for part in arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"snn-helpers: {message} {file}")
    assert len(said.splitlines()) == 1


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("kept", ["out", "results"])
def test_series_that_could_not_be_kept_is_not_run(tmp_path, file, monkeypatch, kept):
    monkeypatch.setenv("SNN_RESULTS_DIR", str(file if kept == "results" else tmp_path / "results"))
    notebook = write_notebook(tmp_path / "one.ipynb", "speed = 1  # help\nseed = 0  # help", FINDS)
    with pytest.raises(ValueError, match=r"`(--out|SNN_RESULTS_DIR)`: cannot write to"):
        batch.run_series([notebook], file if kept == "out" else tmp_path / "out", {})


def test_sweep_that_could_not_be_kept_is_not_run(file, job):
    with pytest.raises(ValueError, match="`--out`: cannot write to"):
        run_sweep(SweepPlan(job, {"seed": [0]}), file / "sweep", say=quiet)


def test_notebook_whose_findings_could_not_be_kept_stops_in_its_second_cell(file, monkeypatch):
    monkeypatch.setenv("SNN_RESULTS_DIR", str(file))
    with pytest.raises(ValueError, match="`SNN_RESULTS_DIR`: cannot write to"):
        lessons.look("smoke")
