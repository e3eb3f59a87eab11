"""Batches of frames as torch tensors, in an order that depends on the seed and the epoch only."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from snn_helpers._checks import check_int
from snn_helpers.events.frames import Augment, FrameSpec

if TYPE_CHECKING:
    from snn_helpers.data.dataset import EventDataset
    from snn_helpers.engine.cuda.frames import DeviceEvents


class FrameLoader:
    """Batches of frames in an order that depends on (seed, epoch) only.

    Iterating gives epoch `self.epoch`, which then counts up, so that a plain `for` loop sees a new order each time;
    `batches(epoch)` gives a chosen one. There are no worker processes: a batch is binned in about a millisecond.

    With `part = (rank, size)` a batch is shared out over `size` processes, of which this one, `rank`, gets its part. A
    last batch of fewer than `least` recordings is left out, unless it is the only one.
    """

    def __init__(
        self,
        dataset: EventDataset,
        batch_size: int,
        spec: FrameSpec,
        shuffle: bool,
        seed: int,
        augment: Augment | None,
        part: tuple[int, int] = (0, 1),
        least: int = 1,
    ):
        self.dataset = dataset
        self.batch_size = check_int("batch_size", batch_size, low=1)
        self.spec = spec
        self.shuffle = shuffle
        self.seed = check_int("seed", seed, low=0)
        self.augment = augment
        self.part = part
        self.least = check_int("least", least, low=1)
        self.epoch = 0
        self.events: DeviceEvents | None = None  # on a device, see `on_device`

    def on_device(self, device: torch.device | str) -> FrameLoader:
        """Return a loader of the same batches, whose events are kept on a GPU and binned there, bit for bit as here.

        Raises
        ------
        ValueError
            If frames such as these cannot be made there; see `EventDataset.device_bytes`.
        """
        from snn_helpers.engine.cuda.frames import DeviceEvents

        if self.dataset.device_bytes(self.spec) is None:
            raise ValueError(f"frames of {self.dataset!r} as {self.spec} are made on the CPU alone.")
        other, store = copy.copy(self), self.dataset._store
        other.events = DeviceEvents(store.x, store.y, store.t, store.p, store.offsets, self.dataset.sensor_size, device)
        return other

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + bool(rest and (rest >= self.least or not whole))

    def whole(self) -> FrameLoader:
        """Return the loader of whole batches, not only of this process's part."""
        return FrameLoader(
            self.dataset, self.batch_size, self.spec, self.shuffle, self.seed, self.augment, least=self.least
        )

    def weight(self, size: int, step: int) -> float:
        """Return the factor by which a part of `size` recordings counts in the mean over the processes."""
        in_batch = min(self.batch_size, len(self.dataset) - step * self.batch_size)
        return size * self.part[1] / in_batch

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch = self.epoch
        self.epoch += 1
        return self.batches(epoch)

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the recordings in `epoch`, int64 [N]."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (frames uint8 [T, B, P, H, W], labels int64 [B]) from batch `first` on; the last may be smaller."""
        order = self.order(epoch)
        augment_seed = int(np.random.SeedSequence([self.seed, epoch, 1]).generate_state(1, np.uint64)[0])
        rank, size = self.part
        for number in range(first, len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size][rank::size]
            if not len(chosen):  # the few recordings of a last batch to score went to other processes
                continue
            labels = torch.from_numpy(self.dataset.labels[chosen])
            if self.events is None:
                yield torch.from_numpy(self.dataset.binned(chosen, self.spec, self.augment, augment_seed)), labels
            else:
                yield self._bin_on_device(self.events, chosen, augment_seed), labels.to(self.events.device)

    def _bin_on_device(self, events: DeviceEvents, chosen: np.ndarray, seed: int) -> torch.Tensor:
        device, dataset = events.device, self.dataset
        places, draws = (torch.from_numpy(one).to(device) for one in (dataset._indices[chosen], chosen))
        width_us = -1 if self.spec.window == "tonic" else 0
        changes = {} if self.augment is None else vars(self.augment)
        return events.frames(places, self.spec.num_steps, width_us=width_us, seed=seed, draws=draws, **changes)
