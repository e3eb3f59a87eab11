"""The networks by name: each a module and a frozen dataclass of its settings, registered in one line."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from snn_helpers._checks import register
from snn_helpers._settings import check_class, check_settings, names_of, split_names
from snn_helpers.models.settings import CNNSettings, DelayedSettings, MixedSettings, ResNetSettings


class RegisteredModel(NamedTuple):
    """A network's settings, and its class or where that is, "module:Class", so that flags do not load torch."""

    settings: type
    network: Any

    def build(self, settings: Mapping[str, Any], **given: Any):
        """Build the network; of `given`, which a run knows, it gets what its constructor takes."""
        network = self.network
        if isinstance(network, str):
            module, _, name = network.partition(":")
            network = getattr(importlib.import_module(module), name)
        takes = _takes(network)
        return network(**self.arguments(settings), **{name: value for name, value in given.items() if name in takes})

    def arguments(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of a config the network's constructor takes, by name."""
        values = {name: settings[name] for name in names_of(self.settings)}
        for name, field in self.settings.__dataclass_fields__.items():
            if field.metadata["names"]:
                values[name] = split_names(values[name])
        return values


T = TypeVar("T")
MODELS: dict[str, RegisteredModel] = {}


def register_model(name: str, settings: type, network: Any = None) -> Callable[[T], T]:
    """Add a network to what can be trained: a decorator of its class, or a call with it.

    From then on it is a choice of `--model` and of `TrainConfig(model=...)`, and its settings are flags, parameters and
    attributes of the config, checked and kept in checkpoints as all others are.

    Parameters
    ----------
    name : str
        How it is asked for.
    settings : type
        A frozen dataclass of `snn_helpers.setting` fields, whose names are those of the constructor's arguments.
    network : type, str or None
        The class, or "module:Class"; None where it is used as a decorator. One time step of a network whose neurons
        keep their state, or a module that takes frames [T, B, C, H, W] and answers (spk_rec, mem_rec), each
        [T, B, classes]. Its constructor gets the settings and, where it names them, `num_classes`, `in_channels` and
        `image_size` (pixels of a square, else (W, H)) of the data.

    Raises
    ------
    TypeError, ValueError
        If the name is taken, a field of the settings is no `setting`, or its default is out of its range.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from torch import nn
    >>> from snn_helpers import Leaky, register_model, setting
    >>> @dataclass(frozen=True)
    ... class Settings:
    ...     beta: float = setting(0.9, "decay of the membranes", scope="model", low=0, high=1)
    >>> @register_model("perceptron", Settings)  # doctest: +SKIP
    ... class Perceptron(nn.Sequential):
    ...     def __init__(self, beta=0.9):
    ...         neurons = Leaky(beta, init_hidden=True, output=True)
    ...         super().__init__(nn.Flatten(), nn.Linear(2 * 34 * 34, 10), neurons)
    """
    check_settings(check_class(settings)())

    def enter(cls: Any) -> Any:
        register(MODELS, name, RegisteredModel(settings, cls), _definition)
        return cls

    return enter if network is None else enter(network)


def _takes(network: type) -> set[str]:
    """Return the names of a constructor's arguments: its own and, where it takes **options, those of its base."""
    names: set[str] = set()
    for cls in network.__mro__:
        parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
        names |= parameters.keys()
        if all(item.kind is not item.VAR_KEYWORD for item in parameters.values()):
            break
    return names


def _definition(entry: RegisteredModel) -> Any:
    return entry.settings if isinstance(entry.network, str) else entry.network


register_model("cnn", CNNSettings, "snn_helpers.models.cnn:SpikingCNN")
register_model("resnet", ResNetSettings, "snn_helpers.models.resnet:SpikingResNet")
register_model("recurrent", CNNSettings, "snn_helpers.models.recurrent:RecurrentSNN")
register_model("delayed", DelayedSettings, "snn_helpers.models.delayed:DelayedSNN")
register_model("mixed", MixedSettings, "snn_helpers.models.mixed:MixedSNN")
