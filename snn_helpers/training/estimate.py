"""What a training will need, said before it begins: memory, from counting; time, from a few steps tried."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from snn_helpers.data import FrameLoader
from snn_helpers.models.readout import run_network
from snn_helpers.over_time import runner_of
from snn_helpers.training import network
from snn_helpers.training.build import Criterion
from snn_helpers.training.config import TrainConfig
from snn_helpers.training.truncate import is_truncated, parts_of

# Bytes a training step holds, for each current before pooling and for each neuron, a step and recording. Fitted from
# above to the peak memory of processes with both networks; for a GPU taken from the loop's, and not measured.
_BYTES = {"snntorch": (11.0, 33.0), "cpu": (1.6, 19.0), "cuda": (11.0, 33.0)}
_BASE = 450 * 2**20  # torch, its libraries and the events of a data set
_WEIGHT_BYTES = 5 * 4  # weights, gradients, two moments, and the copy that is saved
_WARN_SHARE = 0.7
_CGROUP = Path("/sys/fs/cgroup")  # of a container


@dataclass(frozen=True)
class Estimate:
    """What a training will need.

    Attributes
    ----------
    memory : int
        Bytes at the peak of a training step, of all processes that share this memory.
    free : int or None
        Bytes that are free where it will run, if that is known.
    seconds : float
        Of all training steps; validation comes on top.
    """

    memory: int
    free: int | None
    seconds: float

    def __str__(self) -> str:
        minutes = self.seconds / 60
        time_text = f"{self.seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else ""
        text = f"expected: {time_text or f'{minutes / 60:.1f} h'} of training, {self.memory / 2**30:.1f} GiB of memory"
        return text + (f" ({self.free / 2**30:.1f} GiB are free)" if self.free is not None else "")


def expected_memory(
    model: nn.Module, config: TrainConfig, frame: tuple[int, ...], recordings: int | None = None
) -> int:
    """Return the bytes at the peak of a training step of one process, counted from the sizes of the layers.

    Parameters
    ----------
    model, config : nn.Module, TrainConfig
        What is trained, and how.
    frame : tuple of int
        Shape of one recording's frame, (C, H, W).
    recordings : int or None
        The most that the process has in a step; None: `config.batch_size`.
    """
    currents, neurons, engine = 0, 0, "snntorch"  # a network without known neurons has its weights counted alone
    if network.has_neurons(model):
        runs = runner_of(model)
        engine = runs.engine
        currents, neurons = runs.sizes(torch.zeros(1, 1, *frame, device=next(model.parameters()).device))
    num_steps = config.time_steps
    if is_truncated(config):  # a part's, whose layers with a convolution do not run in one pass
        num_steps, engine = config.truncate, "snntorch"
    per_current, per_neuron = _BYTES.get(engine, _BYTES["snntorch"])
    steps = num_steps * (config.batch_size if recordings is None else recordings)
    weights = sum(parameter.numel() for parameter in model.parameters())
    return int(_BASE + steps * (per_current * currents + per_neuron * neurons) + _WEIGHT_BYTES * weights)


def free_memory(device: torch.device, cgroup: Path = _CGROUP) -> int | None:
    """Return the bytes that are free on a device, within the limits of a container, if that is known.

    Parameters
    ----------
    device : torch.device
        Where a network will be trained.
    cgroup : Path
        Folder in which the kernel tells of the container: memory.max, memory.current and memory.stat.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    import psutil

    free = psutil.virtual_memory().available
    try:
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return free
    return min(free, max(0, limit - used + _reclaimable(cgroup)))


def _reclaimable(cgroup: Path) -> int:
    """Return the bytes of cached files that are counted as used, and given back when memory is short."""
    try:
        lines = (cgroup / "memory.stat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError, StopIteration):
        return 0


def estimate(
    config: TrainConfig,
    model: nn.Module,
    loader: FrameLoader,
    criterion: Criterion,
    device: torch.device,
    processes_here: int = 1,
) -> Estimate:
    """Say what a training will need; refuse it where memory cannot suffice.

    Steps are tried on a copy of the model; the fastest counts. Nothing of the run is changed. Of several processes,
    each may ask at the same time, as they will train: they do not wait for each other, and the first alone prints.

    Parameters
    ----------
    config, model, criterion : TrainConfig, nn.Module, callable
        What is trained, and how.
    loader : FrameLoader
        Its training batches, or this process's parts of them.
    device : torch.device
        Where the model is.
    processes_here : int
        How many of the processes are on this machine. On CPUs they share its memory; a GPU is for one alone.

    Raises
    ------
    MemoryError
        If more is needed than there is.
    """
    rank, size = loader.part
    recordings = math.ceil(min(config.batch_size, len(loader.dataset)) / size)
    sharing = processes_here if device.type == "cpu" else 1
    frame = loader.dataset.binned([0], replace(loader.spec, num_steps=1)).shape[2:]  # a whole batch may not fit
    memory, free = sharing * expected_memory(model, config, frame, recordings), free_memory(device)
    if free is not None and memory > free:
        who = "a training step" if sharing == 1 else f"a training step of {sharing} processes"
        cut = "" if config.truncate else ", or cut recordings into parts (`truncate`)"
        raise MemoryError(
            f"{who} needs about {memory / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free. "
            f"Lower `batch_size` ({config.batch_size}) or `time_steps` ({config.time_steps}){cut}."
        )
    if free is not None and memory > _WARN_SHARE * free and rank == 0:
        print(f"Memory may get short: about {memory / 2**30:.1f} of {free / 2**30:.1f} GiB free.", flush=True)
    probe = copy.deepcopy(model).train()
    frames, labels = (part.to(device) for part in next(loader.batches(0)))
    with torch.random.fork_rng(devices=[]):
        seconds = float("inf")
        for _ in range(3):
            started = time.perf_counter()
            parts = parts_of(config, probe, frames)
            criterion(parts.forward()[0] if parts else run_network(probe, frames), labels).backward()
            if parts:
                parts.backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds = min(seconds, time.perf_counter() - started)
    return Estimate(memory, free, seconds * config.epochs * len(loader))
