"""Sweeps of this project's notebooks: runs as `batch` knows them, parameters as `TrainConfig` knows them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from snn_helpers._paths import imported_folder, user_path
from snn_helpers._plugins import load_plugins
from snn_helpers._settings import KINDS, kind_of
from snn_helpers.batch import Rules, SweepPlan, Workers, run_sweep
from snn_helpers.batch.plan import digest_of_files
from snn_helpers.models.registry import MODELS
from snn_helpers.training.config import PROFILE_VARIABLE, TrainConfig


def training_rules() -> Rules:
    """Return what `TrainConfig` and the settings of the networks say about parameters of their names."""
    TrainConfig.names()  # loads the plugins of the environment
    classes = [*(entry.settings for entry in MODELS.values()), TrainConfig]
    kinds = {item.name: KINDS[kind_of(item)] for cls in classes for item in fields(cls)}
    private = [item.name for item in fields(TrainConfig) if item.metadata["scope"] == "call" and item.metadata["path"]]
    return Rules(kinds, _config_of, _data_of, tuple(private))


def _config_of(values: Mapping[str, Any]) -> TrainConfig:
    names = TrainConfig.names(values.get("plugins"))
    known = {name: value for name, value in values.items() if name in names}
    # A default that the notebook computes is not known before it runs.
    known = {name: value for name, value in known.items() if value is None or isinstance(value, int | float | str)}
    return TrainConfig.from_params(known)


def _data_of(values: Mapping[str, Any]) -> str:
    """Say what a run reads: profile, data set, plugins, and of a folder the names and sizes of its recordings."""
    asked = [values.get(name) for name in ("profile", "dataset", "data_dir")]
    paths = [Path(name) for name in (load_plugins(values.get("plugins")) or "").split(",") if name]
    plugins = digest_of_files({path.name: path for path in paths}) if paths else ""
    return " ".join(filter(None, (_source(*asked, os.environ.get(PROFILE_VARIABLE)), plugins)))


@cache
def _source(profile: str | None, dataset: str | None, data_dir: str | None, _: str | None) -> str:
    config = TrainConfig(profile=profile, dataset=dataset, data_dir=data_dir).resolve()
    files = ""
    if config.dataset == "nmnist" and config.data_dir:
        files = _listing(os.path.abspath(config.data_dir))
    elif folder := imported_folder(str(config.dataset)):
        files = _manifests(folder)
    return " ".join(filter(None, (config.profile, config.dataset, files)))


def _manifests(folder: Path) -> str:
    """Return what the manifests of an imported data set come to: they hold the checksums of all its arrays."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*/manifest.json")))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _listing(folder: str) -> str:
    root = Path(folder)
    files = sorted((str(path.relative_to(root)), path.stat().st_size) for path in root.rglob("*.bin"))
    return f"{len(files)} recordings, {hashlib.sha256(repr(files).encode()).hexdigest()[:12]}"


def sweep(
    notebook: str | os.PathLike,
    grid: Mapping[str, Any],
    out: str | os.PathLike | None = None,
    *,
    jobs: int = 1,
    fixed: Mapping[str, Any] | None = None,
    retry: tuple[str, ...] = (),
    **plan: Any,
) -> dict[str, dict[str, Any]]:
    """Run a notebook over a grid of its parameters; what is in the ledger already is not run again.

    Parameters
    ----------
    notebook : path
        The notebook.
    grid : dict
        Parameter to values, a list or a text such as "0.8,0.9" or "0..4".
    out : path or None
        Folder of the sweep; None takes one made from the plan.
    jobs : int
        Runs side by side.
    fixed : dict or None
        Parameters that are the same in all runs.
    retry : tuple of str
        Run those again that ended so: "failed", "timeout", "killed".
    **plan
        `search`, `trials`, `search_seed`, `metric`, `direction` of `batch.SweepPlan`.

    Returns
    -------
    dict
        {id: row of the ledger} of every run.

    Raises
    ------
    ValueError, TypeError
        If a parameter is unknown, or a value of the wrong type or out of range; nothing is run then.
    """
    asked = SweepPlan(user_path(notebook), grid, fixed or {}, **plan)
    return run_sweep(asked, user_path(out) if out else None, Workers(jobs), training_rules(), retry)
