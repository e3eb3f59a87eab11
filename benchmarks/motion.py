"""Does `motion` need time? Networks that use it beside networks that cannot, over seeds.

Run `python benchmarks/motion.py` (`--seeds 5` takes about an hour). All learn from the same 1,500 recordings and are
tested on the same 1,000 others, T = 24 frames: SpikingCNN by the teach profile's recipe, the others with its batches,
epochs, learning rate and schedule. Nothing is chosen by the test.

`python benchmarks/motion.py --memories --seeds 5` is the study of notebook 09, about five minutes: networks that differ
in where they keep what they have seen, on `motion` and on the same recordings with longer rests. Their front end is
learned once, before a GRU, and then kept, so that they differ in nothing else. It writes docs/motion.json.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _measure import RESULTS
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers import Splits, TrainConfig, load_dataset, train
from snn_helpers._files import write_whole
from snn_helpers._versions import release
from snn_helpers.activity.controls import shuffle_time
from snn_helpers.data import EventDataset
from snn_helpers.data.sources.motion import simulated_chunks
from snn_helpers.events.camera import Camera
from snn_helpers.events.frames import Augment, EventsLostWarning, FrameSpec, bin_frames
from snn_helpers.events.motion import CLASSES, REST_MS
from snn_helpers.events.recording import SENSOR_SIZE
from snn_helpers.lessons.memories import (
    MEMORIES,
    MOTION_STEPS,
    STEP_MS,
    MemoryNetwork,
    answers_so_far,
    motion_frames,
    scores_over_time,
    train_memory,
)
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


MEMORIES_PATH = Path(__file__).resolve().parents[1] / "docs/motion.json"
COUNTS = {"train": 1_000, "valid": 500, "test": 1_000}
SETTINGS = {"short gaps": (REST_MS, MOTION_STEPS), "long gaps": ((240, 280), 54)}
"""Rest after an excursion in ms, and time steps."""
FRONT_EPOCHS, MEMORY_EPOCHS = 8, 8


@dataclass(frozen=True)
class Row:
    """A row of the study of memories: a network and what it is trained on."""

    setting: str
    name: str
    memory: str
    epochs: int = MEMORY_EPOCHS
    delays: tuple[int, ...] | None = None
    shuffle: bool = False


def _rows() -> tuple[Row, ...]:
    kinds = {
        "short gaps": ("leaky", "mixed", "adaptive", "recurrent", "delayed", "GRU"),
        "long gaps": ("leaky", "recurrent", "delayed", "GRU"),
    }
    short = [
        Row("short gaps", "summed frames", "sum", epochs=4),
        Row("short gaps", "no memory", "none"),
        Row("short gaps", "short memory", "short"),
        Row("short gaps", "leaky, shuffled time", "leaky", shuffle=True),
    ]
    remember = [Row(setting, kind, kind) for setting, names in kinds.items() for kind in names]
    reach = [Row("long gaps", "delayed, half as long", "delayed", delays=(0, 2, 4, 6, 8))]
    return (*short, *remember, *reach)


STUDY = _rows()


class OneSum(Summed):
    """`Summed`, whose answer comes in the form of the others: one step, [1, B, classes]."""

    def forward(self, frames: Tensor) -> Tensor:
        """Return scores [1, B, classes]."""
        return super().forward(frames)[None]


class Behind(nn.Module):
    """A network without its front end: what a front end makes of frames, [T, B, maps, h, w], to scores."""

    def __init__(self, net: MemoryNetwork):
        super().__init__()
        self.memory, self.readout, self.scores = net.memory, net.readout, net.scores

    def forward(self, features: Tensor) -> Tensor:
        """Return scores [T, B, classes]."""
        return self.scores(features)


def frames_of(split: str, setting: str) -> tuple[Tensor, Tensor]:
    """Return frames uint8 [T, N, 2, 34, 34] of STEP_MS each, and labels, of the first recordings of a split."""
    rest_ms, steps = SETTINGS[setting]
    if rest_ms == REST_MS:
        return motion_frames(split, COUNTS[split])[:2]
    spec, parts, labels, missing = FrameSpec(steps, window_us=1_000 * STEP_MS), [], [], COUNTS[split]
    for chunk in simulated_chunks(split, Camera(), rest_ms):
        offsets = np.concatenate([[0], np.cumsum(chunk.counts)])
        chosen = np.arange(min(missing, len(chunk.labels)))
        events = chunk.x, chunk.y, chunk.t, chunk.p
        with warnings.catch_warnings():  # noise after the last excursion is left out
            warnings.simplefilter("ignore", EventsLostWarning)
            parts.append(bin_frames(events, offsets, chosen, SENSOR_SIZE, spec, checked=True))
        labels.append(chunk.labels[chosen])
        missing -= len(chosen)
        if not missing:
            break
    return torch.from_numpy(np.concatenate(parts, 1)), torch.from_numpy(np.concatenate(labels).astype(np.int64))


@torch.no_grad()
def features_of(front: MemoryNetwork, frames: Tensor) -> Tensor:
    """Return what a front end makes of frames."""
    return torch.cat([front.eval().features(part) for part in frames.split(100, dim=1)], 1)


def measure_memory(row: Row, seed: int, data: dict, score: str) -> dict:
    """Train one network of the study; return its right answers, parameters and CPU seconds."""
    torch.manual_seed(seed)
    if row.memory == "sum":
        net, kind = OneSum(), "frames"
        net(data[kind, row.setting, "train"][0][:, :2])  # lazy layers learn their size
    else:
        net, kind = Behind(MemoryNetwork(row.memory, delays=row.delays)), "features"
    inputs, labels = data[kind, row.setting, "train"]
    start = time.process_time()
    spoil = shuffle_time if row.shuffle else None
    train_memory(net, inputs, labels, epochs=row.epochs, seed=seed, spoil=spoil)
    seconds = time.process_time() - start
    inputs, labels = data[kind, row.setting, score]
    if row.shuffle:
        inputs = torch.from_numpy(shuffle_time(inputs.numpy(), np.random.default_rng(seed)))
    right = int((answers_so_far(scores_over_time(net, inputs))[-1] == labels).sum())
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return {"right": right, "parameters": parameters, "cpu seconds": round(seconds, 1)}


def study_memories(seeds: int, only: str, score: str) -> None:
    """Run the study, a seed after the other, and keep it in docs/motion.json after each."""
    rows = [row for row in STUDY if only in f"{row.setting}: {row.name}"]
    frames, labels = frames_of("train", "short gaps")
    torch.manual_seed(0)
    front = MemoryNetwork("GRU")
    train_memory(front, frames, labels, epochs=FRONT_EPOCHS)
    data = {}
    for setting in dict.fromkeys(row.setting for row in rows):
        for split in ("train", score):
            frames, labels = frames_of(split, setting)
            data["features", setting, split] = features_of(front, frames), labels
            if setting == "short gaps":
                data["frames", setting, split] = frames, labels
    found = [{"setting": row.setting, "network": row.name, "epochs": row.epochs, "right": []} for row in rows]
    for seed in range(seeds):
        for row, kept in zip(rows, found):
            one = measure_memory(row, seed, data, score)
            kept["right"].append(one["right"])
            kept |= {"parameters behind the front end": one["parameters"], "cpu seconds, last seed": one["cpu seconds"]}
            print(f"{row.setting}: {row.name}, seed {seed}, {score}: {one}", flush=True)
        facts = {
            "what": "right answers by seed on recordings of motion; `python benchmarks/motion.py --memories`",
            "split": score, "n": COUNTS[score], "recordings to learn from": COUNTS["train"],
            "classes": len(CLASSES), "step, ms": STEP_MS,
            "front end": f"learned before a GRU in {FRONT_EPOCHS} epochs, short gaps, seed 0; then kept",
            "rest after an excursion, ms, and time steps": SETTINGS,
            "delays, steps": {"delayed": MEMORIES["delayed"].delays, "delayed, half as long": [0, 2, 4, 6, 8]},
            "machine": f"{platform.machine()}, {torch.get_num_threads()} thread",
            "versions": {name: release(name) for name in ("snn_helpers", "torch", "snntorch", "numpy")},
            "rows": found,
        }  # fmt: skip
        if score == "test" and not only:
            write_whole(MEMORIES_PATH, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="from 0; one by default")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--memories", action="store_true", help="the study of notebook 09, kept in docs/motion.json")
    parser.add_argument(
        "--valid", action="store_true", help="with --memories: score the validation split, keep nothing"
    )
    given = parser.parse_args()
    if given.memories:
        study_memories(given.seeds, given.only, "valid" if given.valid else "test")
        return
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
        span = f"{100 * max(low, 0):.1f} to {100 * min(high, 1):.1f}"
        lines.append(f"| {name} | {100 * np.mean(found):.1f} ({by_seed}) | {span} | {seconds:.0f} |")
        print(lines[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    write_whole(RESULTS / "motion.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
