"""SpikingCNN: three spiking convolutions and two fully connected spiking layers."""

from __future__ import annotations

from torch import Tensor, nn

from snn_helpers._checks import check_float
from snn_helpers.models.network import SpikingNetwork, frame_size, spiking_layer
from snn_helpers.neurons import Leaky

CHANNELS = (32, 64, 128)
HIDDEN = 256

# For `spiking_layer`: each layer of the untrained network fires at 5 to 10 % of steps (N-MNIST, beta = 0.9). For other
# data and settings there is `balance_firing`.
_NORM_SHIFTS = {"conv1": -0.27, "conv2": -0.46, "conv3": -0.46, "hidden": 0.0, "output": 0.0}
_WEIGHT_GAINS = {"conv1": 0.9, "conv2": 0.8, "conv3": 0.7, "hidden": 1.9, "output": 1.6}


class SpikingCNN(SpikingNetwork):
    """Convolutional spiking network for event frames.

    Three times conv 3x3 -> norm -> 2x2 max-pool -> Leaky (32, 64, 128 channels), then fully connected 256 -> norm ->
    Leaky -> dropout, fully connected `num_classes` -> Leaky.

    Parameters
    ----------
    beta : float in [0, 1]
        Decay of the membranes per step, exp(-dt / tau).
    threshold : float > 0
        Firing threshold of all neurons.
    dropout : float in [0, 1)
        Share of the hidden layer's spikes dropped in training, each step on its own.
    engine : {"auto", "snntorch", "cpu", "cuda"}
        What computes the layers. "snntorch" loops over snnTorch's neurons; "cpu" is event-driven; "auto" takes the
        fastest for the device of the weights, and `model.engine` says what that is.
    norm : {"batch", "none"}
        "batch": batch normalisation over time and batch, which therefore sees whole recordings: layer by layer.
    num_classes : int
        Output neurons.
    in_channels : int
        Polarities of the frames.
    image_size : int or (W, H)
        Pixels of the frames; one number for a square.
    surrogate : {"fast_sigmoid", "compact"}
        Gradient of a spike; "compact" is zero far from the threshold, which makes the backward pass faster and the
        gradients different.
    learn : tuple of str
        What each layer of neurons learns beside the weights, one number a layer: of "beta" and "threshold".

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.
    """

    pretrained_name = "cnn"

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

        def layer(name, weights, pool=1, norm=norm, output=False):
            neurons = Leaky(beta, threshold, surrogate=surrogate, learn=learn, init_hidden=True, output=output)
            return spiking_layer(weights, neurons, norm, pool, _NORM_SHIFTS[name], _WEIGHT_GAINS[name])

        def conv(name, before, after):
            return layer(name, nn.Conv2d(before, after, 3, padding=1, bias=norm == "none"), pool=2)

        first, second, third = CHANNELS
        width, height = (side // 2 ** len(CHANNELS) for side in frame_size(image_size))
        self.conv1 = conv("conv1", in_channels, first)
        self.conv2 = conv("conv2", first, second)
        self.conv3 = conv("conv3", second, third)
        self.hidden = layer("hidden", nn.Linear(third * width * height, HIDDEN, bias=norm == "none"))
        self.dropout = nn.Dropout(check_float("dropout", dropout, low=0, high=0.999))
        self.output = layer("output", nn.Linear(HIDDEN, num_classes), norm="none", output=True)

    def step(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step: a frame [B, C, H, W] to output spikes and membranes [B, num_classes]."""
        spk = self.conv1(frame)
        spk = self.conv2(spk)
        spk = self.conv3(spk)
        spk = self.hidden(spk.flatten(1))
        return self.output(self.dropout(spk))
