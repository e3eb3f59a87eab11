"""Where things are kept: one answer for the command line, notebooks in any folder, and tests."""

from __future__ import annotations

import os
from pathlib import Path


def project_root() -> Path:
    """Return the source checkout that this package runs from, else the working folder."""
    return _checkout() or Path.cwd()


def _checkout() -> Path | None:
    folder = Path(__file__).resolve().parents[1]
    return folder if (folder / "pyproject.toml").is_file() else None


def data_home() -> Path:
    """Return the folder where built and downloaded data land.

    It is the environment variable SNN_DATA_DIR, else `data/` of a source checkout, else the user's cache folder.
    """
    if os.environ.get("SNN_DATA_DIR"):
        return Path(os.environ["SNN_DATA_DIR"])
    if _checkout():
        return _checkout() / "data"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snn_helpers"


def results_home() -> Path:
    """Return the folder of the notebooks' findings: SNN_RESULTS_DIR, else `results/` of the project."""
    return Path(os.environ.get("SNN_RESULTS_DIR") or project_root() / "results")


def runs_home() -> Path:
    """Return the folder of training runs: SNN_RUNS_DIR, else `checkpoints/` of the project."""
    return Path(os.environ.get("SNN_RUNS_DIR") or project_root() / "checkpoints")


def logs_home() -> Path:
    """Return the folder of logs: SNN_LOGS_DIR, else `logs/` of the project."""
    return Path(os.environ.get("SNN_LOGS_DIR") or project_root() / "logs")
