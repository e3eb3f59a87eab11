"""MixedSNN: spiking convolutions, and a hidden layer of neurons that forget at different rates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snn_helpers._checks import check_float
from snn_helpers.models.front_end import HIDDEN, convolutions, hidden_layer, num_features, output_layer
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.models.settings import TAU_MAX, TAU_MIN, check_taus
from snn_helpers.neurons import Leaky


class MixedSNN(SpikingNetwork):
    """Spiking network for event frames whose hidden neurons have time constants of their own, from short to long.

    Three times conv 3x3 -> norm -> 2x2 max-pool -> Leaky (16, 32, 32 channels), then fully connected 128 -> norm ->
    Leaky, neuron i with beta[i] = exp(-1 / tau[i]) -> dropout, fully connected `num_classes` -> Leaky. N. Perez-Nieves
    et al., Neural heterogeneity promotes robust learning, Nature Communications 12:5791 (2021).

    Parameters
    ----------
    tau_min, tau_max : float > 0
        Shortest and longest time constant of the hidden neurons, in steps; the others lie between, evenly in their
        logarithms. With "beta" in `learn`, each neuron learns its own.
    beta, threshold, dropout, engine, norm, num_classes, in_channels, image_size, surrogate, learn
        As for `SpikingCNN`.
        `beta` is that of the other layers.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.
    """

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        dropout: float = 0.2,
        engine: str = "auto",
        norm: str = "batch",
        tau_min: float = TAU_MIN,
        tau_max: float = TAU_MAX,
        num_classes: int = 10,
        in_channels: int = 2,
        image_size: int | tuple[int, int] = 34,
        surrogate: str = "fast_sigmoid",
        learn: tuple[str, ...] = (),
    ):
        super().__init__(engine, norm, num_classes, in_channels, image_size)
        numbers = {"beta": beta, "threshold": threshold, "surrogate": surrogate, "learn": learn}
        self.conv1, self.conv2, self.conv3 = convolutions(in_channels, norm, **numbers)
        mixed = Leaky(**numbers | {"beta": spread_betas(tau_min, tau_max, HIDDEN)}, init_hidden=True)
        self.hidden = hidden_layer(num_features(image_size), norm, mixed)
        self.dropout = nn.Dropout(check_float("dropout", dropout, low=0, high=0.999))
        self.output = output_layer(num_classes, **numbers)

    def step(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step: a frame [B, C, H, W] to output spikes and membranes [B, num_classes]."""
        spk = self.conv1(frame)
        spk = self.conv2(spk)
        spk = self.conv3(spk)
        spk = self.hidden(spk.flatten(1))
        return self.output(self.dropout(spk))


def spread_betas(tau_min: float, tau_max: float, count: int) -> Tensor:
    """Return the decays a step, exp(-1 / tau), of time constants evenly spread in their logarithms, [count].

    Raises
    ------
    TypeError, ValueError
        If one is not above zero, or they are in the wrong order.
    """
    check_taus(tau_min, tau_max)
    return torch.exp(-1 / torch.logspace(math.log10(tau_min), math.log10(tau_max), count))
