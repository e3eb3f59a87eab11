"""What a config asks for, built: the network, its loss, its optimiser, its schedule, and the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snn_helpers._checks import check_choice, check_labels
from snn_helpers._plugins import VARIABLE, join_plugins
from snn_helpers.models.network import SpikeOutput
from snn_helpers.models.registry import MODELS
from snn_helpers.over_time import WEIGHTS, is_spiking, over_time
from snn_helpers.training.checkpoint import CheckpointError, load_checkpoint
from snn_helpers.training.config import LOSSES, OWN, TrainConfig

# Connections of neurons among themselves act on every later step. On `motion`, validation loss after four epochs at the
# pace of other weights 0.81, at a tenth 0.78 (`recurrent`, one seed each).
_CONNECTIONS_PACE = 0.1

Criterion = Callable[[SpikeOutput, Tensor], Tensor]


def build_model(config: TrainConfig, geometry: Mapping[str, Any] | None = None) -> nn.Module:
    """Build the untrained network that `config` asks for, its weights drawn from `config.seed`.

    `geometry` is that of a data set, `EventDataset.geometry`; None leaves the network's own defaults.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return over_time(
            MODELS[config.model].build(vars(config), engine=config.engine, **(geometry or {})), config.engine
        )


def load_model(
    path: str | os.PathLike, model: nn.Module | None = None, plugins: str | None = None
) -> tuple[nn.Module, TrainConfig]:
    """Return the trained network of a checkpoint, in eval mode, and the config it was trained with.

    Parameters
    ----------
    path : path
        The checkpoint.
    model : nn.Module or None
        The network, built as it was for training, where it had been handed to `train`.
    plugins : str or None
        Where plugin files are now, if they were moved; see `TrainConfig`.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged or of another network.
    ValueError
        If a plugin that it needs is missing.
    """
    state = load_checkpoint(path)
    config = saved_config(state, plugins)
    model = network_of(config, model, path, state["geometry"])
    load_weights(model, state, path)
    return model.eval(), config


def saved_config(state: dict[str, Any], plugins: str | None = None) -> TrainConfig:
    """Return the config of a checkpoint; plugins that are named here or in the environment are taken from there."""
    found = join_plugins(state["config"].get("plugins"), plugins or os.environ.get(VARIABLE))
    return TrainConfig.from_params({**state["config"], "plugins": found})


def network_of(
    config: TrainConfig,
    model: nn.Module | None,
    path: str | os.PathLike | None = None,
    geometry: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Return the network that a config asks for, or the one that was handed over, to take all steps."""
    if model is None and config.model == OWN:
        what = f"{path}: its network" if path else "`model` is 'own': the network"
        raise CheckpointError(f"{what} is not one of this package's. Build it and hand it over as `model`.")
    if model is not None and config.model != OWN:
        raise CheckpointError(f"{path}: was made with the network {config.model!r}. Leave out `model`.")
    if model is None:
        return build_model(config, geometry)
    model = over_time(model, config.engine)
    if config.engine != "auto" and not hasattr(model, "over_time"):
        raise ValueError(
            f"`engine`: {type(model).__name__} runs by its own loop, whatever is asked for. Leave it out, or hand over "
            "`accelerate(net, engine=...)`."
        )
    return model


def load_weights(model: nn.Module, state: dict[str, Any], path: str | os.PathLike) -> None:
    """Put a checkpoint's weights into a network; one of another network is refused with the keys that differ."""
    ours, theirs = model.state_dict(), state["model"]
    differing = [f"lacks {name}" for name in ours if name not in theirs]
    differing += [f"has {name}" for name in theirs if name not in ours]
    differing += [
        f"{name} is {list(theirs[name].shape)}, not {list(ours[name].shape)}"
        for name in ours
        if name in theirs and theirs[name].shape != ours[name].shape
    ]
    if differing:
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise CheckpointError(f"{path}: holds another network: it {'; '.join(differing[:4])}{more}.")
    model.load_state_dict(theirs)


def loss_function(name: str, threshold: float = 1.0) -> Criterion:
    """Return the loss of `snntorch.functional` called `name`, as loss(output, labels [B]).

    Parameters
    ----------
    name : str
        One of `LOSSES`. Losses on counts and rates read the output spikes, losses on membranes the output membranes.
    threshold : float > 0
        Membranes are given to the loss in units of it: weights, and with them membranes, scale with the threshold.

    Returns
    -------
    callable
        From a `SpikeOutput` and int64 labels [B] to a scalar tensor.
    """
    from snntorch import functional

    check_choice("loss", name, LOSSES)
    loss = getattr(functional, name)()
    reads_mem = "membrane" in name

    def criterion(output: SpikeOutput, labels: Tensor) -> Tensor:
        check_labels(labels, output.spk_rec.shape[-1])
        return loss(output.mem_rec.float() / threshold if reads_mem else output.spk_rec.float(), labels)

    return criterion


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser, its parameters in groups that learn at their own pace.

    Adam moves every parameter by about the learning rate. The weights of normalised layers have no unit. What has the
    threshold's (scales and shifts of normalisations, and the weights after the last one) moves by the learning rate
    times the threshold, so that a low threshold does not make it race; connections of neurons among themselves by a
    tenth of that. The neurons' own numbers are spared weight decay, which would pull them to zero.
    """
    neurons = [module for module in model.modules() if is_spiking(module)]
    numbers = [number for module in neurons for number in module.parameters(recurse=False)]
    scaled, unit = _in_units_of_the_threshold(model), min(threshold_of(config), 1.0)
    connections = [weight for module in neurons for child in module.children() for weight in child.parameters()]
    apart = {id(parameter) for parameter in (*numbers, *scaled, *connections)}
    groups = [
        {"params": [parameter for parameter in model.parameters() if id(parameter) not in apart]},
        {"params": scaled, "lr": config.lr * unit},
        {"params": connections, "lr": _CONNECTIONS_PACE * config.lr * unit},
        {"params": numbers, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    options = {"momentum": 0.9, "nesterov": True} if config.optimizer == "sgd" else {}
    return kinds[config.optimizer](groups, lr=config.lr, weight_decay=config.weight_decay, **options)


def _in_units_of_the_threshold(model: nn.Module) -> list[nn.Parameter]:
    """Return scales and shifts of normalisations and, where there are any, weights that no normalisation follows."""
    found, weights, normalised, inside = [], None, False, set()
    for module in model.modules():  # in the order in which a network is built
        if module in inside:  # connections among neurons
            continue
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            found += module.parameters()
            weights, normalised = None, True
        elif isinstance(module, WEIGHTS):
            weights = module
        elif is_spiking(module):
            found += [] if weights is None else weights.parameters()
            weights, inside = None, inside | {*module.modules()}
    return found if normalised else []


def threshold_of(config: TrainConfig) -> float:
    """Return the threshold that a network's membranes are measured by: its setting of that name, else 1."""
    return getattr(config, "threshold", 1.0)


def make_scheduler(optimizer, config: TrainConfig, steps_per_epoch: int):
    """Return the course of the learning rate, or None. All but "plateau" go forward a step at a time."""
    schedulers = torch.optim.lr_scheduler
    total = config.epochs * steps_per_epoch
    if config.scheduler == "onecycle":
        return schedulers.OneCycleLR(
            optimizer, [group["lr"] for group in optimizer.param_groups], total_steps=total + 1
        )
    if config.scheduler == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, total)
    if config.scheduler == "plateau":  # a step an epoch, on the validation loss
        return schedulers.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    return None


def choose_device(config: TrainConfig) -> torch.device:
    """Return the device, or say which one is missing."""
    name = config.device
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if usable[kind])
    if not usable[name]:
        raise ValueError(f"`--device {name}`: torch sees no such GPU here. Leave the flag out, or take --device cpu.")
    if config.engine in ("cpu", "cuda") and config.engine != name:
        raise ValueError(f"`--engine {config.engine}` does not compute on the device {name}. Take --engine auto.")
    if config.precision != "float32" and name != "cuda":
        raise ValueError(f"`--precision {config.precision}` is for GPUs (--device cuda); here it is {name}.")
    return torch.device(name)
