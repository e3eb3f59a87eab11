"""Recordings with their labels, geometry and origin, as a data set of torch."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from snn_helpers._checks import check_int
from snn_helpers.data.loader import FrameLoader
from snn_helpers.events.frames import Augment, FrameSpec, bin_frames
from snn_helpers.events.recording import SACCADES_MS
from snn_helpers.events.store import EventStore

LARGEST_FRAME = 64
"""Pixels along the longer side of frames, unless asked for otherwise; larger sensors are pooled to this."""

_MEASURED_ON = 8  # recordings


class EventsPooledWarning(UserWarning):
    """Frames have fewer pixels than the sensor, so that events share cells."""


@dataclass(frozen=True)
class Provenance:
    """Where data come from; stands in every result and on every figure.

    Attributes
    ----------
    dataset : str
        Name as given to `load_dataset`.
    split : str
        "train", "valid" or "test"; of data sets added up, as elsewhere here, both names.
    source : str
        In words, how the recordings were made.
    recordings : int
        How many of them; one that is there several times counts once.
    checksum : str
        First half of the sha256 over the store's arrays.
    """

    dataset: str
    split: str
    source: str
    recordings: int
    checksum: str

    def __str__(self) -> str:
        return f"{self.source}, {self.split}, n = {self.recordings:,}"

    def as_dict(self) -> dict[str, str | int]:
        """Return plain values for JSON."""
        return asdict(self)


def same_recordings(one: Mapping[str, str | int], other: Mapping[str, str | int]) -> bool:
    """Say whether two provenances, as `Provenance.as_dict` gives them, are of the same recordings, and as many."""
    return all(one[key] == other[key] for key in ("checksum", "recordings"))


class EventDataset(Dataset):
    """Recordings of one split of a data set, with their labels: a data set of torch, too.

    `dataset[i]` is (frames uint8 [T, P, H, W], label), T = `num_steps`; a `torch.utils.data.DataLoader` takes it, with
    workers. `loader` gives the same in batches [T, B, P, H, W], several times faster.

    Attributes
    ----------
    labels : int64 [N]
        Class of each recording.
    classes : tuple of str
        Names of the classes, by label.
    provenance : Provenance
        Where they come from.
    sensor_size : (W, H, P)
        Width, height, polarities of the camera.
    frame_size : (W, H)
        Of the frames, where nothing else is asked for; see `pooled`.
    num_steps : int
        Frames of `dataset[i]`; to be set.
    """

    num_steps = 25

    def __init__(self, store: EventStore, indices, provenance: Provenance, frame_size: tuple[int, int] | None = None):
        self._store = store
        self._indices = np.asarray(indices, dtype=np.int64)
        self.labels = np.asarray(store.labels)[self._indices]
        self.provenance = replace(provenance, recordings=len(np.unique(self._indices)))
        self.sensor_size, self.classes = store.geometry
        self.frame_size = frame_size or self.sensor_size[:2]

    @property
    def num_classes(self) -> int:
        """Number of classes, also of those that this split has no recording of."""
        return len(self.classes)

    @property
    def is_nmnist(self) -> bool:
        """Whether these are N-MNIST's digits, real or simulated, seen in three saccades."""
        return self.classes == tuple("0123456789") and self.sensor_size == (34, 34, 2)

    @property
    def saccades_ms(self) -> tuple[tuple[float, float], ...]:
        """When the camera moves, (start, stop) in ms: N-MNIST's three saccades, and nothing for other data."""
        return SACCADES_MS if self.is_nmnist else ()

    def name_of(self, label: int) -> str:
        """Return a class in words."""
        return f"digit {label}" if self.is_nmnist else self.classes[label]

    def step_ms(self, num_steps: int) -> float:
        """Return the length of a frame in ms where each recording is cut into so many: the recordings' median."""
        starts, ends = self._store.offsets[self._indices], self._store.offsets[self._indices + 1]
        spans = [int(self._store.t[b - 1]) - int(self._store.t[a]) for a, b in zip(starts, ends) if b > a]
        return float(np.median(spans or [0])) / 1_000 / num_steps

    @property
    def geometry(self) -> dict:
        """What a network for these frames is built with: `num_classes`, `in_channels`, `image_size`."""
        width, height = self.frame_size
        size = width if width == height else (width, height)
        return {"num_classes": self.num_classes, "in_channels": self.sensor_size[2], "image_size": size}

    def __len__(self) -> int:
        return len(self._indices)

    def __repr__(self) -> str:
        return f"EventDataset({self.provenance})"

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` must be in 0..{len(self) - 1}; got {index}.")
        index = int(index) % len(self)
        return torch.from_numpy(self.frames([index], self.num_steps)[:, 0]), int(self.labels[index])

    def events(self, index: int) -> np.ndarray:
        """Return recording `index` as a structured array [N] with fields x, y, t (µs), p."""
        return self._store.events(int(self._positions([index])[0]))

    def frames(
        self,
        indices,
        num_steps: int = 25,
        window: str = "recording",
        window_us: int | None = None,
        augment: Augment | None = None,
        seed: int = 0,
        origin: str = "first",
        size: tuple[int, int] | int | None = None,
    ) -> np.ndarray:
        """Bin recordings into frames.

        Parameters
        ----------
        indices : sequence of int [B], or bool [N]
            Which recordings.
        num_steps, window, window_us, origin
            See `FrameSpec`.
        size : (W, H), int or None
            Pixels that the frames are pooled to; None takes `frame_size`. A warning says what a smaller size costs.
        augment, seed
            See `Augment`; what happens to a recording depends on the seed and its place in this data set only, so that
            one that is there several times is changed in several ways.

        Returns
        -------
        uint8 ndarray [T, B, P, H, W]
            Event counts.

        Warns
        -----
        EventsPooledWarning
            If `size` is smaller than the sensor: the share of events that meet an earlier one in their cell.
        """
        spec = self._spec(num_steps, window, window_us, origin, size)
        if size is not None and spec.size is not None:
            warnings.warn(self._pooling_words(self._chosen(indices)[:_MEASURED_ON], spec), EventsPooledWarning, 2)
        return self.binned(indices, spec, augment, seed)

    def binned(self, indices, spec: FrameSpec, augment: Augment | None = None, seed: int = 0) -> np.ndarray:
        """Bin recordings into frames as a spec says; see `frames`, which makes one."""
        store, chosen = self._store, self._chosen(indices)
        events, where = (store.x, store.y, store.t, store.p), self._indices[chosen]
        return bin_frames(
            events, store.offsets, where, self.sensor_size, spec, augment, seed, draws=chosen, checked=True
        )

    def device_bytes(self, spec: FrameSpec) -> int | None:
        """Return the memory that the events take on a GPU; None where frames of this spec are made on the CPU alone.

        That are pooled ones, those of a fixed length or from time 0 on, and those of a class with its own `binned`.
        """
        from snn_helpers.engine.cuda.frames import DeviceEvents

        plain = spec.size is None and spec.window_us is None and spec.origin == "first"
        if not plain or type(self).binned is not EventDataset.binned or not len(self._store.t):
            return None
        return DeviceEvents.nbytes(len(self._store.t), long=True)

    def _spec(self, num_steps, window="recording", window_us=None, origin="first", size=None) -> FrameSpec:
        spec = FrameSpec(num_steps, window, window_us, origin, self.frame_size if size is None else size)
        return replace(spec, size=None) if spec.size == self.sensor_size[:2] else spec

    def shared_cells(self, indices, spec: FrameSpec) -> tuple[float, float]:
        """Return the share of events that fall into a cell of the frames that has one already: pooled, not pooled.

        A cell is a step, a polarity and a pixel. Where a count says no more than one event would, this is what is lost.

        Parameters
        ----------
        indices : sequence of int [B], or bool [N]
            Which recordings.
        spec : FrameSpec
            Of the frames; its `size` is what they are pooled to.

        Returns
        -------
        pooled, own : float in [0, 1]
            At `spec.size`, and at the sensor's own size.
        """
        shares = []
        for each in (spec, replace(spec, size=None)):
            events = cells = 0
            for index in self._chosen(indices):  # one at a time: frames of a large sensor are large
                frames = self.binned([index], each)
                events, cells = events + int(frames.sum(dtype=np.int64)), cells + int(np.count_nonzero(frames))
            shares.append(1 - cells / events if events else 0.0)
        return shares[0], shares[1]

    def describe_pooling(self, num_steps: int) -> str:
        """Say what pooling to `frame_size` costs, measured on a few recordings; empty where nothing is pooled."""
        spec = self._spec(num_steps)
        return "" if spec.size is None else self._pooling_words(range(min(_MEASURED_ON, len(self))), spec)

    def _pooling_words(self, indices, spec: FrameSpec) -> str:
        pooled, own = self.shared_cells(indices, spec)
        width, height = self.sensor_size[:2]
        size = spec.size or (width, height)
        return (
            f"{width} x {height} pixels pooled to {size[0]} x {size[1]}: {pooled:.1%} of the events share "
            f"their step, polarity and pixel with an earlier one; unpooled {own:.1%}."
        )

    def loader(
        self,
        batch_size: int,
        num_steps: int = 25,
        shuffle: bool = True,
        seed: int = 0,
        augment: Augment | None = None,
        window: str = "recording",
        part: tuple[int, int] = (0, 1),
        least: int = 1,
        window_us: int | None = None,
        origin: str = "first",
        size: tuple[int, int] | int | None = None,
    ) -> FrameLoader:
        """Return batches of (frames uint8 [T, B, P, H, W], labels int64 [B]) as torch tensors; see `FrameLoader`.

        `num_steps`, `window`, `window_us`, `origin` and `size` are those of `frames`.
        """
        spec = self._spec(num_steps, window, window_us, origin, size)
        return FrameLoader(self, batch_size, spec, shuffle, seed, augment, part, least)

    def subset(self, indices) -> EventDataset:
        """Return some of the recordings, int [M], also several times, or bool [N], of the same provenance."""
        return self._of(self._store, self._positions(indices), self.provenance)

    def pooled(self, largest: int | None = None) -> EventDataset:
        """Return the same recordings with frames of at most so many pixels along the longer side.

        Parameters
        ----------
        largest : int or None
            At least 8; None takes the sensor's own size up to `LARGEST_FRAME`. The shorter side keeps the proportion.
        """
        width, height = self.sensor_size[:2]
        largest = LARGEST_FRAME if largest is None else check_int("image_size", largest, low=8)
        scale = min(1.0, largest / max(width, height))
        size = (max(8, round(width * scale)), max(8, round(height * scale))) if scale < 1 else (width, height)
        return self._of(self._store, self._indices, self.provenance, size)

    def _of(self, store: EventStore, indices, provenance: Provenance, frame_size=None) -> EventDataset:
        """Return a data set of these recordings that is otherwise this one: its class, and what was set on it."""
        other = copy.copy(self)
        EventDataset.__init__(other, store, indices, provenance, frame_size or self.frame_size)
        return other

    def __add__(self, other: EventDataset) -> EventDataset:  # type: ignore[override]
        """Return the recordings of both, these first, as torch's data sets do; of two stores, joined in memory."""
        store, moved = self._store, 0
        if (other.sensor_size, other.classes) != (self.sensor_size, self.classes):
            raise ValueError(
                f"these recordings are of {self.sensor_size} pixels and {self.num_classes} classes, the others of "
                f"{other.sensor_size} and {other.num_classes}: they cannot be one data set."
            )
        if other._store.manifest["checksums"] != store.manifest["checksums"]:
            store, moved = store.joined(other._store), len(store)
        first, second = vars(self.provenance), vars(other.provenance)
        names = {
            field: " and ".join(dict.fromkeys((first[field], second[field])))
            for field in ("dataset", "split", "source")
        }
        changes: dict[str, Any] = {**names, "checksum": checksum_of(store)}
        provenance = replace(self.provenance, **changes)
        return self._of(store, np.concatenate([self._indices, moved + other._indices]), provenance)

    def take(self, count: int | None, seed: int = 0) -> EventDataset:
        """Return `count` recordings, the same share of every class as far as that goes; None or too many: all."""
        if count is None or check_int("count", count, low=1) >= len(self):
            return self
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self))
        rank = np.empty(len(self), np.int64)  # the how-manieth of its class, in random order
        for label in np.unique(self.labels):
            of_class = order[self.labels[order] == label]
            rank[of_class] = np.arange(len(of_class))
        chosen = np.sort(order[np.argsort(rank[order], kind="stable")][:count])
        return self._of(self._store, self._indices[chosen], self.provenance)

    def _chosen(self, indices) -> np.ndarray:
        """Return places in this data set, int64, of places or of a mask; refuse what is outside."""
        indices = np.asarray(indices)
        if indices.dtype == bool:
            if indices.shape != (len(self),):
                raise IndexError(f"a mask must have the shape [{len(self)}]; got {list(indices.shape)}.")
            return np.flatnonzero(indices)
        if indices.size and not np.issubdtype(indices.dtype, np.integer):
            raise TypeError(f"`indices` must be whole numbers or a mask of bool; got dtype {indices.dtype}.")
        indices = indices.astype(np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"`indices` must be in 0..{len(self) - 1}; got {indices.min()}..{indices.max()}.")
        return indices

    def _positions(self, indices) -> np.ndarray:
        return self._indices[self._chosen(indices)]


def checksum_of(store: EventStore) -> str:
    """Return the first half of the sha256 over a store's arrays."""
    joined = "".join(store.manifest["checksums"][name] for name in sorted(store.manifest["checksums"]))
    return hashlib.sha256(joined.encode()).hexdigest()[:32]
