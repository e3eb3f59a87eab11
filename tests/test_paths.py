"""Where things are kept: `~` in every path that a person gives, and a place for compiled kernels on every machine."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import snn_helpers
from snn_helpers import _paths
from snn_helpers._files import writable_folder
from snn_helpers.batch import SweepPlan
from snn_helpers.batch.report import read_sweep
from snn_helpers.batch.series import run_series
from snn_helpers.cli import main
from snn_helpers.data import find_real_recordings, load_dataset, load_folds
from snn_helpers.events.folder import list_recordings
from snn_helpers.events.recording import read_bin, write_bin
from snn_helpers.events.store import open_store
from snn_helpers.training.checkpoint import load_checkpoint
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.protocols import run_protocol
from snn_helpers.widgets.sweep_table import SweepTable

NOBODY = 65534
PATH_FIELDS = [item.name for item in dataclasses.fields(TrainConfig) if item.metadata["path"]]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return a home folder of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("name", PATH_FIELDS)
def test_tilde_is_the_home_folder_in_every_path_of_the_config(home, name):
    (home / "digits").write_text("")  # plugins are read at once
    assert getattr(TrainConfig(**{name: "~/digits"}), name) == str(home / "digits")
    assert getattr(TrainConfig(**{name: Path("~/digits")}), name) == str(home / "digits")


def test_path_fields_are_those_that_name_folders_and_files():
    assert set(PATH_FIELDS) >= {"data_dir", "save_dir", "log_dir", "resume", "init_from"}


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("SNN_DATA_DIR", _paths.data_home),
        ("SNN_RESULTS_DIR", _paths.results_home),
        ("SNN_RUNS_DIR", _paths.runs_home),
        ("SNN_LOGS_DIR", _paths.logs_home),
    ],
)
def test_tilde_is_the_home_folder_in_environment_variables(home, monkeypatch, variable, place):
    monkeypatch.setenv(variable, "~/kept")
    assert place() == home / "kept"


def test_tilde_is_the_home_folder_where_real_recordings_are_looked_for(home, monkeypatch):
    (home / "NMNIST" / "Train").mkdir(parents=True)
    monkeypatch.setenv("SNN_REAL_DATA", "~/NMNIST")
    assert find_real_recordings() == home / "NMNIST"


# Each is told of the home folder's missing file, by its whole name, or finds it.
@pytest.mark.parametrize(
    "use",
    [
        lambda: load_dataset("nmnist", "~/none"),
        lambda: load_folds("~/none"),
        lambda: load_checkpoint("~/none"),
        lambda: read_bin("~/none"),
        lambda: list_recordings("~/none"),
        lambda: open_store("~/none"),
        lambda: read_sweep("~/none"),
        lambda: run_protocol("real", TrainConfig(), real_dir="~/none"),
        lambda: run_series(["~/none"], "~/out", {}),
        lambda: SweepPlan.from_toml("~/none"),
    ],
    ids=["dataset", "folds", "checkpoint", "recording", "folder", "store", "sweep", "protocol", "series", "plan"],
)
def test_tilde_is_the_home_folder_in_every_call_that_takes_a_path(home, use):
    with pytest.raises((ValueError, OSError, RuntimeError), match=str(home / "none")):
        use()


def test_tilde_is_the_home_folder_for_what_is_written_and_watched(home):
    events = snn_helpers.events.recording.make_events(np.array([1]), np.array([2]), np.array([3]), np.array([1]))
    write_bin("~/one.bin", events)
    assert np.array_equal(read_bin(home / "one.bin"), events)
    assert SweepPlan("~/job.ipynb", {"seed": [0]}).notebook == home / "job.ipynb"
    assert SweepTable("~/sweep").folder == home / "sweep"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--dataset=nmnist", "--data_dir=~/none"],
        ["train", "--test_only", "--resume=~/none"],
        ["visualize-data", "--dataset=nmnist", "--data_dir=~/none", "--log_dir=~/figures"],
        ["visualize-activations", "--rates", "--resume=~/none", "--log_dir=~/figures"],
        ["protocol", "real", "--real_dir=~/none"],
        ["run", "~/none", "--out=~/out"],
        ["sweep", "~/none", "--grid", "seed=0", "--out=~/out"],
        ["report", "~/none"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_tilde_is_the_home_folder_in_flags_where_no_shell_has_replaced_it(home, data_home, capsys, arguments):
    assert main(arguments) == 1
    assert str(home / "none") in capsys.readouterr().err
    assert not Path("~").exists()


def test_folder_that_cannot_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"`--log_dir`: cannot write to .*file/figures \(.+\)\. Choose another folder"):
        writable_folder("--log_dir", tmp_path / "file" / "figures")
    assert list(writable_folder("--log_dir", tmp_path / "new" / "one").iterdir()) == []


@pytest.fixture
def unprivileged(tmp_path):
    """Return what runs Python code as a user without a home, with a copy of the package that it cannot write to."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root, by setpriv, can become a user who may not write here")
    package, temporary = tmp_path / "package", tmp_path / "tmp"
    source = Path(snn_helpers.__file__).parent
    shutil.copytree(source, package / "snn_helpers", ignore=shutil.ignore_patterns("__pycache__"))
    temporary.mkdir()
    temporary.chmod(0o1777)
    # This Python may lie in root's own home: the user may read all that root may, and write nothing.
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]

    def run(code):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package), "HOME": "/nonexistent"}
        environment |= {"TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        command = [*become, sys.executable, "-c", code]
        return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)

    try:
        probe = run("import numba")
    except PermissionError as err:
        pytest.skip(f"user {NOBODY} cannot run this environment's Python: {err}")
    if probe.returncode:
        pytest.skip(f"setpriv cannot be used here: {probe.stderr.strip().splitlines()[-1]}")
    return run


READ = """
from pathlib import Path
import tempfile
import snn_helpers
assert not __import__("os").access(snn_helpers.__path__[0], 2)
from snn_helpers.events.recording import read_bin
file = Path(tempfile.mkdtemp()) / "one.bin"
file.write_bytes(bytes([1, 2, 128, 0, 3]))
print(read_bin(file).tolist())
"""


def test_kernels_are_kept_in_a_temporary_folder_where_neither_package_nor_home_can_be_written(unprivileged, tmp_path):
    first = unprivileged(READ)
    assert (first.returncode, first.stdout) == (0, "[(1, 2, 3, 1)]\n"), first.stderr
    (folder,) = (tmp_path / "tmp").glob("snn_helpers-kernels-*")
    assert first.stderr == f"snn_helpers: no place to keep compiled kernels; they go to {folder}.\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    kept = sorted(path.name for path in folder.rglob("*.nbi"))
    assert kept
    again = unprivileged(READ)
    assert (again.returncode, again.stderr) == (0, ""), "it is said once"
    assert sorted(path.name for path in folder.rglob("*.nbi")) == kept


def test_temporary_folder_that_another_user_made_is_not_trusted_with_code(unprivileged, tmp_path):
    planted = tmp_path / "tmp" / f"snn_helpers-kernels-{NOBODY}"
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    done = unprivileged(READ)
    assert done.returncode == 0, done.stderr
    assert list(planted.iterdir()) == []


def test_nothing_is_changed_where_kernels_have_a_place(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    _paths.keep_kernels()
    assert "NUMBA_CACHE_DIR" not in os.environ
