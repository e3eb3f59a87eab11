"""From raw event-camera recordings to trained, understood spiking networks."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from snn_helpers._paths import keep_kernels

# OpenMP's threads spin while they wait, unless told otherwise before torch loads them. On a machine that has other work
# (another notebook, a test run) spinning made small training steps up to ten times slower; on an idle one it gains
# nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
keep_kernels()

if TYPE_CHECKING:
    from snn_helpers._settings import setting as setting
    from snn_helpers.activity import diagnose as diagnose
    from snn_helpers.activity import record as record
    from snn_helpers.data import load_dataset as load_dataset
    from snn_helpers.data import register_source as register_source
    from snn_helpers.engine import register_surrogate as register_surrogate
    from snn_helpers.events.convert import to_events as to_events
    from snn_helpers.events.read import read_events as read_events
    from snn_helpers.events.video import read_video as read_video
    from snn_helpers.events.video import simulate_events as simulate_events
    from snn_helpers.exchange.nir import from_nir as from_nir
    from snn_helpers.exchange.nir import to_nir as to_nir
    from snn_helpers.exchange.onnx import export_step as export_step
    from snn_helpers.exchange.onnx import to_onnx as to_onnx
    from snn_helpers.exchange.quantise import quantisation_aware as quantisation_aware
    from snn_helpers.exchange.quantise import quantise as quantise
    from snn_helpers.exchange.stream import stream as stream
    from snn_helpers.models.cnn import SpikingCNN as SpikingCNN
    from snn_helpers.models.delayed import DelayedSNN as DelayedSNN
    from snn_helpers.models.firing import balance_firing as balance_firing
    from snn_helpers.models.mixed import MixedSNN as MixedSNN
    from snn_helpers.models.recurrent import RecurrentSNN as RecurrentSNN
    from snn_helpers.models.registry import register_model as register_model
    from snn_helpers.models.resnet import SpikingResNet as SpikingResNet
    from snn_helpers.neurons import ALIF as ALIF
    from snn_helpers.neurons import Delay as Delay
    from snn_helpers.neurons import Leaky as Leaky
    from snn_helpers.neurons import RLeaky as RLeaky
    from snn_helpers.neurons import SpikingNeuron as SpikingNeuron
    from snn_helpers.neurons import Synaptic as Synaptic
    from snn_helpers.neurons import register_neuron as register_neuron
    from snn_helpers.over_time import accelerate as accelerate
    from snn_helpers.training.build import load_model as load_model
    from snn_helpers.training.config import TrainConfig as TrainConfig
    from snn_helpers.training.loop import Splits as Splits
    from snn_helpers.training.loop import train as train

__version__ = "0.1.0"

# What is public, and the module that brings it; loaded on first use, so that the import itself costs nothing.
_HOMES = {
    "accelerate": "over_time",
    "load_dataset": "data",
    "register_source": "data",
    "read_events": "events.read",
    "read_video": "events.video",
    "simulate_events": "events.video",
    "to_events": "events.convert",
    "SpikingCNN": "models.cnn",
    "SpikingResNet": "models.resnet",
    "RecurrentSNN": "models.recurrent",
    "DelayedSNN": "models.delayed",
    "MixedSNN": "models.mixed",
    "balance_firing": "models.firing",
    "Leaky": "neurons",
    "Synaptic": "neurons",
    "ALIF": "neurons",
    "RLeaky": "neurons",
    "Delay": "neurons",
    "SpikingNeuron": "neurons",
    "register_model": "models.registry",
    "register_neuron": "neurons",
    "register_surrogate": "engine",
    "setting": "_settings",
    "TrainConfig": "training.config",
    "Splits": "training.loop",
    "train": "training.loop",
    "load_model": "training.build",
    "stream": "exchange.stream",
    "to_nir": "exchange.nir",
    "from_nir": "exchange.nir",
    "quantise": "exchange.quantise",
    "quantisation_aware": "exchange.quantise",
    "to_onnx": "exchange.onnx",
    "export_step": "exchange.onnx",
    "record": "activity",
    "diagnose": "activity",
}

__all__ = [*_HOMES]


if not TYPE_CHECKING:  # a type checker knows the names from above, and may call others unknown

    def __getattr__(name: str):
        if name not in _HOMES:
            raise AttributeError(f"module 'snn_helpers' has no attribute {name!r}; it has {', '.join(_HOMES)}")
        return getattr(importlib.import_module(f"snn_helpers.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
