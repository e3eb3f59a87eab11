"""What a network is made of, read off the module itself, for drawings and tables."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from snn_helpers.activity.measures import firing_rates
from snn_helpers.activity.recording import record
from snn_helpers.over_time import INPUT, layer_name, runner_of


class LayerRow(NamedTuple):
    """One layer: name, shape of one step, its parameters, its spikes a neuron and step (None for the input).

    `joined_by` names the layer whose spikes a skip brings here, if there is one.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    spike_fraction: float | None
    joined_by: str | None = None


def network_rows(model: nn.Module, frames: Tensor) -> list[dict]:
    """Describe a network and its input, as `plots.network` draws it.

    Parameters
    ----------
    model : nn.Module
        Its layers and parameters are read, and its activity on the frames.
    frames : Tensor [T, B, P, H, W]
        A few recordings.

    Returns
    -------
    list of dict
        "name", "shape", "parameters", "spike_fraction", "joined_by"; the input first.
    """
    recording = record(model, frames, what=("spk",))
    rates = firing_rates(recording.spk)
    rows = [LayerRow(INPUT, tuple(frames.shape[2:]), 0, None)]
    for name, drive in runner_of(model).drives(frames).items():
        modules = (model.get_submodule(path) for path in (drive.weights, drive.norm, drive.neurons) if path)
        parameters = sum(p.numel() for module in modules for p in module.parameters())
        joined_by = None if drive.joined_by is None else layer_name(drive.joined_by)
        rows.append(LayerRow(name, recording.spk[name].shape[2:], parameters, rates[name].spike_fraction, joined_by))
    return [row._asdict() for row in rows]
