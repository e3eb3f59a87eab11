"""What a type checker sees of the public names; mypy reads this file (`make lint`), nothing runs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch
from torch import Tensor, nn

import snn_helpers
from snn_helpers import (
    ALIF,
    Delay,
    DelayedSNN,
    Leaky,
    MixedSNN,
    RecurrentSNN,
    RLeaky,
    SpikingCNN,
    SpikingNeuron,
    SpikingResNet,
    Splits,
    Synaptic,
    TrainConfig,
    accelerate,
    balance_firing,
    diagnose,
    export_step,
    from_nir,
    load_dataset,
    load_model,
    quantisation_aware,
    quantise,
    read_events,
    read_video,
    record,
    register_model,
    register_neuron,
    register_source,
    register_surrogate,
    setting,
    simulate_events,
    stream,
    to_events,
    to_nir,
    to_onnx,
    train,
)
from snn_helpers.activity import Diagnosis, Recording
from snn_helpers.data import EventDataset
from snn_helpers.exchange.quantise import Quantised
from snn_helpers.exchange.stream import Stream
from snn_helpers.models.network import SpikeOutput
from snn_helpers.over_time.accelerate import Accelerated
from snn_helpers.training.loop import TrainResult
from snn_helpers.widgets import ActivityExplorer, EmbeddingExplorer, EventPlayer, NeuronLab, SweepTable, TrainingMonitor

_ = snn_helpers.SpikingCN  # type: ignore[attr-defined]  # a misspelt name is found: else this comment would be unused

ds = load_dataset("simulated", split="train")
assert_type(ds, EventDataset)
assert_type(ds.events(0), np.ndarray)
assert_type(ds.subset([0, 1]), EventDataset)
assert_type(to_events(x=[1], y=[1], t=[1], p=[1]), np.ndarray)
assert_type(read_events(Path("a.aedat4")), np.ndarray)
assert_type(simulate_events(*read_video("a.gif")), np.ndarray)

model = SpikingCNN(beta=0.9, threshold=1.0)
frames = torch.zeros(25, 2, 2, 34, 34)
assert_type(model, SpikingCNN)
assert_type(model(frames), SpikeOutput)
assert_type(model(frames).spk_rec, Tensor)
assert_type(SpikingResNet.pretrained(), SpikingResNet)
assert_type(balance_firing(model, frames), dict[str, float])

result = train(TrainConfig(model="cnn", epochs=4), splits=Splits(ds, ds, ds))
assert_type(result, TrainResult)
assert_type(result.history, list[dict[str, float]])
assert_type(load_model(result.paths["best"]), tuple[nn.Module, TrainConfig])

net = nn.Sequential(
    nn.Linear(4, 4), Leaky(0.9, init_hidden=True), Synaptic(0.5, 0.9), ALIF(0.9), Delay((0, 2)), RLeaky(8)
)
networks = [RecurrentSNN(), DelayedSNN(delays=(0, 4)), MixedSNN(tau_max=8.0)]
assert_type(accelerate(net), Accelerated)
assert_type(accelerate(net).explain(), str)
assert_type(record(model, frames), Recording)
assert_type(record(model, frames).spk, dict[str, np.ndarray])
assert_type(diagnose(model, (frames, torch.zeros(2))), Diagnosis)

assert_type(stream(net), Stream)
assert_type(quantise(net, bits=8), Quantised)
assert_type(quantisation_aware(net, bits=4), nn.Module)
assert_type(export_step(net, (2, 34, 34))[1], list[str])
assert_type(to_onnx(net, (2, 34, 34), "step.onnx"), list[str])
assert_type(from_nir(to_nir(net, sample_shape=(2, 34, 34))), nn.Module)

widgets = [EventPlayer(ds.events(0)), NeuronLab(), TrainingMonitor(), SweepTable("runs/a")]
explorers = [ActivityExplorer(frames, {"hidden": frames}), EmbeddingExplorer(np.zeros((3, 2)))]
assert_type(EventPlayer(ds.events(0)).state, dict[str, Any])
register_surrogate("own", lambda v, slope: v, 1.0)


@dataclass(frozen=True)
class Settings:
    beta: float = setting(0.9, "decay of the membranes", scope="model", low=0, high=1)


@register_model("own", Settings)
class OwnNetwork(nn.Module):
    pass


@register_neuron
class Own(SpikingNeuron):
    pass


@register_source("own")
def own(data_dir: Any, split: str) -> EventDataset:
    return ds


assert_type(Own({}), Own)
assert_type(OwnNetwork(), OwnNetwork)
