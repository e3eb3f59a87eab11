"""One recording through a network: its frames, every layer's spikes, membranes and the output neurons' race."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np

from snn_helpers import plots
from snn_helpers._checks import check_float
from snn_helpers.activity import decisions
from snn_helpers.widgets.base import MAX_BYTES, Explorer, class_names
from snn_helpers.widgets.page import within_budget
from snn_helpers.widgets.state import Choice, Field, Flag, Number, Numbers

SPEEDS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
_SMALL = 10_000  # bytes of a layer's membranes that a page keeps of every recording

Record = Mapping[str, Any]  # layer to array or tensor [T, B, ...]


class ActivityExplorer(Explorer):
    """See what a network did with each recording of a batch, everything under one cursor.

    Parameters
    ----------
    frames : array or None, uint8 [T, B, 2, H, W]
        What the network got; None shows a sentence.
    spk : dict of layer to array [T, B, ...]
        Spikes in {0, 1}, in the order of the layers; the last is the output, [T, B, classes].
    mem : dict of layer to array [T, B, ...], or None
        Membranes; layers may be missing.
    labels : array [B] or None
        True classes; without them there are no wrong answers to step through.
    classes : sequence of str or None
        What the classes are called; None: by their numbers.
    other : (spk, mem) or None
        What a second network or checkpoint did with the same frames, to compare.
    names : sequence of str
        What the networks are called.
    threshold, step_ms : float
        Firing threshold, in units of the membranes; length of a step, in ms.
    state : dict or None
        What was chosen, as `.state` gives it: sample, layer, network, neurons, time_ms, speed, only_wrong.

    Raises
    ------
    ValueError
        If shapes disagree, or the two networks have not the same layers.

    Notes
    -----
    Membranes travel as 16-bit numbers, exact to 1 part in 32,767 of the largest; where they would take more than 2 MB,
    those of the largest layers are left out, and the widget says so. Another recording of the batch is fetched from
    Python when it is asked for.
    """

    script = "activity_explorer.js"
    asks: ClassVar = {"sample": "This page holds only a few recordings; in JupyterLab the kernel sends the others."}

    def __init__(
        self,
        frames,
        spk: Record,
        mem: Record | None = None,
        labels: Sequence[int] | None = None,
        *,
        classes: Sequence[str] | None = None,
        other: tuple[Record, Record | None] | None = None,
        names: Sequence[str] = ("network", "other network"),
        threshold: float = 1.0,
        step_ms: float = 12.0,
        state: Mapping[str, Any] | None = None,
    ):
        networks = [(spk, mem), *([other] if other else [])]
        self._networks = [(_as_arrays(spk), _as_arrays(mem)) for spk, mem in networks]
        self._frames = np.asarray([] if frames is None else frames)
        if self._frames.size == 0 or not spk:
            super().__init__({}, {"sentence": "Nothing was recorded: no frames, or no layer."}, {}, state)
            return
        _check_shapes(self._frames, self._networks)
        num_steps, samples = self._frames.shape[:2]
        self._labels = None if labels is None else [int(label) for label in labels]
        if self._labels is not None and len(self._labels) != samples:
            raise ValueError(f"`labels` must be as many as recordings, {samples}; got {len(self._labels)}.")
        self._layers = list(self._networks[0][0])
        outputs = self._networks[0][0][self._layers[-1]].shape[-1]
        self._classes = class_names(classes, max([outputs - 1, *(self._labels or [])]))
        self._names = list(names)[: len(networks)]
        self._step_ms = check_float("step_ms", step_ms, low=0, above=True)
        self._threshold = check_float("threshold", threshold, low=0, above=True)
        largest = max(int(np.prod(array.shape[2:])) for array in self._networks[0][0].values())
        fields: dict[str, Field] = {
            "sample": Number(0, 0, samples - 1, whole=True),
            "layer": Choice(self._layers[0], self._layers),
            "network": Choice(0, list(range(len(networks)))),
            "neurons": Numbers([], 0, largest - 1, 4, whole=True),
            "time_ms": Number(num_steps * step_ms / 2, 0, num_steps * step_ms),
            "speed": Choice(0.1, SPEEDS),
            "only_wrong": Flag(False),
        }
        self._kept, note = self._choose_membranes()
        super().__init__(fields, self._describe(note), {}, state)
        self._buffers = self._pack(self._state["sample"])

    def _choose_membranes(self) -> tuple[list[str], str]:
        """Return the layers whose membranes fit into the bytes there are, the smaller first, and what to say."""
        have = [layer for layer in self._layers if any(layer in mem for _, mem in self._networks)]
        if not have:
            return [], "The batch was recorded without membranes."
        bytes_of = {layer: self._membrane_bytes(layer) for layer in have}
        room = MAX_BYTES - self._frames[:, 0].size - sum(size // 16 + 1 for size in bytes_of.values())
        kept = []
        for layer in sorted(have, key=bytes_of.__getitem__):
            if bytes_of[layer] <= room:
                room -= bytes_of[layer]
                kept.append(layer)
        left_out = [layer for layer in have if layer not in kept]
        return kept, f"Too large for this view: the membranes of {', '.join(left_out)}." if left_out else ""

    def _describe(self, note: str) -> dict:
        spk = self._networks[0][0]
        shapes = {layer: (*spk[layer].shape[2:], 1, 1)[:3] for layer in self._layers}
        return {
            "layers": [{"name": k, "shape": list(map(int, s)), "size": int(np.prod(s))} for k, s in shapes.items()],
            "num_steps": self._frames.shape[0],
            "samples": self._frames.shape[1],
            "height": self._frames.shape[-2],
            "width": self._frames.shape[-1],
            "labels": self._labels,
            "classes": self._classes,
            **self._answers(),
            "names": self._names,
            "threshold": self._threshold,
            "step_ms": self._step_ms,
            "speeds": list(SPEEDS),
            "note": note,
        }

    def _answers(self) -> dict[str, list[list[int | None]]]:
        """Return each network's answers, None for no output spike and no membranes, and the steps until they stay."""
        output, decided, settled = self._layers[-1], [], []
        for spk, mem in self._networks:
            found = decisions(spk[output], mem.get(output, np.zeros(spk[output].shape)))
            known = np.asarray(spk[output].any((0, 2)) | (output in mem))
            decided.append([int(one) if is_known else None for one, is_known in zip(found.final, known)])
            settled.append((found.settled + 1).tolist())
        return {"decided": decided, "settled": settled}

    def _membrane_bytes(self, layer: str) -> int:
        return 2 * len(self._networks) * self._networks[0][0][layer][:, 0].size

    def _pack(self, sample: int, with_membranes: Sequence[str] | None = None) -> dict[str, bytes]:
        """Return the bytes of one recording of the batch; membranes of all layers that fit, or of those named."""
        kept = self._kept if with_membranes is None else with_membranes
        buffers, scales = {"sample": np.int32(sample).tobytes()}, []
        buffers["frames"] = np.ascontiguousarray(self._frames[:, sample], np.uint8).tobytes()
        for network, (spk, mem) in enumerate(self._networks):
            for index, layer in enumerate(self._layers):
                buffers[f"spk{network}_{index}"] = np.packbits(spk[layer][:, sample] > 0).tobytes()
                scale = 0.0
                if layer in kept and layer in mem:
                    values = mem[layer][:, sample].astype(np.float32)
                    scale = float(max(np.abs(values).max(), 1e-12)) / 32767
                    buffers[f"mem{network}_{index}"] = np.rint(values / scale).astype(np.int16).tobytes()
                scales.append(scale)
        buffers["scales"] = np.asarray(scales, np.float32).tobytes()
        return buffers

    def _page_answers(self) -> dict[str, dict[Any, Mapping[str, Any]]]:
        shown, small = self._state["sample"], [layer for layer in self._kept if self._membrane_bytes(layer) <= _SMALL]
        others = sorted(set(range(self._facts["samples"])) - {shown}, key=lambda sample: abs(sample - shown))
        return {"sample": within_budget((sample, {"buffers": self._pack(sample, small)}) for sample in others)}

    def _answer(self, front, sample: int) -> None:
        front.buffers = self._pack(sample)

    @property
    def wrong(self) -> list[list[int]]:
        """The recordings that each network answers wrongly, by position in the batch."""
        labels = self._labels or []
        return [[i for i, label in enumerate(labels) if decided[i] != label] for decided in self._facts["decided"]]

    def draw(self):
        """Return the figure of the present moment: frame, feature maps, race and membranes."""
        state = self.state
        step = min(int(state["time_ms"] / self._step_ms), len(self._frames) - 1)
        columns = 3 + len(self._networks)
        ratios = [1, 1.5, *[1.4] * (columns - 2)]
        figure, axes = plots.new_figure(1, columns, width=3 + 2.2 * (columns - 1), height=2.9, width_ratios=ratios)
        sample, (spk, mem) = state["sample"], self._networks[state["network"]]
        plots.frame(self._frames[step, sample], axes[0], f"recording {sample + 1},\nstep {step}")
        layer = state["layer"]
        picture = mosaic(spk[layer][step, sample], spk[layer][: step + 1, sample].sum(0))
        axes[1].imshow(mpl.colormaps["Greys"](0.1 + 0.9 * picture / max(picture.max(), 1)))
        now = int((spk[layer][step, sample] > 0).sum())
        axes[1].set(xticks=[], yticks=[], title=f"{layer}: {now} spikes now")
        for ax, (network, _), name, decided in zip(axes[2:], self._networks, self._names, self._facts["decided"]):
            spikes = network[self._layers[-1]][:, sample]
            true_class = self._labels[sample] if self._labels else None
            plots.race(spikes.cumsum(0), ax, self._step_ms, true_class, decided[sample])
            said = "no output spike" if decided[sample] is None else f"says {self._classes[decided[sample]]}"
            ax.axvline(state["time_ms"], color="black", linewidth=1)
            ax.set(title=f"{name}: {said}", xlabel="time, ms")
        self._draw_membranes(axes[-1], layer, spk, mem, state)
        return figure

    def _draw_membranes(self, ax, layer, spk, mem, state):
        if layer not in mem:
            ax.text(0.5, 0.5, "recorded without\nmembranes", ha="center", va="center", transform=ax.transAxes)
            ax.set(xticks=[], yticks=[])
            return
        traces = mem[layer][:, state["sample"]].reshape(len(self._frames), -1)
        neurons = state["neurons"] or [int(spk[layer][:, state["sample"]].reshape(len(traces), -1).sum(0).argmax())]
        times = self._step_ms * (1 + np.arange(len(traces)))
        for neuron in neurons:
            ax.plot(times, traces[:, neuron], label=f"#{neuron}")
        ax.axhline(self._threshold, color=plots.GREY, linestyle="--", linewidth=1)
        ax.axvline(state["time_ms"], color="black", linewidth=1)
        ax.set(title=f"{layer}, membrane {', '.join(f'#{n}' for n in neurons)}", xlabel="time, ms")


def _check_shapes(frames: np.ndarray, networks: Sequence[tuple[dict, dict]]) -> None:
    if frames.ndim != 5 or frames.shape[2] != 2:
        raise ValueError(f"`frames` must be [T, B, 2, H, W]; got {frames.shape}.")
    layers = list(networks[0][0])
    for spk, mem in networks:
        if list(spk) != layers:
            raise ValueError(f"`other` must have the layers {', '.join(layers)}; got {', '.join(spk)}.")
        for layer in layers:
            for name, record in (("spk", spk), ("mem", mem)):
                if layer in record and record[layer].shape != networks[0][0][layer].shape:
                    raise ValueError(f"`{name}['{layer}']` must be of the shape of the first network's spikes.")
                if layer in record and record[layer].shape[:2] != frames.shape[:2]:
                    raise ValueError(
                        f"`{name}['{layer}']` must begin with [T, B] = {frames.shape[:2]}; got {record[layer].shape}."
                    )


def mosaic(now: np.ndarray, so_far: np.ndarray) -> np.ndarray:
    """Lay maps [C, H, W] or neurons [N] out as one picture: a third of the counts so far, and full where one fires now.

    Returns
    -------
    float [rows, columns]
    """
    channels, height, width = (*now.shape, 1, 1)[:3]
    columns = int(np.ceil(np.sqrt(channels * height / width)))
    rows = -(-channels // columns)
    strength = np.where(now > 0, 1.0, np.minimum(so_far, 3) / 9).reshape(channels, height, width)
    gap = 0 if height * width == 1 else 1
    picture = np.zeros((rows * (height + gap), columns * (width + gap)))
    for channel in range(channels):
        top, left = channel // columns * (height + gap), channel % columns * (width + gap)
        picture[top : top + height, left : left + width] = strength[channel]
    return picture[: picture.shape[0] - gap, : picture.shape[1] - gap]


def _as_arrays(record: Record | None) -> dict[str, np.ndarray]:
    return {layer: np.asarray(values) for layer, values in (record or {}).items()}
