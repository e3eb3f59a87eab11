"""SpikingResNet: adaptive neurons, two residual blocks, a layer of synaptic neurons."""

from __future__ import annotations

from torch import Tensor, nn

from snn_helpers._checks import check_choice, check_float, check_int
from snn_helpers.models.firing import set_gains
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.models.passes import LayerByLayer, SpikingLayer
from snn_helpers.neurons import ALIF, Leaky, Synaptic

SKIPS = ("spike", "membrane", "none")
CHANNELS = (32, 64)
HIDDEN = 128

# In units of the threshold, as in `cnn`: each layer of the untrained network fires at 5 to 10 % of steps (N-MNIST,
# beta = 0.9) from these shifts and gains; `balance_firing` sets them for other data and settings.
_NORM_SHIFTS = {"stem": -0.1, "inner": 0.03, "outer": 0.03, "down": -0.4, "hidden": -0.1, "output": 0.0}
_WEIGHT_GAINS = {"stem": 1.0, "inner": 2.2, "outer": 1.7, "down": 0.4, "hidden": 0.26, "output": 2.5}


class ResidualBlock(nn.Module):
    """Two spiking convolutions and a skip around them; the number of channels and the size stay.

    Conv 3x3 -> norm -> Leaky, twice. The input's spikes join

    - "spike": the output's, spike by spike (spike-element-wise addition, W. Fang et al., Deep residual learning in
      spiking neural networks, NeurIPS 2021): what comes out are counts, and a silent branch makes the block the
      identity;
    - "membrane": the second neurons' currents, a spike weighing one threshold, so that it alone does not fire a
      resting neuron (the residual block of ANN-to-SNN practice);
    - "none": nowhere.

    Parameters
    ----------
    channels : int
        Channels in and out.
    beta, threshold, surrogate, learn
        As for `Leaky`.
    skip : {"spike", "membrane", "none"}
        Where the input joins.
    norm : {"batch", "none"}
        Batch normalisation over time and batch after each convolution.
    """

    def __init__(
        self,
        channels: int,
        beta: float = 0.9,
        threshold: float = 1.0,
        skip: str = "spike",
        norm: str = "batch",
        surrogate: str = "fast_sigmoid",
        learn: tuple[str, ...] = (),
    ):
        super().__init__()
        self.skip = check_choice("skip", skip, SKIPS)
        for place in ("inner", "outer"):
            setattr(self, place, nn.Conv2d(channels, channels, 3, padding=1, bias=norm == "none"))
            setattr(self, f"{place}_norm", nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity())
            setattr(self, f"{place}_neurons", Leaky(beta, threshold, surrogate=surrogate, learn=learn))
            layer = SpikingLayer(*(getattr(self, name) for name in (place, f"{place}_norm", f"{place}_neurons")))
            set_gains(layer, _NORM_SHIFTS[place], _WEIGHT_GAINS[place])

    def spiking_layers(self, prefix: str = "") -> dict[str, SpikingLayer]:
        """Return "inner" and "outer", with a prefix to their names."""
        return {
            f"{prefix}inner": SpikingLayer(self.inner, self.inner_norm, self.inner_neurons),
            f"{prefix}outer": SpikingLayer(self.outer, self.outer_norm, self.outer_neurons),
        }

    def route(self, run, spk, prefix: str = ""):
        """Lead `run` (see `passes`) through the block; return its output spikes."""
        inner = run.conv(f"{prefix}inner", spk)
        outer = run.conv(f"{prefix}outer", inner, skip=spk if self.skip == "membrane" else None)
        return run.add(outer, spk) if self.skip == "spike" else outer

    def forward(self, spk: Tensor) -> Tensor:
        """Run the block alone over time, layer by layer over snnTorch's neurons: spikes [T, B, C, H, W] to the same."""
        return self.route(LayerByLayer(self.spiking_layers()), spk)


class SpikingResNet(SpikingNetwork):
    """Residual spiking network for event frames.

    Conv 3x3 -> norm -> 2x2 max-pool -> ALIF (32 channels); residual block; conv 3x3 -> norm -> 2x2 max-pool -> Leaky
    (64 channels); residual block; fully connected 128 -> norm -> Synaptic -> dropout; fully connected `num_classes` ->
    Leaky. With the defaults it has about as many parameters as SpikingCNN.

    Parameters
    ----------
    beta : float in [0, 1]
        Decay of the membranes per step, exp(-dt / tau).
    threshold : float > 0
        Firing threshold of all neurons.
    dropout : float in [0, 1)
        Share of the hidden layer's spikes dropped in training, each step on its own.
    engine : {"auto", "snntorch", "cpu", "cuda"}
        What computes the layers; see `SpikingCNN`.
    norm : {"batch", "none"}
        "batch": batch normalisation over time and batch; statistics of the batch in training, running means in eval.
    alpha : float in [0, 1]
        Decay of the Synaptic layer's current per step, exp(-dt / tau_syn).
    rho : float in [0, 1]
        Decay of the ALIF neurons' adaptation per step, exp(-dt / tau_adaptation).
    adaptation : float >= 0
        Rise of the threshold of an ALIF neuron that always fires, in units of `threshold`.
    skip : {"spike", "membrane", "none"}
        Where the residual blocks' skips join; see `ResidualBlock`.
    channels : tuple of two ints
        Channels before and after the down-sampling.
    hidden : int
        Synaptic neurons.
    num_classes : int
        Output neurons.
    in_channels, image_size : int
        Polarities and side length of the frames.
    surrogate : {"fast_sigmoid", "compact"}
        Gradient of a spike; see `SpikingCNN`.
    learn : tuple of str
        What each layer of neurons learns beside the weights, where it has it, one number a layer: of "alpha", "beta",
        "threshold", "rho" and "adaptation".

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
        alpha: float = 0.8,
        rho: float = 0.9,
        adaptation: float = 1.0,
        skip: str = "spike",
        channels: tuple[int, int] = CHANNELS,
        hidden: int = HIDDEN,
        num_classes: int = 10,
        in_channels: int = 2,
        image_size: int = 34,
        surrogate: str = "fast_sigmoid",
        learn: tuple[str, ...] = (),
    ):
        super().__init__(dropout, engine, norm, num_classes, in_channels, image_size)
        check_float("adaptation", adaptation, low=0)
        check_float("threshold", threshold, low=0, above=True)
        check_int("hidden", hidden, low=1)
        for name in learn:
            check_choice("learn", name, ("alpha", "beta", "threshold", "rho", "adaptation"))

        def neurons(kind, **numbers):
            here = tuple(name for name in learn if name in kind.ranges)
            return kind(beta=beta, threshold=threshold, surrogate=surrogate, learn=here, **numbers)

        def normalisation(kind, width):
            return kind(width) if norm == "batch" else nn.Identity()

        first, second = channels
        self.stem = nn.Conv2d(in_channels, first, 3, padding=1, bias=norm == "none")
        self.stem_norm = normalisation(nn.BatchNorm2d, first)
        self.stem_neurons = neurons(ALIF, rho=rho, adaptation=adaptation * threshold)
        self.down = nn.Conv2d(first, second, 3, padding=1, bias=norm == "none")
        self.down_norm = normalisation(nn.BatchNorm2d, second)
        self.down_neurons = neurons(Leaky)
        block_learn = tuple(name for name in learn if name in Leaky.ranges)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, beta, threshold, skip, norm, surrogate, block_learn) for width in channels
        )
        self.hidden = nn.Linear(second * (image_size // 4) ** 2, hidden, bias=norm == "none")
        self.hidden_norm = normalisation(nn.BatchNorm1d, hidden)
        self.hidden_neurons = neurons(Synaptic, alpha=alpha)
        self.output = nn.Linear(hidden, num_classes)
        self.output_neurons = neurons(Leaky)
        for name, layer in self.spiking_layers().items():
            if name in _NORM_SHIFTS:
                set_gains(layer, _NORM_SHIFTS[name], _WEIGHT_GAINS[name])

    def spiking_layers(self) -> dict[str, SpikingLayer]:
        """Return "stem", "block1.inner", "block1.outer", "down", "block2.inner", ..., "hidden" and "output"."""
        return {
            "stem": SpikingLayer(self.stem, self.stem_norm, self.stem_neurons),
            **self.blocks[0].spiking_layers("block1."),
            "down": SpikingLayer(self.down, self.down_norm, self.down_neurons),
            **self.blocks[1].spiking_layers("block2."),
            "hidden": SpikingLayer(self.hidden, self.hidden_norm, self.hidden_neurons),
            "output": SpikingLayer(self.output, nn.Identity(), self.output_neurons),
        }

    def route(self, run, frames, keep) -> None:
        """Lead `run` through the layers; see `SpikingNetwork.route`."""
        spk = run.conv("stem", frames, pool=2)
        spk = self.blocks[0].route(run, spk, "block1.")
        spk = run.conv("down", spk, pool=2)
        spk = self.blocks[1].route(run, spk, "block2.")
        spk = run.full("hidden", spk)
        run.full("output", run.drop(spk, keep))
