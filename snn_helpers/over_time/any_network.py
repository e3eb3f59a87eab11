"""What running any network takes, of one step or over time, ours or not: its modes, and frames as it takes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from snn_helpers.over_time.accelerate import OverTime


def frames_for(network: nn.Module, frames: Tensor) -> Tensor:
    """Return event counts as a network takes them: bytes where steps are run over time, else in its weights' type."""
    runner = getattr(network, "over_time", None)
    steps = isinstance(runner, OverTime) and runner.neurons_keep_state
    if frames.is_floating_point() or steps:
        return frames
    kinds = (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())
    return frames.to(next(kinds, torch.get_default_dtype()))


def device_of(network: nn.Module) -> torch.device:
    """Return where a network's weights are."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def kept_modes(network: nn.Module) -> Iterator[None]:
    """Give each module back the mode, train or eval, that it has now."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Have a network in eval mode, and no gradients."""
    with kept_modes(network), torch.no_grad():
        network.eval()
        yield
