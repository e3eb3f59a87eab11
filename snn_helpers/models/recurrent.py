"""RecurrentSNN: spiking convolutions, and a hidden layer that is connected to itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from snn_helpers.models.convolutional import ConvolutionalNetwork
from snn_helpers.neurons import RLeaky


class RecurrentSNN(ConvolutionalNetwork):
    """Spiking network for event frames whose hidden neurons hear each other, one step later.

    `SpikingCNN` with 16, 32 and 32 channels, whose 128 hidden neurons are RLeaky: their currents also hold V spk[t-1].

    Parameters
    ----------
    **options
        As for `SpikingCNN`, which names the errors, too.
    """

    def __init__(self, **options: Any):
        super().__init__(hidden=partial(RLeaky, self.num_hidden), **options)
