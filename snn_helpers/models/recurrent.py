"""RecurrentSNN: spiking convolutions, and a hidden layer that is connected to itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from snn_helpers.models.convolutional import ConvolutionalNetwork
from snn_helpers.neurons import RLeaky


class RecurrentSNN(ConvolutionalNetwork):
    """Spiking network for event frames whose hidden neurons hear each other, one step later.

    Three times conv 3x3 -> norm -> 2x2 max-pool -> Leaky (16, 32, 32 channels), then fully connected 128 -> norm ->
    RLeaky, whose currents also hold V spk[t-1] -> dropout, fully connected `num_classes` -> Leaky.

    Parameters
    ----------
    **options
        As for `SpikingCNN`, which names the errors, too.
    """

    def __init__(self, **options: Any):
        super().__init__(hidden=partial(RLeaky, self.num_hidden), **options)
