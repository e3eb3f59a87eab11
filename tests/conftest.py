"""Fixtures: small made-up recordings in N-MNIST's layout, real ones where this machine has them, notebooks as jobs."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from job_notebooks import write_notebook, write_stand_in

import snn_helpers  # noqa: F401  (first: it tells OpenMP how to wait before torch loads it)
from snn_helpers.events.recording import make_events, write_bin

# For doctests pytest would import them as modules: all of the first have the same name, the last is for mypy alone.
collect_ignore_glob = ["conftest.py", "*/conftest.py", "typed_use.py"]

REPOSITORY = Path(__file__).resolve().parents[1]

# The same examples in every run, so that a red suite is red again; numba compiles in the first, hence no deadline.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")


def made_up_recording(rng, label=0, count=80, length_us=300_000):
    """Return events around a column that depends on the label, so that there is something to learn."""
    x = np.clip(np.rint(rng.normal(3 + 3 * label, 2, count)), 0, 33)
    times = np.sort(rng.integers(0, length_us, count))
    return make_events(x, rng.integers(0, 34, count), times, rng.integers(0, 2, count))


def write_folder(root, per_class=None, digits=range(10), seed=0, count=80):
    """Write made-up recordings, laid out as N-MNIST's, and return the folder."""
    rng = np.random.default_rng(seed)
    for part, recordings in (per_class or {"Train": 10, "Test": 2}).items():
        for digit in digits:
            folder = root / part / str(digit)
            folder.mkdir(parents=True)
            for index in range(recordings):
                write_bin(folder / f"{index + 1:05d}.bin", made_up_recording(rng, digit, count))
    return root


@pytest.fixture(scope="session", autouse=True)
def small_layers_in_one_pass():
    """Have layers computed in one pass however small they are: those of most tests are, so that the pass is tested."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PASS_WORTH", "PASS_ALWAYS"):
            patch.setattr(f"snn_helpers.over_time.event_actions.{name}", 0)
        yield


@pytest.fixture(scope="session")
def repository():
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data():
    """Return the folder of real N-MNIST recordings, or skip."""
    folder = Path(os.environ.get("SNN_REAL_DATA") or REPOSITORY.parent / "shared" / "data" / "NMNIST")
    if not (folder / "Train").is_dir():
        pytest.skip(f"no real recordings at {folder}; set SNN_REAL_DATA to a folder with Train/<digit>/*.bin")
    return folder


@pytest.fixture(scope="session")
def format_data():
    """Return the folder of small recordings in other formats, or skip."""
    folder = Path(os.environ.get("SNN_FORMAT_DATA") or REPOSITORY.parent / "shared" / "data" / "formats")
    if not folder.is_dir():
        pytest.skip(f"no recordings of other formats at {folder}; set SNN_FORMAT_DATA")
    return folder


@pytest.fixture(scope="session")
def make_recording():
    """Return a maker of made-up events: make(rng, label, count, length_us)."""
    return made_up_recording


@pytest.fixture(scope="session")
def make_folder_at():
    """Return a maker of small folders laid out as N-MNIST's: make(path, {"Train": 4, "Test": 2}, digits, seed)."""
    return write_folder


@pytest.fixture
def make_folder(tmp_path):
    """Return the same for folders that one test uses: make(name, ...)."""

    return lambda name="NMNIST", *args, **options: write_folder(tmp_path / name, *args, **options)


@pytest.fixture
def runs_home(tmp_path, monkeypatch):
    """Send runs and logs to a temporary folder."""
    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("SNN_LOGS_DIR", str(tmp_path / "logs"))
    monkeypatch.delenv("SNN_PROFILE", raising=False)


@pytest.fixture
def data_home(tmp_path, monkeypatch, runs_home):
    """Send stores, downloads and runs to a temporary folder; return where stores go."""
    monkeypatch.setenv("SNN_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def job(tmp_path):
    """Return a small notebook to be run as a job."""
    cell = "beta = 0.0  # help\nspeed = 0.0  # help\nseed = 0  # help"
    return write_notebook(tmp_path / "job.ipynb", cell, "1")


@pytest.fixture
def stand_in(tmp_path):
    """Return the command of a stand-in for the kernel; use it with `ran`."""
    return write_stand_in(tmp_path)


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Return the file in which the stand-in for the kernel lists what it has run."""
    monkeypatch.setenv("STAND_IN_RAN", str(tmp_path / "ran.jsonl"))
    return tmp_path / "ran.jsonl"


@pytest.fixture(autouse=True)
def same_draws_in_any_order():
    """Begin each test with the same numbers of torch's generator, whatever ran before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def no_figure_left_open():
    """Close what a test has drawn: pyplot keeps figures, and warns of the 21st."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def compiling_was_said(monkeypatch):
    """Have nothing said of kernels that are compiled in a test, where none before it has had them compiled."""
    from snn_helpers.engine.cpu import runtime

    monkeypatch.setattr(runtime._message, "said", True)
