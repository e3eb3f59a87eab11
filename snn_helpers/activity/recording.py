"""Record the spikes and membranes of every spiking layer, of our networks and of any module of snnTorch's neurons."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from snn_helpers._checks import check_choice, check_int
from snn_helpers.activity.taps import attach
from snn_helpers.engine import Spikes
from snn_helpers.over_time import evaluating, over_time

WHAT = ("spk", "mem")
MEGABYTES = 2048


@dataclass(frozen=True)
class LayerRecord:
    """What one layer did.

    Attributes
    ----------
    spk : ndarray [T, B, ...] or None
        Spikes; uint8, or float32 where they are no whole numbers.
    mem : float32 ndarray [T, B, ...] or None
        Membranes, before the reset.
    neurons : int64 ndarray [n] or None
        Which neurons of the flattened layer stand in the last axis, where `max_neurons` left some out.
    """

    spk: np.ndarray | None
    mem: np.ndarray | None
    neurons: np.ndarray | None = None

    def __getitem__(self, what: str) -> np.ndarray | None:
        return getattr(self, check_choice("what", what, WHAT))


class Recording(dict[str, LayerRecord]):
    """Layers by name, in the order in which they computed; see `record`.

    Attributes
    ----------
    spk, mem : dict of str to ndarray [T, B, ...]
        What was asked for, layer by layer.
    output : object
        What the model returned last, detached and on the CPU.
    """

    def __init__(self, model: nn.Module, layers, what, max_neurons, max_megabytes: float):
        self._model, self._layers = model, layers
        self._what, self._max_neurons, self._max_bytes = what, max_neurons, max_megabytes * 1e6
        self._bytes = 0
        self._taps: contextlib.ExitStack | None = None
        self.output = None

    def __enter__(self) -> Recording:
        if self:
            return self
        self._passes: list[dict[str, _Layer]] = [{}]
        wants_mem = "mem" in self._what
        self._taps = attach(self._model, self._layers, self._take, wants_mem, self._next_pass, self._keep_output)
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self._taps is None:
            return
        self._taps.close()
        self._taps = None
        if kind is None:
            self.update(self._finish())
        self._passes = []

    def __missing__(self, layer: str) -> LayerRecord:
        raise KeyError(f"nothing was recorded of a layer {layer!r}; recorded: {', '.join(self)}")

    def __repr__(self) -> str:
        shapes = {name: next(a for a in (r.spk, r.mem) if a is not None).shape for name, r in self.items()}
        return f"Recording({', '.join(f'{name} {list(shape)}' for name, shape in shapes.items())})"

    @property
    def spk(self) -> dict[str, np.ndarray]:
        """Spikes [T, B, ...] by layer."""
        return {name: record.spk for name, record in self.items() if record.spk is not None}

    @property
    def mem(self) -> dict[str, np.ndarray]:
        """Membranes [T, B, ...] by layer."""
        return {name: record.mem for name, record in self.items() if record.mem is not None}

    def _next_pass(self) -> None:
        if self._passes[-1]:
            self._passes.append({})

    def _keep_output(self, output) -> None:
        self.output = _to_cpu(output)

    def _take(self, name: str, spk: Tensor, mem: Tensor | None, whole: bool) -> None:
        """Keep what a layer did in all steps (`whole`: [T, B, ...]) or in one ([B, ...])."""
        spk = spk.count if isinstance(spk, Spikes) else spk
        batch_axes = 2 if whole else 1
        chosen, size = None, int(np.prod(spk.shape[batch_axes:]))
        if self._max_neurons is not None and size > self._max_neurons:
            rng = np.random.default_rng(0)  # drawn, since evenly spaced ones would repeat a pattern of the image
            chosen = np.sort(rng.choice(size, self._max_neurons, replace=False))
        layer = self._passes[-1].setdefault(name, _Layer(whole, chosen, {what: [] for what in self._what}))
        for what in self._what:
            part = spk if what == "spk" else mem
            if part is None:
                raise ValueError(f"`what`: layer {name!r} hands out no membrane; record only what=('spk',).")
            array = self._on_cpu(name, part.detach(), batch_axes, chosen, what)
            layer.steps[what].append(array if whole else array.copy())  # the next step may change it in place

    def _on_cpu(self, name: str, values: Tensor, batch_axes: int, chosen, what: str) -> np.ndarray:
        if chosen is not None:
            values = values.flatten(batch_axes)[..., torch.from_numpy(chosen).to(values.device)]
        self._bytes += values.numel() * (1 if what == "spk" else 4)
        if self._bytes > self._max_bytes:
            raise MemoryError(
                f"`record` needs more than {self._bytes / 1e6:,.0f} MB by layer {name!r}, and "
                f"{self._max_bytes / 1e6:,.0f} MB are allowed. Record fewer recordings or steps at once, fewer "
                "`layers`, what=('spk',) alone, or at most `max_neurons` a layer; or raise `max_megabytes`."
            )
        if what == "mem":
            return values.to(torch.float32).cpu().numpy()
        if values.dtype == torch.uint8:
            return values.cpu().numpy()
        bytes_ = values.to(torch.uint8)
        return (bytes_ if torch.equal(bytes_.to(values.dtype), values) else values.float()).cpu().numpy()

    def _finish(self) -> dict[str, LayerRecord]:
        passes = [one for one in self._passes if one]
        if not passes:
            raise ValueError("nothing was recorded: run the model inside the `with` block, or hand over `frames`.")
        if len({tuple(one) for one in passes}) > 1:
            raise ValueError("the passes recorded went through different layers; record each on its own.")
        # A model that is called once a step, in a loop of the caller's, does not end a recording with each call.
        calls = [layer for one in passes for layer in one.values()]
        axis = 0 if all(not layer.whole and len(layer.steps[self._what[0]]) == 1 for layer in calls) else 1
        records = {}
        for name, first in passes[0].items():
            arrays = {what: _join([one[name].stacked(what) for one in passes], axis, name) for what in self._what}
            records[name] = LayerRecord(arrays.get("spk"), arrays.get("mem"), first.chosen)
        return records


@dataclass
class _Layer:
    """Arrays of one layer in one pass: of all steps (`whole`), or one a step."""

    whole: bool
    chosen: np.ndarray | None
    steps: dict[str, list[np.ndarray]]

    def stacked(self, what: str) -> np.ndarray:
        if not self.whole:
            return np.stack(self.steps[what])
        return self.steps[what][0] if len(self.steps[what]) == 1 else np.concatenate(self.steps[what], axis=1)


def _join(parts: list[np.ndarray], axis: int, name: str) -> np.ndarray:
    if axis == 1 and len({len(part) for part in parts}) > 1:
        raise ValueError(f"layer {name!r} was recorded over different numbers of steps; record each on its own.")
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)


def _to_cpu(output):
    if isinstance(output, Tensor):
        return output.detach().cpu()
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*map(_to_cpu, output))
    return tuple(map(_to_cpu, output)) if isinstance(output, tuple | list) else output


def record(
    model: nn.Module,
    frames: Tensor | None = None,
    layers: Sequence[str] | None = None,
    what: Sequence[str] = WHAT,
    max_neurons: int | None = None,
    *,
    max_megabytes: float = MEGABYTES,
) -> Recording:
    """Record what the spiking layers of a model do.

    With `frames` it runs the model on them, in eval mode and without gradients, and returns what was recorded. Without,
    it is a context manager, and what runs inside it is recorded as it is; several batches are joined along B::

        recording = record(model, frames)
        with record(model, layers=["hidden"]) as recording:
            model(frames)
        recording.spk["hidden"]  # [T, B, 256]

    Parameters
    ----------
    model : nn.Module
        One of our networks, or any module with our neurons or snnTorch's in it, however deep.
    frames : Tensor [T, B, ...] or None
        What the model is run on.
    layers : sequence of str or None
        Which layers, by the paths of their modules without a last part "neurons"; None takes all.
    what : sequence of {"spk", "mem"}
        Spikes, membranes or both.
    max_neurons : int or None
        Record at most so many neurons a layer, drawn once and always the same; the arrays are then [T, B, n].
    max_megabytes : float
        Memory that the arrays may take.

    Returns
    -------
    Recording
        Layer by layer, arrays [T, B, ...] on the CPU. Nothing stays on the model, also after an error.

    Raises
    ------
    ValueError
        If a layer is unknown, the model has no spiking layer, or nothing was recorded.
    MemoryError
        If the arrays would take more than allowed.
    """
    what = (what,) if isinstance(what, str) else tuple(what)
    for item in what:
        check_choice("what", item, WHAT)
    if not what:
        raise ValueError("`what` is empty: ask for 'spk', 'mem' or both.")
    if max_neurons is not None:
        check_int("max_neurons", max_neurons, low=1)
    layers = [layers] if isinstance(layers, str) else layers
    model = model if frames is None else over_time(model)
    recording = Recording(model, layers, what, max_neurons, max_megabytes)
    if frames is None:
        return recording
    with evaluating(model), recording:
        model(frames)
    return recording
