"""A trained network for a notebook that needs one: named, left by notebook 06, or trained for a moment."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_helpers.lessons.results import read_results
from snn_helpers.training.config import TrainConfig

if TYPE_CHECKING:
    from torch import nn


def trained_network(
    checkpoint: str | None, asked: Mapping[str, Any], short: Mapping[str, Any]
) -> tuple[Path, TrainConfig, str]:
    """Find a trained network, or train one.

    Parameters
    ----------
    checkpoint : path or None
        Of a training run; None takes what notebook 06 left, if it is of the data asked for.
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
        path, words = _left_by_training(asked["dataset"]), "the network that notebook 06 left"
    if path is None:
        path = train(TrainConfig(**{**asked, **short})).paths["best"]
        words = "a network trained here for a moment, since notebook 06 has left none that fits"
    config = TrainConfig.from_params(load_checkpoint(path)["config"])
    passes = f"{config.epochs} epoch" + "s" * (config.epochs != 1)
    words += f": {config.model}, {config.dataset}, T = {config.time_steps}, {passes}, seed {config.seed}"
    return Path(path), config, words


def _left_by_training(dataset: str | None) -> Path | None:
    from snn_helpers.training.checkpoint import CheckpointError, load_checkpoint

    left = read_results("06_training")
    if left is None:
        return None
    path = Path(left["facts"]["checkpoint"])
    try:
        config = load_checkpoint(path)["config"]
    except CheckpointError:  # deleted since, or written by another version
        return None
    return path if dataset in (None, config["dataset"]) else None


def network_to_look_inside(
    checkpoint: str | None, asked: Mapping[str, Any], tune: Mapping[str, Any], short: Mapping[str, Any]
) -> tuple[nn.Module, TrainConfig, str]:
    """Return a trained network that answers after many time steps, which its rasters need.

    Parameters
    ----------
    checkpoint : path or None
        Of a training run: its network as it is. None takes the pretrained SpikingCNN where the data are N-MNIST's or
        their simulation, and trains it further on frames that are shorter than those that it learned from; for other
        data see `trained_network`.
    asked : mapping
        "profile", "dataset", "data_dir" and "seed" of `TrainConfig`, None where nothing was asked for.
    tune : mapping
        Settings of that further training; none leave the pretrained network as it is.
    short : mapping
        Settings of the network to train where there is none.

    Returns
    -------
    model : nn.Module
        In eval mode.
    config : TrainConfig
        What it was trained with last.
    words : str
        Where it comes from, for the reader.
    """
    from snn_helpers.models.cnn import SpikingCNN
    from snn_helpers.training.build import load_model
    from snn_helpers.training.loop import train

    config = TrainConfig(**asked).resolve()
    if checkpoint is None and config.dataset in ("simulated", "nmnist"):
        model = SpikingCNN.pretrained()
        if not tune:
            return model, TrainConfig(**asked, time_steps=model.card.time_steps).resolve(), "the pretrained SpikingCNN"
        config = TrainConfig(model="own", **asked, **tune).resolve()
        train(config, model=model)
        words = f"the pretrained SpikingCNN (T = {model.card.time_steps}), "
        words += f"trained for one more epoch with T = {config.time_steps}, seed {config.seed}"
        return model.eval(), config, words
    path, config, words = trained_network(checkpoint, asked, short)
    return load_model(path)[0], config, words


def network_to_measure(
    checkpoint: str | None, asked: Mapping[str, Any], short: Mapping[str, Any]
) -> tuple[nn.Module, TrainConfig, str]:
    """Return a trained network as `network_to_look_inside` does, the pretrained one as it is."""
    return network_to_look_inside(checkpoint, asked, {}, short)


def faulty_copy(model: nn.Module, layer: str) -> nn.Module:
    """Return a copy of a network in which one number of one layer is wrong by a factor of a hundred.

    For an exercise in diagnosis: `layer` is one of `model.spiking_layers()`, and the number is its threshold.
    """
    copied = copy.deepcopy(model)
    neurons = copied.get_submodule(layer).neurons
    neurons.threshold = 100 * neurons.number("threshold")
    return copied
