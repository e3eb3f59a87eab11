"""How fast is the engine, beside snnTorch's loop, three other libraries and a dense network? One run, interleaved.

Run `python benchmarks/engine.py`, or name parts: `init`, `sparse`, `batch`, `resnet`, `memory`, `start`. Real
recordings are looked for in the folder that the environment variable SNN_REAL_DATA names (default:
../shared/data/NMNIST beside the repository); without them, simulated ones are taken. A missed target prints MISSED;
the exit status is 0 all the same.

The other libraries are optional (the extra `bench`); those that cannot be imported are left out. They ask for
torchvision, which on PyPI is built for CUDA and breaks beside torch for the CPU, but none needs it here:

    pip install --no-deps --constraint constraints.txt spikingjelly norse sinabs
    pip install --no-deps loguru nir nirtorch pbr
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from _measure import (
    fractions,
    interleaved,
    make_sparse,
    milliseconds,
    model_step,
    new_figure,
    new_model,
    recordings,
    save,
    train_step,
)
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers import SpikingCNN, SpikingResNet, balance_firing
from snn_helpers.engine import cpu
from snn_helpers.models.network import SpikingNetwork
from snn_helpers.over_time import NormOverTime

NUM_STEPS, BATCH, ROUNDS = 25, 32, 5
BETA, SLOPE = 0.9, 25.0
LOOP, OURS, COMPACT, DENSE = "snnTorch loop", "ours", "ours, compact surrogate", "ReLU, channels_last"
FORCED = "ours, dense path forced"
PARTS = ("init", "sparse", "batch", "resnet", "memory", "start")
DENSE_SHARE = 0.4
NOISE = 0.03  # what "never slower" leaves to the clock


class Stepwise(nn.Module):
    """The same layers, one time step at a time, with the neurons of another library: state held or handed on."""

    def __init__(self, model: SpikingCNN, neurons: list[Callable], gain: float = 1.0):
        super().__init__()
        self.layers = copied(model, gain)
        self.neurons = neurons

    def forward(self, frames: Tensor) -> Tensor:
        """Return output spikes [T, B, classes] of float frames [T, B, C, H, W]."""
        states = [None] * len(self.neurons)
        out = []
        for spk in frames:
            for i, (layer, neuron) in enumerate(zip(self.layers, self.neurons)):
                spk, states[i] = neuron(current(layer, spk), states[i])
            out.append(spk)
        return torch.stack(out)


class Folded(nn.Module):
    """The same layers with time folded into the batch, and neurons (or ReLU) that take all steps at once."""

    def __init__(self, model: SpikingCNN, neurons: list[Callable], channels_last: bool = False):
        super().__init__()
        self.layers = copied(model)
        self.neurons = neurons
        self.channels_last = channels_last
        if channels_last:
            self.layers.to(memory_format=torch.channels_last)

    def forward(self, frames: Tensor) -> Tensor:
        """Return output spikes [T, B, classes] of float frames [T, B, C, H, W]."""
        spk = frames.flatten(0, 1)
        if self.channels_last:
            spk = spk.contiguous(memory_format=torch.channels_last)
        for layer, neuron in zip(self.layers, self.neurons):
            spk = neuron(current(layer, spk).unflatten(0, frames.shape[:2])).flatten(0, 1)
        return spk.unflatten(0, frames.shape[:2])


def copied(model: SpikingCNN, gain: float = 1.0) -> nn.ModuleList:
    """Return the layers with weights of the network, multiplied by `gain`."""
    layers = nn.ModuleList()
    for layer in (layer.weights for layer in model.spiking_layers().values()):
        n_out, n_in = layer.weight.shape[:2]
        new = nn.Conv2d(n_in, n_out, 3, padding=1) if isinstance(layer, nn.Conv2d) else nn.Linear(n_in, n_out)
        new.load_state_dict({name: gain * value for name, value in layer.state_dict().items()})
        layers.append(new)
    return layers


def current(layer: nn.Module, spk: Tensor) -> Tensor:
    """Return a layer's currents, pooled after a convolution."""
    return F.max_pool2d(layer(spk), 2) if isinstance(layer, nn.Conv2d) else layer(spk.flatten(1))


def spikingjelly(model: SpikingCNN, multi: bool) -> Callable[[Tensor], Tensor]:
    from spikingjelly.activation_based import functional, neuron, surrogate

    nodes = [
        neuron.LIFNode(
            tau=1 / (1 - BETA),
            decay_input=False,
            v_reset=None,
            surrogate_function=surrogate.ATan(),
            detach_reset=True,
            step_mode="m" if multi else "s",
        )
        for _ in range(5)
    ]
    net = Folded(model, nodes) if multi else Stepwise(model, [lambda cur, _, n=node: (n(cur), None) for node in nodes])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, frames):
            for node in nodes:
                functional.reset_net(node)
            return self.net(frames)

    return Net()


def norse(model: SpikingCNN) -> Callable[[Tensor], Tensor]:
    import norse.torch as lib
    from norse.torch.functional.reset import reset_subtract

    # v += 0.1 (i - v): the decay of ours, and a tenth of its current.
    p = lib.LIFBoxParameters(tau_mem_inv=torch.tensor(1e3 * (1 - BETA)), alpha=SLOPE, reset_method=reset_subtract)
    return Stepwise(model, [lib.LIFBoxCell(p) for _ in range(5)], gain=1 / (1 - BETA))


def sinabs(model: SpikingCNN) -> Callable[[Tensor], Tensor]:
    import sinabs.activation as act
    from sinabs.layers import LIF

    nodes = [LIF(-1 / math.log(BETA), norm_input=False, spike_fn=act.SingleSpike) for _ in range(5)]

    def fire(node):
        def run(cur: Tensor) -> Tensor:  # its time is the second axis
            node.reset_states()
            return node(cur.transpose(0, 1)).transpose(0, 1)

        return run

    return Folded(model, [fire(node) for node in nodes])


PEERS = {
    "SpikingJelly single-step": lambda model: spikingjelly(model, multi=False),
    "SpikingJelly multi-step": lambda model: spikingjelly(model, multi=True),
    "Norse": norse,
    "Sinabs": sinabs,
}


def contenders(model: SpikingCNN) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return forward functions by name, all with the weights of `model`; peers that are not installed are left out."""
    built: dict[str, nn.Module] = {
        LOOP: Ours(new_model("snntorch", like=model)),
        OURS: Ours(model),
        COMPACT: Ours(new_model("cpu", like=model, surrogate="compact")),
        DENSE: Folded(model, [F.relu] * 5, channels_last=True),
    }
    for name, build in PEERS.items():
        try:
            built[name] = build(model)
        except ImportError as err:
            print(f"{name}: skipped, not installed ({err})")
    return built


class Ours(nn.Module):
    """A SpikingCNN that returns its output spikes only, and takes frames of bytes."""

    def __init__(self, model: SpikingCNN):
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        """Return output spikes [T, B, classes]."""
        return self.model(frames).spk_rec


def measure(model: SpikingCNN, frames: Tensor, labels: Tensor) -> dict[str, dict[str, np.ndarray]]:
    """Time a train step and an inference of every contender, interleaved."""
    nets = contenders(model)
    inputs = {name: frames if isinstance(net, Ours) else frames.float() for name, net in nets.items()}
    steps = {name: train_step(net, net.parameters(), inputs[name], labels) for name, net in nets.items()}
    trained = interleaved(steps, ROUNDS)
    with torch.inference_mode():
        inferred = interleaved({name: lambda n=name: nets[n](inputs[n]) for name in nets}, ROUNDS)
    return {"train": trained, "inference": inferred}


def spikes_that_differ(model: SpikingNetwork, frames: Tensor) -> int:
    """Count the output spikes in which the engine and snnTorch's loop differ."""
    loop = new_model("snntorch", norm=model.norm, like=model, make=type(model))
    with torch.no_grad():
        return int((loop(frames).spk_rec != model(frames).spk_rec).sum())


class Table:
    """Rows of figure, target and reached."""

    def __init__(self):
        self.rows: list[tuple[str, str, str, bool]] = []

    def at_least(self, figure: str, target: float, ratios: np.ndarray, aim: str = "", slack: float = 0.0) -> None:
        """Add a ratio: the median of the rounds, and their range."""
        middle = float(np.median(ratios))
        text = f"{middle:.2f} ({ratios.min():.2f}-{ratios.max():.2f})"
        self.rows.append((figure, f">= {target:g}{aim}", text, middle >= target - slack))

    def at_most(self, figure: str, target: float, value: float) -> None:
        """Add a value that should be small."""
        self.rows.append((figure, f"<= {target:.2f}", f"{value:.2f}", value <= target))

    def none(self, figure: str, count: int) -> None:
        """Add a count that should be zero."""
        self.rows.append((figure, "0", str(count), count == 0))

    def show(self) -> None:
        """Print the rows, MISSED where a target is."""
        print(f"\n{'figure (ratios: median of the rounds, range)':70} {'target':>18} {'reached':>20}")
        for figure, target, reached, met in self.rows:
            print(f"{figure:70} {target:>18} {reached:>20}{'' if met else '  MISSED'}")


def add_rows(table: Table, state: str, times: dict[str, dict[str, np.ndarray]]) -> None:
    """Add what is asked for at initialisation, or at sparse weights."""
    train, forward = times["train"], times["inference"]
    if state == "init":
        table.at_least("train step at initialisation: loop / ours", 3, train[LOOP] / train[OURS])
        return
    table.at_least("train step, sparse: loop / ours", 4, train[LOOP] / train[OURS], ", aim 5")
    peers = [train[name] for name in PEERS if name in train]
    if peers:
        table.at_least("train step, sparse: fastest peer / ours", 3.8, np.min(peers, axis=0) / train[OURS])
    table.at_least("train step, sparse: dense ReLU network / ours", 2.5, train[DENSE] / train[OURS])
    table.at_least("train step, sparse: loop / ours with compact surrogate", 6, train[LOOP] / train[COMPACT], ", aim 8")
    table.at_least("inference, sparse: loop / ours", 6, forward[LOOP] / forward[OURS])


def densities(reached: dict[str, float]) -> str:
    """Return spike fractions in words."""
    return ", ".join(f"{name} {100 * value:.2f} %" for name, value in reached.items())


def run_state(state: str, table: Table, frames: Tensor, labels: Tensor) -> dict[str, dict[str, np.ndarray]]:
    """Measure all contenders without normalisation in one state of the weights, and print their times."""
    model = new_model("cpu")
    reached = fractions(model, frames) if state == "init" else make_sparse(model, frames)
    times = measure(model, frames, labels)
    print(f"\nnorm='none', weights: {state}; fire at: {densities(reached)}")
    print(f"{'median ms (range)':30} {'train step':>20} {'inference':>20}")
    for name, seconds in sorted(times["train"].items(), key=lambda item: np.median(item[1])):
        print(f"{name:30} {milliseconds(seconds):>20} {milliseconds(times['inference'][name]):>20}")
    add_rows(table, state, times)
    table.none(f"output spikes that differ from the loop, {state}", spikes_that_differ(model, frames))
    return times


def run_batch(table: Table, frames: Tensor, labels: Tensor) -> None:
    """Measure networks with batch normalisation, sparse and dense, against their own snnTorch reference."""
    for state in ("sparse", "dense"):
        model = new_model("cpu", norm="batch")
        if state == "sparse":
            reached = make_sparse(model, frames)
        else:
            for norm in (module for module in model.modules() if isinstance(module, NormOverTime)):
                nn.init.ones_(norm.weight), nn.init.zeros_(norm.bias)
            reached = fractions(model, frames)
        ours = model_step(model, frames, labels)
        works = {LOOP: model_step(new_model("snntorch", "batch", like=model), frames, labels), OURS: ours}
        if state == "dense":
            works[FORCED] = patch.dict(cpu.DENSE_FROM, dict.fromkeys(cpu.DENSE_FROM, -1.0))(ours)
        train = interleaved(works, ROUNDS)
        print(f"\nnorm='batch', {state}; fire at: {densities(reached)}")
        for name, seconds in train.items():
            print(f"{name:30} {milliseconds(seconds):>20}")
        ratio = train[LOOP] / train[OURS]
        if state == "sparse":
            table.at_least("train step, norm='batch', sparse: snnTorch / ours", 2.8, ratio, ", aim 3.5")
        else:
            table.at_least("train step, norm='batch', dense: snnTorch / ours", 1, ratio, slack=NOISE)
            forced = train[FORCED] / train[OURS]
            table.at_least("train step, norm='batch', dense: dense path / ours", 1, forced, slack=NOISE)
        table.none(f"output spikes that differ, norm='batch', {state}", spikes_that_differ(model, frames))


def run_resnet(table: Table, frames: Tensor, labels: Tensor) -> None:
    """Measure SpikingResNet against its own snnTorch reference: without and with normalisation, sparse and dense."""
    for norm, state in (("none", "sparse"), ("batch", "sparse"), ("none", "dense"), ("batch", "dense")):
        model = new_model("cpu", norm, make=SpikingResNet)
        sparse = state == "sparse"
        reached = make_sparse(model, frames) if sparse else balance_firing(model, frames, DENSE_SHARE)
        loop = new_model("snntorch", norm, like=model, make=SpikingResNet)
        train = interleaved({LOOP: model_step(loop, frames, labels), OURS: model_step(model, frames, labels)}, ROUNDS)
        print(f"\nSpikingResNet, norm={norm!r}, {state}; fire at: {densities(reached)}")
        for name, seconds in train.items():
            print(f"{name:30} {milliseconds(seconds):>20}")
        target, slack = (3, 0.0) if sparse else (1, NOISE)
        figure = f"SpikingResNet, train step, norm={norm!r}, {state}: snnTorch / ours"
        table.at_least(figure, target, train[LOOP] / train[OURS], slack=slack)
        # A membrane within rounding of the threshold may fire in one only, and many layers follow: told, not a target.
        print(f"output spikes that differ: {spikes_that_differ(model, frames)}")


def memory_bytes(field: str) -> int:
    """Return VmRSS (now) or VmHWM (peak); getrusage, whose peak a child inherits, where there is no /proc."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_of(engine: str, path: str) -> None:
    """Print the peak of a train step above what stands after building the model and one tiny step, in bytes."""
    saved = torch.load(path, weights_only=True)
    model = new_model(engine)
    model.load_state_dict(saved["state"])
    frames, labels = saved["frames"], saved["labels"]
    cpu.warm_up()
    model_step(model, frames[:2, :1], labels[:1])()
    before = memory_bytes("VmRSS")
    model_step(model, frames, labels)()
    print(json.dumps(memory_bytes("VmHWM") - before))


def run_memory(table: Table, frames: Tensor, labels: Tensor) -> None:
    """Measure the peak memory of a train step at sparse weights, each engine in a process of its own."""
    model = new_model("cpu")
    make_sparse(model, frames)
    peak = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        torch.save({"state": model.state_dict(), "frames": frames, "labels": labels}, path)
        for engine in ("snntorch", "cpu"):
            command = [sys.executable, __file__, "--memory-of", engine, str(path)]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            peak[engine] = json.loads(printed.splitlines()[-1])
    print(f"\npeak memory of a train step: loop {peak['snntorch'] / 1e6:.0f} MB, ours {peak['cpu'] / 1e6:.0f} MB")
    table.at_most("peak memory of a train step, sparse: ours / loop", 1 / 3, peak["cpu"] / peak["snntorch"])


START = """
import time, torch
started = time.perf_counter()
from snn_helpers.engine import cpu
cpu.warm_up()
print(time.perf_counter() - started)
"""


def run_start(table: Table) -> None:
    """Measure how long the first process compiles, and the next one loads from its cache, torch being imported."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        first, later = (
            subprocess.run([sys.executable, "-c", START], check=True, stdout=subprocess.PIPE, env=environment).stdout
            for _ in range(2)
        )
    table.at_most("first compilation, seconds", 30, float(first))
    table.at_most("start of a later process, seconds (imports and kernels from the cache)", 2, float(later))


def draw(measured: dict[str, dict[str, dict[str, np.ndarray]]], source: str) -> None:
    """Draw the medians as bars: train step and inference, one colour a state."""
    figure, axes = new_figure(11, 4.5, 2)
    for ax, work in zip(axes, ("train", "inference")):
        for number, (state, times) in enumerate(measured.items()):
            medians = {name: 1e3 * np.median(seconds) for name, seconds in times[work].items()}
            place = np.arange(len(medians)) + 0.4 * (number - 0.5)
            ax.barh(place, list(medians.values()), 0.38, label=f"weights: {state}", color=("0.7", "tab:blue")[number])
        ax.set_yticks(range(len(medians)), list(medians))
        ax.set(title={"train": "train step", "inference": "inference"}[work], xlabel="ms")
        ax.invert_yaxis()
        ax.legend()
    figure.suptitle(f"T = {NUM_STEPS}, B = {BATCH}, float32, {torch.get_num_threads()} threads, {source}")
    save(figure, "engine.png")


def main() -> int:
    if sys.argv[1:2] == ["--memory-of"]:
        memory_of(*sys.argv[2:4])
        return 0
    parts = sys.argv[1:] or PARTS
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"unknown: {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    frames, labels, source = recordings(NUM_STEPS, BATCH)
    active = (frames > 0).float().mean().item()
    print(f"{source}; T = {NUM_STEPS}, B = {BATCH}, {torch.get_num_threads()} threads, {ROUNDS} rounds")
    print(f"active input bins: {100 * active:.1f} %")
    table = Table()
    if "memory" in parts:
        run_memory(table, frames, labels)
    measured = {state: run_state(state, table, frames, labels) for state in ("init", "sparse") if state in parts}
    if "batch" in parts:
        run_batch(table, frames, labels)
    if "resnet" in parts:
        run_resnet(table, frames, labels)
    if "start" in parts:
        run_start(table)
    table.show()
    if len(measured) == 2:
        draw(measured, source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
