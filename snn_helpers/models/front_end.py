"""What the networks with a memory of their own have in common: a front end of three convolutions, and an output."""

from __future__ import annotations

from typing import Any

from torch import nn

from snn_helpers.models.network import POOLINGS, frame_size, spiking_layer
from snn_helpers.neurons import Leaky, SpikingNeuron

CHANNELS = (16, 32, 32)
HIDDEN = 128

# For `spiking_layer`, as in `cnn`: each layer of the untrained network fires at 5 to 10 % of steps (N-MNIST, beta =
# 0.9); for other data and settings there is `balance_firing`.
_NORM_SHIFTS = (-0.27, -0.46, -0.46)
_WEIGHT_GAINS = (0.8, 0.8, 0.8)
_HIDDEN_GAIN, _OUTPUT_GAIN = 1.7, 1.6


def convolutions(in_channels: int, norm: str, **numbers: Any) -> list[nn.Sequential]:
    """Build the front end: three times conv 3x3 -> norm -> 2x2 max-pool -> Leaky (16, 32, 32 channels).

    Parameters
    ----------
    in_channels : int
        Polarities of the frames.
    norm : {"batch", "none"}
        As for `spiking_layer`.
    **numbers
        beta, threshold, surrogate and learn of the neurons, as for `Leaky`.
    """
    layers = []
    for before, after, shift, gain in zip((in_channels, *CHANNELS), CHANNELS, _NORM_SHIFTS, _WEIGHT_GAINS):
        weights = nn.Conv2d(before, after, 3, padding=1, bias=norm == "none")
        layers.append(spiking_layer(weights, Leaky(**numbers, init_hidden=True), norm, 2, shift, gain))
    return layers


def num_features(image_size: int | tuple[int, int]) -> int:
    """Return how many neurons the last convolution has, for frames of a size."""
    width, height = (side // 2**POOLINGS for side in frame_size(image_size))
    return CHANNELS[-1] * width * height


def hidden_layer(features: int, norm: str, neurons: SpikingNeuron) -> nn.Sequential:
    """Build the hidden layer: fully connected `HIDDEN` -> norm -> the neurons that make the network what it is."""
    return spiking_layer(nn.Linear(features, HIDDEN, bias=norm == "none"), neurons, norm, gain=_HIDDEN_GAIN)


def output_layer(num_classes: int, **numbers: Any) -> nn.Sequential:
    """Build the output: fully connected `num_classes` -> Leaky, of which spikes and membranes are the answer."""
    neurons = Leaky(**numbers, init_hidden=True, output=True)
    return spiking_layer(nn.Linear(HIDDEN, num_classes), neurons, gain=_OUTPUT_GAIN)
