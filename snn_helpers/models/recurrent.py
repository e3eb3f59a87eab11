"""RecurrentSNN: spiking convolutions, and a hidden layer that is connected to itself."""

from __future__ import annotations

from torch import Tensor, nn

from snn_helpers._checks import check_float
from snn_helpers.models.front_end import HIDDEN, convolutions, hidden_layer, num_features, output_layer
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.neurons import RLeaky


class RecurrentSNN(SpikingNetwork):
    """Spiking network for event frames whose hidden neurons hear each other, one step later.

    Three times conv 3x3 -> norm -> 2x2 max-pool -> Leaky (16, 32, 32 channels), then fully connected 128 -> norm ->
    RLeaky, whose currents also hold V spk[t-1] -> dropout, fully connected `num_classes` -> Leaky.

    Parameters
    ----------
    beta, threshold, dropout, engine, norm, num_classes, in_channels, image_size, surrogate, learn
        As for `SpikingCNN`.

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
        num_classes: int = 10,
        in_channels: int = 2,
        image_size: int | tuple[int, int] = 34,
        surrogate: str = "fast_sigmoid",
        learn: tuple[str, ...] = (),
    ):
        super().__init__(engine, norm, num_classes, in_channels, image_size)
        numbers = {"beta": beta, "threshold": threshold, "surrogate": surrogate, "learn": learn}
        self.conv1, self.conv2, self.conv3 = convolutions(in_channels, norm, **numbers)
        neurons = RLeaky(HIDDEN, **numbers, init_hidden=True)
        self.hidden = hidden_layer(num_features(image_size), norm, neurons)
        self.dropout = nn.Dropout(check_float("dropout", dropout, low=0, high=0.999))
        self.output = output_layer(num_classes, **numbers)

    def step(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step: a frame [B, C, H, W] to output spikes and membranes [B, num_classes]."""
        spk = self.conv1(frame)
        spk = self.conv2(spk)
        spk = self.conv3(spk)
        spk = self.hidden(spk.flatten(1))
        return self.output(self.dropout(spk))
