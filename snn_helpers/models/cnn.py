"""SpikingCNN: three spiking convolutions and two fully connected spiking layers."""

from __future__ import annotations

from torch import nn

from snn_helpers.models.firing import set_gains
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.models.passes import SpikingLayer
from snn_helpers.neurons import Leaky

CHANNELS = (32, 64, 128)
HIDDEN = 256

# For `set_gains`: each layer of the untrained network fires at 5 to 10 % of steps (N-MNIST, beta = 0.9). For other data
# and settings there is `balance_firing`.
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
    in_channels, image_size : int
        Polarities and side length of the frames.
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

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        dropout: float = 0.2,
        engine: str = "auto",
        norm: str = "batch",
        num_classes: int = 10,
        in_channels: int = 2,
        image_size: int = 34,
        surrogate: str = "fast_sigmoid",
        learn: tuple[str, ...] = (),
    ):
        super().__init__(dropout, engine, norm, num_classes, in_channels, image_size)

        def neurons():
            return Leaky(beta, threshold, surrogate=surrogate, learn=learn)

        use_norm = norm == "batch"
        widths = (in_channels, *CHANNELS)
        side = image_size // 2 ** len(CHANNELS)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, bias=not use_norm) for before, after in zip(widths, CHANNELS)
        )
        self.conv_norms = nn.ModuleList(nn.BatchNorm2d(width) if use_norm else nn.Identity() for width in CHANNELS)
        self.conv_neurons = nn.ModuleList(neurons() for _ in CHANNELS)
        self.hidden = nn.Linear(CHANNELS[-1] * side**2, HIDDEN, bias=not use_norm)
        self.hidden_norm = nn.BatchNorm1d(HIDDEN) if use_norm else nn.Identity()
        self.hidden_neurons = neurons()
        self.output = nn.Linear(HIDDEN, num_classes)
        self.output_neurons = neurons()
        for name, layer in self.spiking_layers().items():
            set_gains(layer, _NORM_SHIFTS[name], _WEIGHT_GAINS[name])

    def spiking_layers(self) -> dict[str, SpikingLayer]:
        """Return "conv1", "conv2", "conv3", "hidden" and "output"."""
        convs = zip(self.convs, self.conv_norms, self.conv_neurons)
        layers = {f"conv{number}": SpikingLayer(*parts) for number, parts in enumerate(convs, 1)}
        layers["hidden"] = SpikingLayer(self.hidden, self.hidden_norm, self.hidden_neurons)
        layers["output"] = SpikingLayer(self.output, nn.Identity(), self.output_neurons)
        return layers

    def route(self, run, frames, keep) -> None:
        """Lead `run` through the layers; see `SpikingNetwork.route`."""
        spk = frames
        for number in range(1, len(CHANNELS) + 1):
            spk = run.conv(f"conv{number}", spk, pool=2)
        spk = run.full("hidden", spk)
        run.full("output", run.drop(spk, keep))
