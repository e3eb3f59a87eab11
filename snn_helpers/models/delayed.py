"""DelayedSNN: spiking convolutions, and a hidden layer that also sees their spikes of some steps before."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from snn_helpers._checks import check_float
from snn_helpers.models.front_end import convolutions, hidden_layer, num_features, output_layer
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.models.settings import DELAYS, parse_delays
from snn_helpers.neurons import Delay, Leaky


class DelayedSNN(SpikingNetwork):
    """Spiking network for event frames whose hidden neurons see the present and some moments of the past.

    Three times conv 3x3 -> norm -> 2x2 max-pool -> Leaky (16, 32, 32 channels), then their spikes as they are and as
    they were some steps before, fully connected 128 -> norm -> Leaky -> dropout, fully connected `num_classes` ->
    Leaky. With `delays="0"` it is the same network without delays.

    Parameters
    ----------
    delays : sequence of int, or text
        Steps by which copies are delayed, all different; as text joined by commas.
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
        delays: str | Sequence[int] = DELAYS,
        num_classes: int = 10,
        in_channels: int = 2,
        image_size: int | tuple[int, int] = 34,
        surrogate: str = "fast_sigmoid",
        learn: tuple[str, ...] = (),
    ):
        super().__init__(engine, norm, num_classes, in_channels, image_size)
        numbers = {"beta": beta, "threshold": threshold, "surrogate": surrogate, "learn": learn}
        self.conv1, self.conv2, self.conv3 = convolutions(in_channels, norm, **numbers)
        self.delay = Delay(parse_delays(delays))
        features = len(self.delay.delays) * num_features(image_size)
        self.hidden = hidden_layer(features, norm, Leaky(**numbers, init_hidden=True))
        self.dropout = nn.Dropout(check_float("dropout", dropout, low=0, high=0.999))
        self.output = output_layer(num_classes, **numbers)

    def step(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step: a frame [B, C, H, W] to output spikes and membranes [B, num_classes]."""
        spk = self.conv1(frame)
        spk = self.conv2(spk)
        spk = self.conv3(spk)
        spk = self.hidden(self.delay(spk).flatten(1))
        return self.output(self.dropout(spk))
