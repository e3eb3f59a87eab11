"""SpikingCNN: three spiking convolutions and two fully connected spiking layers."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers._checks import check_choice, check_float, check_int
from snn_helpers.engine import BatchNorm, Spikes
from snn_helpers.neurons import Leaky

ENGINES = ("auto", "snntorch", "cpu", "cuda")
NORMS = ("batch", "none")
CHANNELS = (32, 64, 128)
HIDDEN = 256

# Scale and shift of the normalisations, or standard deviation of the weights times the square root of a layer's inputs,
# in units of the threshold, at which each layer of the untrained network fires at 5 to 10 % of steps (N-MNIST,
# beta = 0.9). A wide scale with a negative shift learns faster than a narrow scale without one, at equal firing:
# more membranes come near the threshold, where the surrogate gradient is.
_NORM_SCALE = 0.5
_NORM_SHIFTS = (-0.27, -0.46, -0.46, 0.0)
_WEIGHT_GAINS = (0.9, 0.8, 0.7, 1.9)
_OUTPUT_GAIN = 1.6

Watch = Callable[[str, Tensor, Tensor], None]


class SpikeOutput(NamedTuple):
    """What a spiking network answers.

    Attributes
    ----------
    spk_rec : Tensor [T, B, num_classes]
        Output spikes in {0, 1}.
    mem_rec : Tensor [T, B, num_classes]
        Output membranes, in units of the input current.
    """

    spk_rec: Tensor
    mem_rec: Tensor


class SpikingCNN(nn.Module):
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
    ):
        super().__init__()
        self._engine_asked = check_choice("engine", engine, ENGINES)
        self.norm = check_choice("norm", norm, NORMS)
        self.dropout = check_float("dropout", dropout, low=0, high=0.999)
        self.num_classes = check_int("num_classes", num_classes, low=2)
        self.in_channels = check_int("in_channels", in_channels, low=1)
        self.image_size = check_int("image_size", image_size, low=2 ** len(CHANNELS))

        use_norm = norm == "batch"
        widths = (in_channels, *CHANNELS)
        side = image_size // 2 ** len(CHANNELS)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, bias=not use_norm) for before, after in zip(widths, CHANNELS)
        )
        self.conv_norms = nn.ModuleList(nn.BatchNorm2d(width) if use_norm else nn.Identity() for width in CHANNELS)
        self.conv_neurons = nn.ModuleList(Leaky(beta, threshold, surrogate=surrogate) for _ in CHANNELS)
        self.hidden = nn.Linear(CHANNELS[-1] * side**2, HIDDEN, bias=not use_norm)
        self.hidden_norm = nn.BatchNorm1d(HIDDEN) if use_norm else nn.Identity()
        self.hidden_neurons = Leaky(beta, threshold, surrogate=surrogate)
        self.output = nn.Linear(HIDDEN, num_classes)
        self.output_neurons = Leaky(beta, threshold, surrogate=surrogate)
        self._init_gains(threshold)

    def _init_gains(self, threshold: float) -> None:
        """Scale currents with the threshold, so that every layer fires, and sparsely, before training."""
        layers = (*self.convs, self.hidden)
        norms = (*self.conv_norms, self.hidden_norm)
        with torch.no_grad():
            for layer, norm, shift, gain in zip(layers, norms, _NORM_SHIFTS, _WEIGHT_GAINS):
                fan_in = layer.weight[0].numel()
                if self.norm == "batch":
                    layer.weight.normal_(0, fan_in**-0.5)  # its size has no effect
                    norm.weight.fill_(_NORM_SCALE * threshold)
                    norm.bias.fill_(shift * threshold)
                else:
                    layer.weight.normal_(0, gain * threshold * fan_in**-0.5)
                    layer.bias.zero_()
            self.output.weight.normal_(0, _OUTPUT_GAIN * threshold / HIDDEN**0.5)
            self.output.bias.zero_()

    @property
    def engine(self) -> str:
        """What computes this model where its weights are now: "snntorch", "cpu" or "cuda"."""
        if self._engine_asked != "auto":
            return self._engine_asked
        weight = self.output.weight
        if weight.is_cuda:
            return "cuda"
        return "cpu" if weight.device.type == "cpu" and weight.dtype == torch.float32 else "snntorch"

    def forward(self, frames: Tensor, watch: Watch | None = None, fractions: dict | None = None) -> SpikeOutput:
        """Run the network over time.

        Parameters
        ----------
        frames : Tensor [T, B, C, H, W]
            Event counts, uint8 or float.
        watch : callable or None
            Called as watch(layer, spk_rec, mem_rec) for "conv1", "conv2", "conv3", "hidden", "output", each tensor
            [T, B, ...], detached: spikes uint8, membranes float.
        fractions : dict or None
            Filled with each layer's mean spike fraction, a scalar tensor with gradient.

        Returns
        -------
        SpikeOutput
            Spikes and membranes of the output layer, each [T, B, num_classes].

        Raises
        ------
        ValueError
            If the frames are not of the shape that the model was built for.
        """
        self._check_frames(frames)
        # One mask for all steps and engines, so that they draw the same random numbers.
        keep = F.dropout(self.output.weight.new_ones(*frames.shape[:2], HIDDEN), self.dropout, self.training)
        engine = self._usable_engine(frames)
        if engine == "cpu":
            engine = self._compiled_engine()
        if engine == "snntorch":
            loop = self._step_by_step if self.norm == "none" else self._layer_by_layer
            recorded = loop(frames.to(self.output.weight.dtype), keep)
        else:
            recorded = self._fast(engine, frames, keep, keep_mem=watch is not None)
        for name, (spk_rec, mem_rec) in recorded.items():
            if watch is not None:
                spk = spk_rec.count if isinstance(spk_rec, Spikes) else spk_rec.detach().to(torch.uint8)
                watch(name, spk, mem_rec.detach())
            if fractions is not None:
                fractions[name] = spk_rec.fraction() if isinstance(spk_rec, Spikes) else spk_rec.mean()
        return SpikeOutput(*recorded["output"])

    def _usable_engine(self, frames: Tensor) -> str:
        """Return the engine for these frames: what is no count, or asks for a gradient, goes through the loop."""
        engine = self.engine
        if engine == "snntorch" or frames.dtype == torch.uint8:
            return engine
        reason = "they ask for a gradient" if frames.requires_grad else _no_counts(frames)
        if reason is None:
            return engine
        warnings.warn(f"`frames`: {reason}; computed by the loop over snnTorch instead of {engine!r}.", stacklevel=3)
        return "snntorch"

    def _compiled_engine(self) -> str:
        """Return "cpu", or fall back for good, with one warning, where its kernels cannot be compiled."""
        from snn_helpers.engine.cpu_runtime import EngineCompileError

        try:
            _compile_kernels()
        except EngineCompileError as err:
            self._engine_asked = "snntorch"
            warnings.warn(f"The loop over snnTorch takes over, which is slower: {err}", stacklevel=4)
        return self.engine

    def _fast(self, engine: str, frames: Tensor, keep: Tensor, keep_mem: bool) -> dict[str, tuple]:
        """Run layer by layer on an engine, whose module has conv_layer, linear and neurons."""
        layers = importlib.import_module(f"snn_helpers.engine.{engine}")
        recorded = {}
        spikes = frames
        for number, (conv, norm, neurons) in enumerate(zip(self.convs, self.conv_norms, self.conv_neurons), 1):
            spikes = layers.conv_layer(
                spikes,
                conv.weight,
                conv.bias,
                neurons.neuron(),
                norm=BatchNorm.of(norm) if self.norm == "batch" else None,
                pool=2,
                keep_mem=keep_mem,
            )
            recorded[f"conv{number}"] = spikes, spikes.mem
        cur = layers.linear(spikes, self.hidden.weight, self.hidden.bias)  # [T, B, 256]
        cur = self.hidden_norm(cur.flatten(0, 1)).unflatten(0, frames.shape[:2])
        recorded["hidden"] = spk, _ = layers.neurons(cur, self.hidden_neurons.neuron())
        recorded["output"] = layers.neurons(self.output(spk * keep), self.output_neurons.neuron())
        return recorded

    def _layer_by_layer(self, frames: Tensor, keep: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Finish all time steps of a layer before the next, as normalisation over time asks for."""
        recorded = {}
        spk = frames
        for number, (conv, norm, neurons) in enumerate(zip(self.convs, self.conv_norms, self.conv_neurons), 1):
            cur = F.max_pool2d(norm(conv(spk.flatten(0, 1))), 2)  # [T * B, C, H / 2, W / 2]
            recorded[f"conv{number}"] = spk, _ = neurons.run_snntorch(cur.unflatten(0, frames.shape[:2]))
        cur = self.hidden_norm(self.hidden(spk.flatten(2).flatten(0, 1)))
        recorded["hidden"] = spk, _ = self.hidden_neurons.run_snntorch(cur.unflatten(0, frames.shape[:2]))
        recorded["output"] = self.output_neurons.run_snntorch(self.output(spk * keep))
        return recorded

    def _step_by_step(self, frames: Tensor, keep: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Carry each time step through the whole network before the next: the loop of every snnTorch tutorial."""
        layers = dict(self._named_neurons())
        neurons = {name: leaky.snntorch_neuron().to(frames.device) for name, leaky in layers.items()}
        recorded: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

        def fire(name: str, cur: Tensor) -> Tensor:
            past = recorded[name]
            mem = past[-1][1] if past else torch.zeros_like(cur)
            past.append(neurons[name](cur, mem))
            return past[-1][0]

        for spk, keep_now in zip(frames, keep):
            for number, conv in enumerate(self.convs, 1):
                spk = fire(f"conv{number}", F.max_pool2d(conv(spk), 2))
            spk = fire("hidden", self.hidden(spk.flatten(1)))
            fire("output", self.output(spk * keep_now))
        return {name: tuple(torch.stack(rec) for rec in zip(*steps)) for name, steps in recorded.items()}

    def _named_neurons(self):
        yield from ((f"conv{number}", neurons) for number, neurons in enumerate(self.conv_neurons, 1))
        yield "hidden", self.hidden_neurons
        yield "output", self.output_neurons

    def _check_frames(self, frames: Tensor) -> None:
        built_for = (self.in_channels, self.image_size, self.image_size)
        if frames.dim() != 5:
            raise ValueError(f"`frames` must be [T, B, C, H, W], 5 axes; got {frames.dim()}: {tuple(frames.shape)}.")
        if tuple(frames.shape[2:]) != built_for:
            raise ValueError(
                f"`frames` must end in [C, H, W] = {list(built_for)}, which this model was built for; got "
                f"{list(frames.shape[2:])}. Build another with SpikingCNN(in_channels=..., image_size=...)."
            )
        if 0 in frames.shape[:2]:
            raise ValueError(f"`frames` must have at least one step and one recording; got {tuple(frames.shape)}.")


@functools.cache
def _compile_kernels() -> None:
    """Compile the event-driven kernels, or load them from disk, once in a process."""
    from snn_helpers.engine import cpu

    with torch.inference_mode(False), torch.enable_grad():  # it goes backward, too, whatever the caller does
        cpu.warm_up()


def _no_counts(frames: Tensor) -> str | None:
    """Say why float frames are not event counts of a byte, or return None if they are."""
    if frames.isnan().any():
        raise ValueError("`frames` contains NaN.")
    whole = bool(((frames >= 0) & (frames <= 255) & (frames == frames.round())).all())
    return None if whole else "they are no whole counts in 0..255"
