"""What does looking inside cost? `record` beside the plain forward pass, drawing what was recorded, and t-SNE.

Run `python benchmarks/recording.py`. The plain pass and the recorded ones run in turn, on the fast engine, with weights
at which the layers fire as sparsely as trained ones. The figures are those of the activity report that draw a recorded
batch, saved as PNG; those that run the network anew (controls, attribution, cost) or embed it are not among them.
"""

from __future__ import annotations

import dataclasses
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _measure import REAL, interleaved, make_sparse, milliseconds, new_model
from matplotlib import pyplot as plt
from torch import Tensor

from snn_helpers import SpikingCNN, SpikingResNet, TrainConfig, activity, load_dataset
from snn_helpers.activity_figures import FIGURES, Subject
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.training.checkpoint import KEYS, save_checkpoint

NUM_STEPS, BATCH, ROUNDS, POINTS = 25, 256, 3, 500
MOST_RATIO, MOST_FIGURE_S, MOST_TSNE_S = 1.5, 1.0, 10.0
DRAWN = ("events", "rates", "raster", "membrane", "feature_maps", "race", "anytime", "confusion")
PLAIN, BOTH = "forward pass", "record spikes and membranes"


def measure_recording(model: SpikingNetwork, frames: Tensor) -> float:
    """Print the plain pass beside recorded ones; return how many times as long recording everything takes."""

    def plain() -> None:
        with torch.inference_mode():
            model(frames)

    works = {
        PLAIN: plain,
        "record spikes": lambda: activity.record(model, frames, what=("spk",)),
        BOTH: lambda: activity.record(model, frames),
    }
    seconds = interleaved(works, ROUNDS)
    for name, taken in seconds.items():
        print(f"  {name:<28} {milliseconds(taken):>20}  {np.median(taken / seconds[PLAIN]):.2f}")
    return float(np.median(seconds[BOTH] / seconds[PLAIN]))


def measure_figures(model: SpikingNetwork, kind: str, dataset) -> float:
    """Print what each figure of a recorded batch takes; return the slowest, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best.pt"
        config = dataclasses.asdict(TrainConfig(model=kind, time_steps=NUM_STEPS).resolve())
        save_checkpoint(path, {**dict.fromkeys(KEYS), "model": model.state_dict(), "config": config})
        subject = Subject(path, dataset)
    for known in (subject.recording, subject.decided, subject.firing):
        assert known is not None  # computed here, once, so that what is timed is the drawing
    taken = {}
    for name in DRAWN:
        started = time.perf_counter()
        figure, _ = FIGURES[name](subject)
        figure.savefig(io.BytesIO(), format="png")
        taken[name] = time.perf_counter() - started
        plt.close(figure)
    print("  figures, s: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in taken.items()))
    return max(taken.values())


def measure_tsne(dataset) -> float:
    """Print and return the seconds that t-SNE of recordings takes: of their event counts, the widest input there is."""
    frames = dataset.frames(range(POINTS), NUM_STEPS)
    counts = activity.spike_counts(frames)
    started = time.perf_counter()
    found = activity.embed(counts)
    seconds = time.perf_counter() - started
    print(f"t-SNE of {POINTS} recordings, {counts.shape[1]} counts each: {seconds:.1f} s, {found.method}")
    return seconds


def main() -> int:
    plt.switch_backend("Agg")
    real = (REAL / "Train").is_dir()
    dataset = load_dataset("nmnist", REAL) if real else load_dataset("simulated")
    few = load_dataset("simulated").take(BATCH)
    frames = torch.from_numpy(dataset.frames(range(BATCH), NUM_STEPS))
    print(f"{dataset.provenance}; {BATCH} recordings, T = {NUM_STEPS}; ms, median (range) of {ROUNDS} rounds, ratio")
    worst = {"ratio": 0.0, "figure": 0.0}
    for kind, make in (("cnn", SpikingCNN), ("resnet", SpikingResNet)):
        model = new_model(norm="batch", make=make)
        make_sparse(model, frames[:, :32])
        model.eval()
        print(make.__name__)
        worst["ratio"] = max(worst["ratio"], measure_recording(model, frames))
        worst["figure"] = max(worst["figure"], measure_figures(model, kind, few))
    asked = [
        ("recording everything, times the forward pass", worst["ratio"], MOST_RATIO),
        ("slowest figure, s", worst["figure"], MOST_FIGURE_S),
        ("t-SNE, s", measure_tsne(load_dataset("simulated")), MOST_TSNE_S),
    ]
    for what, found, most in asked:
        print(f"{what}: {found:.2f}, asked at most {most:g}: {'kept' if found <= most else 'NOT KEPT'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
