"""SpikingResNet: adaptive neurons, two residual blocks, a layer of synaptic neurons."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snn_helpers._checks import check_choice, check_float, check_int
from snn_helpers.models.network import SpikingNetwork, frame_size, spiking_layer
from snn_helpers.models.settings import SKIPS
from snn_helpers.neurons import ALIF, Leaky, Synaptic

CHANNELS = (32, 64)
HIDDEN = 128

# In units of the threshold, as in `cnn`: each layer of the untrained network fires at 5 to 10 % of steps (N-MNIST,
# beta = 0.9) from these shifts and gains; `balance_firing` sets them for other data and settings.
_NORM_SHIFTS = {"stem": -0.1, "inner": 0.03, "outer": 0.03, "down": -0.4, "hidden": -0.1, "output": 0.0}
_WEIGHT_GAINS = {"stem": 1.0, "inner": 2.2, "outer": 1.7, "down": 0.4, "hidden": 0.26, "output": 2.5}


def layer_currents(layer: nn.Sequential, spk: Tensor) -> Tensor:
    """Compute the currents that a spiking layer's neurons get from spikes: all of the layer but its neurons."""
    for name, module in layer.named_children():
        spk = spk if name == "neurons" else module(spk)
    return spk


class _Block(nn.Module):
    """The branch of a residual block: Conv 3x3 -> norm -> Leaky, twice."""

    def __init__(self, channels: int, beta: float = 0.9, threshold: float = 1.0, norm: str = "batch", **options: Any):
        super().__init__()

        def layer(name):
            weights = nn.Conv2d(channels, channels, 3, padding=1, bias=norm == "none")
            neurons = Leaky(beta, threshold, init_hidden=True, **options)
            return spiking_layer(weights, neurons, norm, 1, _NORM_SHIFTS[name], _WEIGHT_GAINS[name])

        self.inner, self.outer = layer("inner"), layer("outer")


class ResidualBlock(_Block):
    """Two spiking convolutions and a skip around them; the number of channels and the size stay.

    Conv 3x3 -> norm -> Leaky, twice. The input's spikes join

    - "sew": the output's, spike by spike (spike-element-wise addition, W. Fang et al., Deep residual learning in
      spiking neural networks, NeurIPS 2021): what comes out are counts, and a silent branch makes the block the
      identity;
    - "add_then_fire": the second neurons' currents, a spike weighing one threshold, so that it alone does not fire a
      resting neuron (Spiking ResNet, Y. Hu et al., Spiking deep residual networks, IEEE TNNLS 2021);
    - "none": nowhere.

    A skip that carries currents past all neurons needs currents beside the spikes: see `MembraneBlock`.

    Parameters
    ----------
    channels : int
        Channels in and out.
    beta, threshold
        As for `Leaky`.
    skip : {"sew", "add_then_fire", "none"}
        Where the input joins.
    norm : {"batch", "none"}
        Batch normalisation over time and batch after each convolution.
    **options
        surrogate, slope, learn: as for `Leaky`.
    """

    def __init__(
        self,
        channels: int,
        beta: float = 0.9,
        threshold: float = 1.0,
        skip: str = "sew",
        norm: str = "batch",
        **options: Any,
    ):
        super().__init__(channels, beta, threshold, norm, **options)
        self.skip = check_choice("skip", skip, ("sew", "add_then_fire", "none"))

    def forward(self, spk: Tensor) -> Tensor:
        """Compute one time step: spikes [B, C, H, W] to spikes, or sums of them, of the same shape."""
        inner = self.inner(spk)
        if self.skip == "sew":
            return self.outer(inner) + spk
        if self.skip == "none":
            return self.outer(inner)
        cur = layer_currents(self.outer, inner)
        return self.outer.neurons(cur + self.outer.neurons.threshold * spk)


class MembraneBlock(_Block):
    """Two spiking convolutions and a shortcut that carries currents past all neurons, from block to block.

    Conv 3x3 -> norm -> Leaky, twice, as in `ResidualBlock`. The currents that the neurons before the block got are
    added to those of its second neurons, so that a way without any neuron leads through a stack of blocks
    (MS-ResNet, Y. Hu et al., Advancing spiking neural networks towards deep residual learning, IEEE TNNLS 2024).
    There a block begins with its neurons; here it ends with those of the next one, which is the same network.

    Parameters
    ----------
    channels, beta, threshold, norm, **options
        As for `ResidualBlock`.
    """

    def forward(self, spk: Tensor, cur: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step: spikes [B, C, H, W] and the currents that made them, to those of this block."""
        cur = cur + layer_currents(self.outer, self.inner(spk))
        return self.outer.neurons(cur), cur


def make_block(
    channels: int, beta: float = 0.9, threshold: float = 1.0, skip: str = "sew", norm: str = "batch", **options: Any
) -> ResidualBlock | MembraneBlock:
    """Build a residual block with any of the skips; parameters as for `ResidualBlock` and `MembraneBlock`."""
    check_choice("skip", skip, SKIPS)
    if skip == "membrane":
        return MembraneBlock(channels, beta, threshold, norm, **options)
    return ResidualBlock(channels, beta, threshold, skip, norm, **options)


class SpikingResNet(SpikingNetwork):
    """Residual spiking network for event frames.

    Conv 3x3 -> norm -> 2x2 max-pool -> ALIF (32 channels); residual block; conv 3x3 -> norm -> 2x2 max-pool -> Leaky
    (64 channels); residual block; fully connected 128 -> norm -> Synaptic -> dropout; fully connected `num_classes` ->
    Leaky. With the defaults it has about as many parameters as SpikingCNN.

    Parameters
    ----------
    beta, threshold, dropout, engine, norm, num_classes, in_channels, image_size, surrogate
        As for `SpikingCNN`.
    alpha : float in [0, 1]
        Decay of the Synaptic layer's current per step, exp(-dt / tau_syn).
    rho : float in [0, 1]
        Decay of the ALIF neurons' adaptation per step, exp(-dt / tau_adaptation).
    adaptation : float >= 0
        Rise of the threshold of an ALIF neuron that always fires, in units of `threshold`.
    skip : {"sew", "add_then_fire", "membrane", "none"}
        Where the residual blocks' skips join; see `ResidualBlock` and, for "membrane", `MembraneBlock`.
    channels : tuple of two ints
        Channels before and after the down-sampling.
    hidden : int
        Synaptic neurons.
    learn : tuple of str
        What each layer of neurons learns beside the weights, where it has it, one number a layer: of "alpha", "beta",
        "threshold", "rho" and "adaptation".

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.
    """

    pretrained_name = "resnet"

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        dropout: float = 0.2,
        engine: str = "auto",
        norm: str = "batch",
        alpha: float = 0.8,
        rho: float = 0.9,
        adaptation: float = 1.0,
        skip: str = "sew",
        channels: tuple[int, int] = CHANNELS,
        hidden: int = HIDDEN,
        num_classes: int = 10,
        in_channels: int = 2,
        image_size: int | tuple[int, int] = 34,
        surrogate: str = "fast_sigmoid",
        learn: tuple[str, ...] = (),
    ):
        super().__init__(engine, norm, num_classes, in_channels, image_size)
        self.skip = skip
        check_float("adaptation", adaptation, low=0)
        check_float("threshold", threshold, low=0, above=True)
        check_int("hidden", hidden, low=1)
        for name in learn:
            check_choice("learn", name, ("alpha", "beta", "threshold", "rho", "adaptation"))

        def layer(name, weights, kind=Leaky, pool=1, norm=norm, output=False, **numbers):
            here = tuple(number for number in learn if number in kind.ranges)
            numbers |= {"beta": beta, "threshold": threshold}
            neurons = kind(**numbers, surrogate=surrogate, learn=here, init_hidden=True, output=output)
            return spiking_layer(weights, neurons, norm, pool, _NORM_SHIFTS[name], _WEIGHT_GAINS[name])

        def conv(before, after):
            return nn.Conv2d(before, after, 3, padding=1, bias=norm == "none")

        def block(width):
            here = tuple(number for number in learn if number in Leaky.ranges)
            return make_block(width, beta, threshold, skip, norm, surrogate=surrogate, learn=here)

        first, second = channels
        width, height = (side // 4 for side in frame_size(image_size))
        self.stem = layer("stem", conv(in_channels, first), ALIF, pool=2, rho=rho, adaptation=adaptation * threshold)
        self.block1 = block(first)
        self.down = layer("down", conv(first, second), pool=2)
        self.block2 = block(second)
        self.hidden = layer(
            "hidden", nn.Linear(second * width * height, hidden, bias=norm == "none"), Synaptic, alpha=alpha
        )
        self.dropout = nn.Dropout(check_float("dropout", dropout, low=0, high=0.999))
        self.output = layer("output", nn.Linear(hidden, num_classes), norm="none", output=True)

    def step(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step: a frame [B, C, H, W] to output spikes and membranes [B, num_classes]."""
        spk = self._stage(self.stem, self.block1, frame)
        spk = self._stage(self.down, self.block2, spk)
        spk = self.hidden(spk.flatten(1))
        return self.output(self.dropout(spk))

    def _stage(self, layer: nn.Sequential, block: nn.Module, spk: Tensor) -> Tensor:
        if self.skip != "membrane":
            return block(layer(spk))
        cur = layer_currents(layer, spk)
        return block(layer.neurons(cur), cur)[0]
