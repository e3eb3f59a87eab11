"""What a network is made of, read off the module itself, for drawings and tables."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snn_helpers.activity.measures import firing_rates
from snn_helpers.activity.recording import record
from snn_helpers.over_time import INPUT, layer_name, runner_of


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
        "name"; "shape" of one step; number of "parameters"; "spike_fraction", spikes a neuron and step; "joined_by",
        the layer whose spikes a skip brings here, or None. The input comes first, its spike fraction None.
    """
    recording = record(model, frames, what=("spk",))
    rates = firing_rates(recording.spk)
    rows: list[tuple[Any, ...]] = [(INPUT, tuple(frames.shape[2:]), 0, None, None)]
    for name, drive in runner_of(model).drives(frames).items():
        modules = (model.get_submodule(path) for path in (drive.weights, drive.norm, drive.neurons) if path)
        parameters = sum(p.numel() for module in modules for p in module.parameters())
        joined_by = None if drive.joined_by is None else layer_name(drive.joined_by)
        rows.append((name, recording.spk[name].shape[2:], parameters, rates[name].spike_fraction, joined_by))
    return [dict(zip(("name", "shape", "parameters", "spike_fraction", "joined_by"), row)) for row in rows]
