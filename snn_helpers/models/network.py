"""What the networks have in common: the choice of an engine, the checks of frames, and the record of every layer."""

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
from snn_helpers.engine import Spikes
from snn_helpers.models.passes import LayerByLayer, OnEngine, SpikingLayer, StepByStep

ENGINES = ("auto", "snntorch", "cpu", "cuda")
NORMS = ("batch", "none")
POOLINGS = 3  # halvings of the frames that a network may do: they must be at least 8 pixels wide

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


class SpikingNetwork(nn.Module):
    """A network of spiking layers; a subclass builds them, names them and says the route through them.

    A subclass must define `spiking_layers` and `route`, and end in a module `output` (fully connected).
    """

    def __init__(self, dropout: float, engine: str, norm: str, num_classes: int, in_channels: int, image_size: int):
        super().__init__()
        self._engine_asked = check_choice("engine", engine, ENGINES)
        self.norm = check_choice("norm", norm, NORMS)
        self.dropout = check_float("dropout", dropout, low=0, high=0.999)
        self.num_classes = check_int("num_classes", num_classes, low=2)
        self.in_channels = check_int("in_channels", in_channels, low=1)
        self.image_size = check_int("image_size", image_size, low=2**POOLINGS)

    def spiking_layers(self) -> dict[str, SpikingLayer]:
        """Return the layers by name, in the order of the route."""
        raise NotImplementedError

    def route(self, run, frames, keep) -> None:
        """Lead `run` (see `passes`) from the frames through all layers; `keep` is the mask on the last one's input."""
        raise NotImplementedError

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
            Called as watch(layer, spk_rec, mem_rec) for each layer of `spiking_layers`, each tensor [T, B, ...],
            detached: spikes uint8, membranes float.
        fractions : dict or None
            Filled with each layer's mean spike fraction, a scalar tensor. Its gradient reaches the spikes that were
            fired only: through the surrogate it would push silent neurons ever further from their threshold.

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
        keep = self.output.weight.new_ones(*frames.shape[:2], self.output.in_features)
        recorded = self._run(frames, F.dropout(keep, self.dropout, self.training), keep_mem=watch is not None)
        for name, (spk_rec, mem_rec) in recorded.items():
            if watch is not None:
                spk = spk_rec.count if isinstance(spk_rec, Spikes) else spk_rec.detach().to(torch.uint8)
                watch(name, spk, mem_rec.detach())
            if fractions is not None:
                fractions[name] = _fraction(spk_rec)
        return SpikeOutput(*recorded["output"])

    def _run(self, frames: Tensor, keep: Tensor, keep_mem: bool) -> dict[str, tuple]:
        run, frames = self._pass(frames, keep_mem)
        if isinstance(run, StepByStep):
            for frames_now, keep_now in zip(frames, keep):
                self.route(run, frames_now, keep_now)
        else:
            self.route(run, frames, keep)
        return run.recorded

    def _pass(self, frames: Tensor, keep_mem: bool, over_time: bool = False):
        """Return the way to run these frames, and the frames in its type; `over_time` forbids step by step."""
        layers, engine = self.spiking_layers(), self._usable_engine(frames)
        if engine == "cpu":
            engine = self._compiled_engine()
        if engine != "snntorch":
            return OnEngine(layers, importlib.import_module(f"snn_helpers.engine.{engine}"), keep_mem), frames
        loop = LayerByLayer if over_time or self.norm != "none" else StepByStep
        return loop(layers), frames.to(self.output.weight.dtype)

    def _usable_engine(self, frames: Tensor) -> str:
        """Return the engine for these frames: what is no count, or asks for a gradient, goes through the loop."""
        engine = self.engine
        if engine == "snntorch" or frames.dtype == torch.uint8:
            return engine
        reason = "they ask for a gradient" if frames.requires_grad else _no_counts(frames)
        if reason is None:
            return engine
        warnings.warn(f"`frames`: {reason}; computed by the loop over snnTorch instead of {engine!r}.", stacklevel=5)
        return "snntorch"

    def _compiled_engine(self) -> str:
        """Return "cpu", or fall back for good, with one warning, where its kernels cannot be compiled."""
        from snn_helpers.engine.cpu_runtime import EngineCompileError

        try:
            _compile_kernels()
        except EngineCompileError as err:
            self._engine_asked = "snntorch"
            warnings.warn(f"The loop over snnTorch takes over, which is slower: {err}", stacklevel=6)
        return self.engine

    def _check_frames(self, frames: Tensor) -> None:
        built_for = (self.in_channels, self.image_size, self.image_size)
        if frames.dim() != 5:
            raise ValueError(f"`frames` must be [T, B, C, H, W], 5 axes; got {frames.dim()}: {tuple(frames.shape)}.")
        if tuple(frames.shape[2:]) != built_for:
            raise ValueError(
                f"`frames` must end in [C, H, W] = {list(built_for)}, which this model was built for; got "
                f"{list(frames.shape[2:])}. Build another with {type(self).__name__}(in_channels=..., image_size=...)."
            )
        if 0 in frames.shape[:2]:
            raise ValueError(f"`frames` must have at least one step and one recording; got {tuple(frames.shape)}.")


def _fraction(spk_rec: Spikes | Tensor) -> Tensor:
    return spk_rec.fraction() if isinstance(spk_rec, Spikes) else (spk_rec * spk_rec.detach()).mean()


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
