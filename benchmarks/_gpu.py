"""What `gpu.py` compares: the same networks by ours, the loop, SpikingJelly, torch.compile, and without spikes."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from _measure import REAL, SEED
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers import SpikingCNN, SpikingResNet, load_dataset
from snn_helpers.engine.cuda.graphs import GraphedStep
from snn_helpers.models.network import SpikingNetwork

REHEARSAL = not torch.cuda.is_available()  # on the CPU, with tiny sizes: does the script run through?
DEVICE = torch.device("cpu" if REHEARSAL else "cuda")
NETWORKS = {"SpikingCNN": SpikingCNN, "SpikingResNet": SpikingResNet}
BETA, SLOPE = 0.9, 25.0


def model_of(
    network: str, norm: str, engine: str = "cuda", like: nn.Module | None = None, **settings
) -> SpikingNetwork:
    """Return a network on the device, without dropout, with the weights of `like` or those of the fixed seed."""
    torch.manual_seed(SEED)
    model = NETWORKS[network](**{"dropout": 0.0, "engine": engine, "norm": norm, **settings})
    if like is not None:
        model.load_state_dict(like.state_dict())
    return model.to(DEVICE)


@contextlib.contextmanager
def precision(name: str):
    """Set TF32 on ("tf32") or off ("ieee") for convolutions and matrix products of torch's own."""
    backends = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = name
    try:
        yield
    finally:
        for backend, value in zip(backends, before):
            backend.fp32_precision = value


class Recordings:
    """Batches of recordings: half of them real where there are any, half simulated; repeated as needed."""

    def __init__(self):
        self.sets, self.source = [], []
        for name, folder in (("nmnist", REAL if (REAL / "Train").is_dir() else None), ("simulated", None)):
            try:
                if name == "simulated" or folder is not None:
                    self.sets.append(load_dataset(name, folder) if folder else load_dataset(name, split="test"))
                    self.source.append(str(self.sets[-1].provenance))
            except Exception as err:  # the other kind is enough
                self.source.append(f"no {name}: {err!r}"[:200])
        self.made: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def batch(self, num_steps: int, size: int) -> tuple[Tensor, Tensor]:
        """Return frames uint8 [T, B, 2, 34, 34] and labels [B] on the device."""
        if (num_steps, size) not in self.made:
            parts = []
            for number, dataset in enumerate(self.sets):
                share = size // len(self.sets) + (number < size % len(self.sets))
                chosen = np.random.default_rng(SEED).permutation(len(dataset))[: min(share, 64)]
                chosen = np.resize(chosen, share)
                parts.append((dataset.frames(chosen, num_steps), dataset.labels[chosen]))
            frames = torch.from_numpy(np.concatenate([part[0] for part in parts], axis=1))
            labels = torch.from_numpy(np.concatenate([part[1] for part in parts]))
            self.made[num_steps, size] = frames.to(DEVICE), labels.to(DEVICE)
        return self.made[num_steps, size]


# ------------------------------------------------------------------------------------------------ other ways
class Folded(nn.Module):
    """A network's layers with time folded into the batch, and neurons that take all steps at once."""

    def __init__(self, model: SpikingNetwork, new_neurons: Callable[[], nn.Module], channels_last: bool = False):
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last) if channels_last else model
        self.nodes = nn.ModuleDict({name.replace(".", "_"): new_neurons() for name in model.spiking_layers()})
        self.channels_last = channels_last

    def forward(self, frames: Tensor) -> Tensor:
        """Return output spikes [T, B, classes] of float frames [T, B, C, H, W]."""
        if self.channels_last:
            frames = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, frames.shape[:2])
        spk = frames
        for name, layer in self.model.spiking_layers().items():
            if name.endswith(".inner"):
                skipped = spk
            spk = self._fire(name, layer, self.model.dropout(spk) if name == "output" else spk)
            if name.endswith(".outer"):  # the networks measured have SpikingResNet's default, the skip to the spikes
                spk = spk + skipped
        return spk

    def _fire(self, name: str, layer: nn.Sequential, spk: Tensor) -> Tensor:
        num_steps, flat = len(spk), isinstance(layer.weights, nn.Linear)
        cur = layer.weights(spk.flatten(2) if flat else spk.flatten(0, 1))
        cur = cur.flatten(0, 1) if flat else cur
        if hasattr(layer, "norm"):
            norm = layer.norm
            cur = F.batch_norm(cur, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training)
        cur = layer.pool(cur) if hasattr(layer, "pool") else cur
        return self.nodes[name.replace(".", "_")](cur.unflatten(0, (num_steps, -1)))


class SpikingJelly(nn.Module):
    """The same layers with SpikingJelly's multi-step LIF neurons, whatever neurons the network has."""

    def __init__(self, model: SpikingNetwork):
        from spikingjelly.activation_based import functional, neuron, surrogate

        super().__init__()
        self.net = Folded(
            model,
            lambda: neuron.LIFNode(
                tau=1 / (1 - BETA), decay_input=False, v_reset=None, surrogate_function=surrogate.ATan(),
                detach_reset=True, step_mode="m",
            ),
        )  # fmt: skip
        self.reset = functional.reset_net

    def forward(self, frames: Tensor) -> Tensor:
        """Return output spikes [T, B, classes]."""
        self.reset(self.net)
        return self.net(frames)


class Lif(nn.Module):
    """Leaky neurons in plain torch, without a function of their own: a compiler can look through them."""

    def forward(self, cur: Tensor) -> Tensor:
        """Return spikes [T, B, ...]."""
        mem, spk, out = torch.zeros_like(cur[0]), torch.zeros_like(cur[0]), []
        for cur_t in cur.unbind(0):
            mem = BETA * mem + cur_t - spk.detach()
            excess = mem - 1.0
            soft = excess / (1 + SLOPE * excess.abs())
            spk = (excess > 0).to(cur.dtype).detach() + soft - soft.detach()
            out.append(spk)
        return torch.stack(out)


def train_step(forward: Callable, model: nn.Module, graph: bool = False, lr: float = 0.0, **options) -> Callable:
    """Return a train step of (frames, labels); with a learning rate of 0 the weights stay."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, **({} if REHEARSAL else {"fused": True}))
    return GraphedStep(lambda x, y: F.cross_entropy(forward(x).sum(0), y), optimizer, graphs=graph, **options)


def captured(work: Callable[[], object]) -> Callable[[], None]:
    """Return a function that replays the work as a CUDA graph."""
    if REHEARSAL:
        return work
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def milliseconds(work: Callable[[], object], rounds: int = 9, warm: int = 3) -> float:
    """Return the median duration on the device."""
    for _ in range(warm):
        work()
    if REHEARSAL:
        started = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - started)
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop))
    return statistics.median(times)


def allocated(reset: bool = False) -> int:
    """Return the peak of allocated bytes, or with `reset` what is allocated now, from where peaks count on."""
    if REHEARSAL:
        return 0
    torch.cuda.synchronize()
    if reset:
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return torch.cuda.max_memory_allocated()


def peak_mib(work: Callable[[], object]) -> float:
    """Return the peak of memory above what is allocated before, in MiB."""
    if REHEARSAL:
        return 0.0
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20
