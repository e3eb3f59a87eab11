"""What a network is made of, read off the module itself, for drawings and tables."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from snn_helpers.activity.measures import firing_rates
from snn_helpers.activity.recording import record
from snn_helpers.models.network import SpikingNetwork


class LayerRow(NamedTuple):
    """One layer: name, shape of one step, its parameters, its spikes a neuron and step (None for the input).

    `joined_by` names the layer whose spikes a skip brings here, if there is one.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    spike_fraction: float | None
    joined_by: str | None = None


class _Skips:
    """Goes a network's route with names in place of spikes, and notes which layer's join another's."""

    def __init__(self):
        self.joined: dict[str, str] = {}

    def conv(self, name: str, spk: str, pool: int = 1, skip: str | None = None) -> str:
        if skip is not None:
            self.joined[name] = skip
        return name

    def full(self, name: str, spk: str) -> str:
        return name

    def add(self, first: str, second: str) -> str:
        self.joined[first] = second
        return first

    def drop(self, spk: str, keep: None) -> str:
        return spk


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
        "name", "shape", "parameters", "spike_fraction", "joined_by"; the input first.
    """
    recording = record(model, frames, what=("spk",))
    rates, skips = firing_rates(recording.spk), _Skips()
    model.route(skips, "events", None)
    rows = [LayerRow("events", tuple(frames.shape[2:]), 0, None)]
    for name, layer in model.spiking_layers().items():
        parameters = sum(p.numel() for part in layer for p in part.parameters())
        shape, fraction = recording.spk[name].shape[2:], rates[name].spike_fraction
        rows.append(LayerRow(name, shape, parameters, fraction, skips.joined.get(name)))
    return [row._asdict() for row in rows]
