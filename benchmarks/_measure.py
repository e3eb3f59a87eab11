"""What the benchmarks of the engine share: a batch of recordings, sparse weights, interleaved timing, tables."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from snn_helpers import SpikingCNN, balance_firing, load_dataset
from snn_helpers._versions import release
from snn_helpers.activity import firing_fractions
from snn_helpers.models.network import SpikingNetwork

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
REAL = Path(os.environ.get("SNN_REAL_DATA") or ROOT / "../shared/data/NMNIST")
SEED = 0

# Spike fractions of trained weights: SpikingCNN's three convolutions, measured; hidden and output, so that gradients
# reach them. SpikingResNet's layers are given those of the convolutions on maps of the same size.
TRAINED = {"conv1": 0.044, "conv2": 0.007, "conv3": 0.005, "hidden": 0.05, "output": 0.05}
TRAINED |= {"stem": 0.044, "block1": 0.044, "down": 0.007, "block2": 0.007}


def recordings(num_steps: int, batch: int) -> tuple[Tensor, Tensor, str]:
    """Return uint8 frames [T, B, 2, 34, 34], labels [B] and where they come from: real recordings if there are any."""
    real = (REAL / "Train").is_dir()
    dataset = load_dataset("nmnist", REAL) if real else load_dataset("simulated", split="test")
    chosen = np.random.default_rng(SEED).permutation(len(dataset))[:batch]
    frames = torch.from_numpy(dataset.frames(chosen, num_steps))
    return frames, torch.from_numpy(dataset.labels[chosen]), str(dataset.provenance)


def new_model(
    engine: str = "cpu", norm: str = "none", like: SpikingNetwork | None = None, make=SpikingCNN, **settings
) -> SpikingNetwork:
    """Return a network without dropout, with the weights of `like` or those of the fixed seed."""
    torch.manual_seed(SEED)
    model = make(dropout=0.0, engine=engine, norm=norm, **settings)
    if like is not None:
        model.load_state_dict(like.state_dict())
    return model


def fractions(model: SpikingNetwork, frames: Tensor) -> dict[str, float]:
    """Return the mean spike fraction of each layer."""
    with torch.no_grad(), firing_fractions(model) as seen:
        model(frames)
    return {name: float(value) for name, value in seen.items()}


def make_sparse(model: SpikingNetwork, frames: Tensor) -> dict[str, float]:
    """Bring each layer to the spike fraction in TRAINED; return the fractions reached."""
    shares = {name: TRAINED[name.split(".")[0]] for name in model.spiking_layers()}
    return balance_firing(model, frames, shares)


def train_step(forward: Callable, parameters, frames: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return a train step to be called again and again: the learning rate is 0, so that the weights stay."""
    optimizer = torch.optim.Adam(list(parameters), lr=0.0)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(forward(frames).sum(0), labels).backward()
        optimizer.step()

    return step


def model_step(model: SpikingNetwork, frames: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return the train step of a network."""
    return train_step(lambda x: model(x).spk_rec, model.parameters(), frames, labels)


def interleaved(works: dict[str, Callable], rounds: int) -> dict[str, np.ndarray]:
    """Return the seconds of each work in each round, all in turn, after a round of warm-up.

    Each round starts one further on and every second one runs backwards, so that no work always follows the same other,
    whose freed memory and full caches it would inherit.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        start = number % len(works)
        order = [*works][start:] + [*works][:start]
        for name in order[:: -1 if number % 2 else 1]:
            started = time.perf_counter()
            works[name]()
            times[name].append(time.perf_counter() - started)
    return {name: np.array(seconds[1:]) for name, seconds in times.items()}


def machine() -> dict[str, str]:
    """Return what figures of speed depend on: processor, threads, and releases of what computes."""
    cpu = Path("/proc/cpuinfo")
    models = (
        [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if "model name" in line]
        if cpu.exists()
        else []
    )
    found = {"processor": models[0] if models else platform.processor(), "cores": str(os.cpu_count())}
    found |= {"torch threads": str(torch.get_num_threads()), "Python": platform.python_version()}
    return found | {name: str(release(name)) for name in ("snn_helpers", "torch", "snntorch", "numpy", "numba")}


def milliseconds(seconds: np.ndarray) -> str:
    """Return the median and the range over the rounds."""
    low, middle, high = (1e3 * value for value in (seconds.min(), statistics.median(seconds), seconds.max()))
    return f"{middle:.0f} ({low:.0f}-{high:.0f})"


def new_figure(width: float, height: float, columns: int):
    """Return a figure and its axes in one row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def save(figure, name: str) -> None:
    """Write a figure under benchmarks/results/ and say where."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    figure.savefig(RESULTS / name, dpi=80)
    print(f"figure: {(RESULTS / name).relative_to(ROOT)}")
