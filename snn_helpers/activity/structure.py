"""What a network is made of, read off the module itself, for drawings and tables."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from snn_helpers.activity.measures import firing_rates
from snn_helpers.activity.recording import record
from snn_helpers.models.network import SpikingNetwork


class LayerRow(NamedTuple):
    """One layer: name, shape of one step, its parameters, its spikes a neuron and step (None for the input)."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    spike_fraction: float | None


def network_rows(model: SpikingNetwork, frames: Tensor) -> list[dict]:
    """Describe a network of ours and its input, as `plots.network` draws it.

    Parameters
    ----------
    model : SpikingNetwork
        Its own layers and parameters are read, and its activity on the frames.
    frames : Tensor [T, B, P, H, W]
        A few recordings.

    Returns
    -------
    list of dict
        "name", "shape", "parameters", "spike_fraction"; the input first.
    """
    recording = record(model, frames, what=("spk",))
    rates = firing_rates(recording.spk)
    rows = [LayerRow("events", tuple(frames.shape[2:]), 0, None)]
    for name, layer in model.spiking_layers().items():
        parameters = sum(p.numel() for part in layer for p in part.parameters())
        rows.append(LayerRow(name, recording.spk[name].shape[2:], parameters, rates[name].spike_fraction))
    return [row._asdict() for row in rows]
