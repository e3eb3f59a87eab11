"""What the networks have in common: one step each, run over all of time, and the checks of what they are given."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from snn_helpers._checks import check_choice, check_int
from snn_helpers.models.settings import NORMS
from snn_helpers.neurons import SpikingNeuron, refuse_export
from snn_helpers.over_time import NormOverTime, OverTime

POOLINGS = 3  # halvings of the frames that a network may do: they must be at least 8 pixels wide

# Of a normalisation, in units of the threshold. A wide scale with a negative shift learns faster than a narrow scale
# without one, at equal firing: more membranes come near the threshold, where the surrogate gradient is.
NORM_SCALE = 0.5


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


def spiking_layer(
    weights: nn.Module, neurons: SpikingNeuron, norm: str = "none", pool: int = 1, shift: float = 0.0, gain: float = 1.0
) -> nn.Sequential:
    """Build one spiking layer of one step: weights, normalisation over time, max-pool, neurons, by these names.

    Parameters
    ----------
    weights : nn.Conv2d or nn.Linear
        Drawn anew here, currents in units of the threshold.
    neurons : SpikingNeuron
        With `init_hidden=True`.
    norm : {"batch", "none"}
        Normalisation over time and batch between weights and pool.
    pool : int
        Side of the max-pool's windows; 1 for none.
    shift : float
        Of the normalisation, whose scale becomes `NORM_SCALE`; in units of the threshold.
    gain : float
        Without normalisation: standard deviation of the weights, times the square root of a neuron's inputs and divided
        by the threshold.
    """
    layer = OrderedDict(weights=weights)
    if norm == "batch":
        layer["norm"] = NormOverTime(weights.weight.shape[0])
    if pool > 1:
        layer["pool"] = nn.MaxPool2d(pool)
    layer["neurons"] = neurons
    threshold, fan_in = neurons.number("threshold"), weights.weight[0].numel()
    with torch.no_grad():
        if norm == "batch":
            weights.weight.normal_(0, fan_in**-0.5)  # its size has no effect
            layer["norm"].weight.fill_(NORM_SCALE * threshold)
            layer["norm"].bias.fill_(shift * threshold)
        else:
            weights.weight.normal_(0, gain * threshold * fan_in**-0.5)
            weights.bias.zero_()
    return nn.Sequential(layer)


def frame_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (W, H) of frames that a network is built for; refuse those that vanish when they are pooled."""
    width, height = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    return check_int("image_size", width, low=2**POOLINGS), check_int("image_size", height, low=2**POOLINGS)


class SpikingNetwork(nn.Module):
    """A network for event frames; a subclass defines `step`, one time step of it, and is run over all of them.

    Parameters
    ----------
    engine, norm, num_classes, in_channels, image_size
        As for `SpikingCNN`.
    """

    def __init__(self, engine: str, norm: str, num_classes: int, in_channels: int, image_size: int | tuple[int, int]):
        super().__init__()
        self.over_time = OverTime(self, "step", engine)
        self.norm = check_choice("norm", norm, NORMS)
        self.num_classes = check_int("num_classes", num_classes, low=2)
        self.in_channels = check_int("in_channels", in_channels, low=1)
        width, height = frame_size(image_size)
        self.image_size = width if width == height else (width, height)

    def step(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step: a frame [B, C, H, W] to output spikes and membranes [B, num_classes]."""
        raise NotImplementedError

    __call__: Callable[..., SpikeOutput]  # torch says no more than Any

    def forward(self, frames: Tensor) -> SpikeOutput:
        """Run the network over time.

        Parameters
        ----------
        frames : Tensor [T, B, C, H, W]
            Event counts, uint8, bool or float.

        Returns
        -------
        SpikeOutput
            Spikes and membranes of the output layer, each [T, B, num_classes].

        Raises
        ------
        ValueError
            If the frames are not of the shape that the model was built for.
        """
        refuse_export()
        self._check_frames(frames)
        return SpikeOutput(*self.over_time.run(frames))

    pretrained_name: str | None = None
    card = None
    """What is known of a network that `pretrained` gave back; see `snn_helpers.models.pretrained.Card`."""

    @classmethod
    def pretrained(cls, engine: str = "auto") -> Self:
        """Return this network with weights that come with the package, in eval mode.

        `card` of what is returned says how it was trained and how often it is right; `print(model.card)`.

        Parameters
        ----------
        engine : {"auto", "snntorch", "reference", "cpu", "cuda"}
            What computes the layers.

        Raises
        ------
        WeightsError
            If the file of weights is missing or damaged.
        """
        from snn_helpers.models.pretrained import FOLDER, read_weights

        if cls.pretrained_name is None:
            raise NotImplementedError(f"no weights of {cls.__name__} come with this package; train it.")
        card, state = read_weights(FOLDER / f"{cls.pretrained_name}.npz")
        model = cls(**card.arguments, engine=engine)
        model.load_state_dict(state)
        model.card = card
        return model.eval()

    def stream(self, batch: int = 1, step_us: int | None = None, **options: Any) -> Any:
        """Begin a stream through this network, of frames or events as they come; see `snn_helpers.stream`."""
        from snn_helpers import stream  # through the package's front door: networks know nothing of what is above them

        return stream(self, batch, step_us, **options)

    @property
    def engine(self) -> str:
        """What computes this model where its weights are now: "snntorch", "reference", "cpu" or "cuda"."""
        return self.over_time.engine

    def spiking_layers(self) -> dict[str, nn.Sequential]:
        """Return the layers by name, in the order in which they are built; each has `weights` and `neurons`."""
        return {name: module for name, module in self.named_modules() if hasattr(module, "neurons")}

    def _check_frames(self, frames: Tensor) -> None:
        width, height = frame_size(self.image_size)
        built_for = (self.in_channels, height, width)
        if frames.dim() != 5:
            raise ValueError(f"`frames` must be [T, B, C, H, W], 5 axes; got {frames.dim()}: {tuple(frames.shape)}.")
        if tuple(frames.shape[2:]) != built_for:
            raise ValueError(
                f"`frames` must end in [C, H, W] = {list(built_for)}, which this model was built for; got "
                f"{list(frames.shape[2:])}. Build another with {type(self).__name__}(in_channels=..., image_size=...)."
            )
        if 0 in frames.shape[:2]:
            raise ValueError(f"`frames` must have at least one step and one recording; got {tuple(frames.shape)}.")
        if frames.is_floating_point() and bool(frames.detach().isnan().any()):
            raise ValueError("`frames` contains NaN.")
