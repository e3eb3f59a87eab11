"""What the layers of a network do in a call, in the mode that it is in."""

import torch

from snn_helpers.activity.taps import attach
from snn_helpers.engine import Spikes


def watched(model, frames):
    """Return spikes uint8 and membranes [T, B, ...] by layer, and what the model returned."""
    seen = {}

    def on_layer(name, spk, mem, whole):
        assert whole
        spk = spk.count if isinstance(spk, Spikes) else spk
        seen[name] = (spk.detach().to(torch.uint8), mem.detach())

    with torch.no_grad(), attach(model, None, on_layer):
        output = model(frames)
    return seen, output


def layer_spikes(model, frames):
    """Return the spikes alone."""
    return {name: spk for name, (spk, _) in watched(model, frames)[0].items()}
