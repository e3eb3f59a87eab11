"""MixedSNN: spiking convolutions, and a hidden layer of neurons that forget at different rates."""

from __future__ import annotations

import math
from typing import Any

import torch

from snn_helpers.models.convolutional import ConvolutionalNetwork
from snn_helpers.models.settings import TAU_MAX, TAU_MIN, check_taus
from snn_helpers.neurons import Leaky


class MixedSNN(ConvolutionalNetwork):
    """Spiking network for event frames whose hidden neurons have time constants of their own, from short to long.

    `SpikingCNN` with 16, 32 and 32 channels and 128 hidden neurons, of which neuron i has beta[i] = exp(-1 / tau[i]).
    N. Perez-Nieves et al., Neural heterogeneity promotes robust learning, Nature Communications 12:5791 (2021).

    Parameters
    ----------
    tau_min, tau_max : float > 0
        Shortest and longest time constant of the hidden neurons, in steps; the others lie between, evenly in their
        logarithms. With "beta" in `learn`, each neuron learns its own.
    **options
        As for `SpikingCNN`, which names the errors, too; `beta` is that of the other layers.
    """

    def __init__(self, *, tau_min: float = TAU_MIN, tau_max: float = TAU_MAX, **options: Any):
        check_taus(tau_min, tau_max)
        betas = torch.exp(-1 / torch.logspace(math.log10(tau_min), math.log10(tau_max), self.num_hidden))
        super().__init__(hidden=lambda **numbers: Leaky(**numbers | {"beta": betas}), **options)
