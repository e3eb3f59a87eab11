"""Networks of three spiking convolutions and two fully connected layers: all that these have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from snn_helpers._checks import check_float
from snn_helpers.models.network import POOLINGS, SpikingNetwork, frame_size, spiking_layer
from snn_helpers.neurons import Leaky, SpikingNeuron

# For `spiking_layer`, as the gains below: each layer of the untrained network fires at 5 to 10 % of steps (N-MNIST,
# beta = 0.9). For other data and settings there is `balance_firing`.
_NORM_SHIFTS = (-0.27, -0.46, -0.46)


class ConvolutionalNetwork(SpikingNetwork):
    """Base of these networks: a subclass says how wide the layers are, and what the hidden neurons are.

    Three times conv 3x3 -> norm -> 2x2 max-pool -> Leaky, then fully connected -> norm -> hidden neurons -> dropout,
    fully connected `num_classes` -> Leaky.

    Parameters
    ----------
    beta, threshold, dropout, engine, norm, num_classes, in_channels, image_size, surrogate, learn
        As for `SpikingCNN`.
    hidden : callable
        Makes the hidden neurons, of the arguments of `Leaky`.
    copies : int
        How often the hidden neurons see each spike of the last convolution.

    Attributes
    ----------
    channels, num_hidden : tuple of int, int
        Channels of the convolutions; hidden neurons.
    gains : tuple of float
        Of the weights, layer by layer, where there is no normalisation.
    """

    channels: ClassVar = (16, 32, 32)
    num_hidden: ClassVar = 128
    gains: ClassVar = (0.8, 0.8, 0.8, 1.7, 1.6)

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        dropout: float = 0.2,
        engine: str = "auto",
        norm: str = "batch",
        num_classes: int = 10,
        in_channels: int = 2,
        image_size: int | tuple[int, int] = 34,
        surrogate: str = "fast_sigmoid",
        learn: tuple[str, ...] = (),
        *,
        hidden: Callable[..., SpikingNeuron] = Leaky,
        copies: int = 1,
    ):
        super().__init__(engine, norm, num_classes, in_channels, image_size)
        numbers = {"beta": beta, "threshold": threshold, "surrogate": surrogate, "learn": learn, "init_hidden": True}
        has_bias = norm == "none"
        *conv_gains, hidden_gain, output_gain = self.gains

        def convolution(before, after, shift, gain):
            weights = nn.Conv2d(before, after, 3, padding=1, bias=has_bias)
            return spiking_layer(weights, Leaky(**numbers), norm, 2, shift, gain)

        widths = zip((in_channels, *self.channels), self.channels, _NORM_SHIFTS, conv_gains)
        self.conv1, self.conv2, self.conv3 = (convolution(*width) for width in widths)
        width, height = (side // 2**POOLINGS for side in frame_size(image_size))
        neurons = hidden(**numbers)
        weights = nn.Linear(copies * self.channels[-1] * width * height, self.num_hidden, bias=has_bias)
        self.hidden = spiking_layer(weights, neurons, norm, gain=hidden_gain)
        self.dropout = nn.Dropout(check_float("dropout", dropout, low=0, high=0.999))
        weights, neurons = nn.Linear(self.num_hidden, num_classes), Leaky(**numbers, output=True)
        self.output = spiking_layer(weights, neurons, gain=output_gain)

    def step(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step: a frame [B, C, H, W] to output spikes and membranes [B, num_classes]."""
        spk = self.conv1(frame)
        spk = self.conv2(spk)
        spk = self.conv3(spk)
        spk = self.hidden(self.seen(spk).flatten(1))
        return self.output(self.dropout(spk))

    def seen(self, spk: Tensor) -> Tensor:
        """Return what the hidden layer sees of the last convolution's spikes [B, C, H, W] of this step."""
        return spk
