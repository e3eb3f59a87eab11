"""Does `motion` need time? Networks that use it beside networks that cannot, over seeds.

Run `python benchmarks/motion.py` (`--seeds 5` takes about an hour). All learn from the same 1,500 recordings and are
tested on the same 1,000 others, T = 24 frames: SpikingCNN by the teach profile's recipe, the others with its batches,
epochs, learning rate and schedule. Nothing is chosen by the test.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
from _measure import RESULTS
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers import Splits, TrainConfig, load_dataset, train
from snn_helpers._files import write_whole
from snn_helpers.activity.controls import shuffle_time
from snn_helpers.data import EventDataset
from snn_helpers.events.frames import Augment, FrameSpec
from snn_helpers.events.motion import CLASSES
from snn_helpers.stats import mean_interval, wilson_interval
from snn_helpers.training.recipes import recipe

TEACH = recipe("cnn", "motion", "teach")
TRAIN, STEPS, BATCH, EPOCHS = TEACH["num_samples"], TEACH["time_steps"], TEACH["batch_size"], TEACH["epochs"]


class Frames(nn.Module):
    """A convolutional network with ReLUs: frames [N, 2, 34, 34] to features [N, 64]."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *self._block(2, 16), *self._block(16, 32), nn.Flatten(), nn.LazyLinear(64), nn.BatchNorm1d(64), nn.ReLU()
        )

    @staticmethod
    def _block(channels: int, maps: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(channels, maps, 3, padding=1), nn.BatchNorm2d(maps), nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, frames: Tensor) -> Tensor:
        """Compute the features."""
        return self.layers(frames)


class Summed(nn.Module):
    """Sees one picture, the sum of all frames [T, B, ...]."""

    def __init__(self):
        super().__init__()
        self.frames, self.answer = Frames(), nn.Linear(64, len(CLASSES))

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        return self.answer(self.frames(frames.float().sum(0)))


class Unordered(Summed):
    """Sees every frame [T, B, ...], but not their order: the mean of what each of them gives."""

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        return self.answer(self.of_each(frames).mean(0))

    def of_each(self, frames: Tensor) -> Tensor:
        """Return the features of every frame, [T, B, 64]."""
        return self.frames(frames.float().flatten(0, 1)).unflatten(0, frames.shape[:2])


class Ordered(Unordered):
    """Sees every frame [T, B, ...] in its place: the control, which shows that such a network can learn the classes."""

    def __init__(self):
        super().__init__()
        self.answer = nn.Linear(64 * STEPS, len(CLASSES))

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        return self.answer(self.of_each(frames).transpose(0, 1).flatten(1))


class Counts(nn.Module):
    """Sees how many events of each polarity there are, and in how many frames: [T, B, ...] to logits."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.layers = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, len(CLASSES)))

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        events = frames.float().sum((3, 4))
        seen = torch.cat([events.sum(0), (events.sum(2) > 0).sum(0)[:, None].float()], 1)
        return self.layers(self.norm(seen))


class Shuffled(EventDataset):
    """The frames of each recording come in a random order, another one each time that they are asked for."""

    def binned(self, indices, spec: FrameSpec, augment: Augment | None = None, seed: int = 0) -> np.ndarray:
        """Bin recordings into frames [T, B, P, H, W]."""
        return shuffle_time(super().binned(indices, spec, augment, seed), np.random.default_rng(seed))


def spiking_accuracy(seed: int, shuffle: bool = False, **settings: float) -> float:
    """Train SpikingCNN as the teach profile does and return its accuracy on the test recordings."""
    splits = [load_dataset("motion", split=split) for split in ("train", "valid", "test")]
    splits[0] = splits[0].take(TRAIN)
    if shuffle:
        splits = [Shuffled(one._store, one._indices, one.provenance) for one in splits]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = TrainConfig(dataset="motion", profile="teach", seed=seed, save_dir=f"{folder}/run", **settings)
        return train(config, splits=Splits(*splits)).metrics["test_accuracy"]


ROWS: dict[str, Callable[[int, list], float]] = {
    "SpikingCNN": lambda seed, _: spiking_accuracy(seed),
    "SpikingCNN, beta 0.5 (short memory)": lambda seed, _: spiking_accuracy(seed, beta=0.5),
    "SpikingCNN, shuffled time": lambda seed, _: spiking_accuracy(seed, shuffle=True),
    "CNN on ordered frames": lambda seed, data: accuracy(Ordered, seed, data),
    "CNN on unordered frames": lambda seed, data: accuracy(Unordered, seed, data),
    "CNN on summed frames": lambda seed, data: accuracy(Summed, seed, data),
    "counts and duration": lambda seed, data: accuracy(Counts, seed, data),
}


def accuracy(make: Callable[[], nn.Module], seed: int, data: list, epochs: int = EPOCHS) -> float:
    """Train a network and return its accuracy on the test recordings.

    Parameters
    ----------
    make : callable
        Makes the network.
    seed : int
    data : list of two (uint8 frames [T, N, C, H, W], int64 labels [N])
        To learn from, and to be tested on.
    epochs : int
    """
    (frames, labels), (test_frames, test_labels) = data
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = make()
    net(frames[:, :2])  # lazy layers learn their size
    steps = len(labels) // BATCH
    optimizer = torch.optim.Adam(net.parameters(), TEACH["lr"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, TEACH["lr"], total_steps=epochs * steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels), generator=generator)[: steps * BATCH].view(steps, BATCH):
            optimizer.zero_grad()
            F.cross_entropy(net(frames[:, chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        parts = torch.arange(len(test_labels)).split(100)
        right = sum(int((net(test_frames[:, part]).argmax(1) == test_labels[part]).sum()) for part in parts)
    return right / len(test_labels)


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="from 0; one by default")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    given = parser.parse_args()
    data = []
    for split, count in (("train", TRAIN), ("test", None)):
        dataset = load_dataset("motion", split=split).take(count)
        frames = torch.from_numpy(dataset.frames(range(len(dataset)), STEPS))
        data.append((frames, torch.from_numpy(np.asarray(dataset.labels, dtype=np.int64))))
    count = len(data[1][1])
    print(f"motion, test, n = {count:,}, chance {100 / len(CLASSES):.1f} %, {given.seeds} seeds from 0")
    lines = ["| network | accuracy, % (by seed) | 95 % interval | s a network |", "|---|---|---|---|"]
    for name, measure in ROWS.items():
        if given.only not in name:
            continue
        start = time.perf_counter()
        found = [measure(seed, data) for seed in range(given.seeds)]
        seconds = (time.perf_counter() - start) / given.seeds
        # Over seeds, of the mean; of one seed, over recordings.
        low, high = mean_interval(found)[1:] if len(found) > 1 else wilson_interval(round(found[0] * count), count)
        by_seed = ", ".join(f"{100 * one:.1f}" for one in found)
        lines.append(
            f"| {name} | {100 * np.mean(found):.1f} ({by_seed}) | {100 * low:.1f} to {100 * high:.1f} | {seconds:.0f} |"
        )
        print(lines[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    write_whole(RESULTS / "motion.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
