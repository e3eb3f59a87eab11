"""DelayedSNN: spiking convolutions, and a hidden layer that also sees their spikes of some steps before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from snn_helpers.models.convolutional import ConvolutionalNetwork
from snn_helpers.models.settings import DELAYS, parse_delays
from snn_helpers.neurons import Delay


class DelayedSNN(ConvolutionalNetwork):
    """Spiking network for event frames whose hidden neurons see the present and some moments of the past.

    `SpikingCNN` with 16, 32 and 32 channels, whose 128 hidden neurons get the last convolution's spikes as they are and
    as they were some steps before. With `delays="0"` it is the same network without delays.

    Parameters
    ----------
    delays : sequence of int, or text
        Steps by which copies are delayed, all different; as text joined by commas.
    **options
        As for `SpikingCNN`, which names the errors, too.
    """

    def __init__(self, *, delays: str | Sequence[int] = DELAYS, **options: Any):
        delays = parse_delays(delays)
        super().__init__(copies=len(delays), **options)
        self.delay = Delay(delays)

    def seen(self, spk: Tensor) -> Tensor:
        """Return the spikes [B, C, H, W] of this step, and those of some steps before, side by side."""
        return self.delay(spk)
