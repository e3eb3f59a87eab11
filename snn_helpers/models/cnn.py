"""SpikingCNN: three spiking convolutions and two fully connected spiking layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers._checks import check_choice, check_float, check_int
from snn_helpers.neurons import Leaky

ENGINES = ("auto", "snntorch")
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
    engine : {"auto", "snntorch"}
        What computes the neurons; `model.engine` says what "auto" chose.
    norm : {"batch", "none"}
        "batch": batch normalisation over time and batch, which therefore sees whole recordings: layer by layer.
    num_classes : int
        Output neurons.
    in_channels, image_size : int
        Polarities and side length of the frames.

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
    ):
        super().__init__()
        check_choice("engine", engine, ENGINES)
        self.engine = "snntorch"
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
        self.conv_neurons = nn.ModuleList(Leaky(beta, threshold) for _ in CHANNELS)
        self.hidden = nn.Linear(CHANNELS[-1] * side**2, HIDDEN, bias=not use_norm)
        self.hidden_norm = nn.BatchNorm1d(HIDDEN) if use_norm else nn.Identity()
        self.hidden_neurons = Leaky(beta, threshold)
        self.output = nn.Linear(HIDDEN, num_classes)
        self.output_neurons = Leaky(beta, threshold)
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

    def forward(self, frames: Tensor, watch: Watch | None = None) -> SpikeOutput:
        """Run the network over time.

        Parameters
        ----------
        frames : Tensor [T, B, C, H, W]
            Event counts, uint8 or float.
        watch : callable or None
            Called as watch(layer, spk_rec, mem_rec) for "conv1", "conv2", "conv3", "hidden", "output", each tensor
            [T, B, ...].

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
        frames = frames.to(self.output.weight.dtype)
        # One mask for all steps and both orders of computation, so that they draw the same random numbers.
        keep = F.dropout(frames.new_ones(*frames.shape[:2], HIDDEN), self.dropout, self.training)
        run = self._step_by_step if self.norm == "none" else self._layer_by_layer
        recorded = run(frames, keep)
        if watch is not None:
            for name, (spk_rec, mem_rec) in recorded.items():
                watch(name, spk_rec, mem_rec)
        return SpikeOutput(*recorded["output"])

    def _layer_by_layer(self, frames: Tensor, keep: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Finish all time steps of a layer before the next, as normalisation over time asks for."""
        recorded = {}
        spk = frames
        for number, (conv, norm, neurons) in enumerate(zip(self.convs, self.conv_norms, self.conv_neurons), 1):
            cur = F.max_pool2d(norm(conv(spk.flatten(0, 1))), 2)  # [T * B, C, H / 2, W / 2]
            recorded[f"conv{number}"] = spk, _ = neurons(cur.unflatten(0, frames.shape[:2]))
        cur = self.hidden_norm(self.hidden(spk.flatten(2).flatten(0, 1)))
        recorded["hidden"] = spk, _ = self.hidden_neurons(cur.unflatten(0, frames.shape[:2]))
        recorded["output"] = self.output_neurons(self.output(spk * keep))
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
