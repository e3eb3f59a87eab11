"""A trained network for a notebook that needs one: named, left by notebook 05, or trained for a moment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn_helpers.lessons.results import read_results
from snn_helpers.training.config import TrainConfig


def trained_network(
    checkpoint: str | None, asked: Mapping[str, Any], short: Mapping[str, Any]
) -> tuple[Path, TrainConfig, str]:
    """Find a trained network, or train one.

    Parameters
    ----------
    checkpoint : path or None
        Of a training run; None takes what notebook 05 left, if it is of the data asked for.
    asked : mapping
        "profile", "dataset", "data_dir" and "seed" of `TrainConfig`, None where nothing was asked for.
    short : mapping
        Settings of the network to train where there is none.

    Returns
    -------
    checkpoint : Path
        Of the network.
    config : TrainConfig
        What it was trained with.
    words : str
        Where it comes from, for the reader.
    """
    from snn_helpers.training.checkpoint import load_checkpoint
    from snn_helpers.training.loop import train

    path, words = checkpoint, "the checkpoint named by the parameter"
    if path is None:
        path, words = _left_by_training(asked["dataset"]), "the network that notebook 05 left"
    if path is None:
        path = train(TrainConfig(**{**asked, **short})).paths["best"]
        words = "a network trained here for a moment, since notebook 05 has left none that fits"
    config = TrainConfig.from_params(load_checkpoint(path)["config"])
    words += f": {config.model}, {config.dataset}, T = {config.time_steps}, {config.epochs} epochs, seed {config.seed}"
    return Path(path), config, words


def _left_by_training(dataset: str | None) -> Path | None:
    from snn_helpers.training.checkpoint import CheckpointError, load_checkpoint

    left = read_results("05_training")
    if left is None:
        return None
    path = Path(left["facts"]["checkpoint"])
    try:
        config = load_checkpoint(path)["config"]
    except CheckpointError:  # deleted since, or written by another version
        return None
    return path if dataset in (None, config["dataset"]) else None
