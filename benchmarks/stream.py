"""What does a stream cost? Latency of one time step of SpikingCNN and SpikingResNet, and events a second, on one core.

Run `python benchmarks/stream.py`. Untrained networks whose layers fire as sparsely as trained ones; recordings are real
ones where there are any. A step is one frame of one stream, from counts to output spikes, in turn with a step of the
same network of snnTorch's neurons; events are fed in pieces of 1 ms, with time steps of 10 ms, and the binning is part
of what is timed. Times are of the processor: beside other work a step waits as well, for as long as that takes.
"""

from __future__ import annotations

import copy
import sys
import time

import numpy as np
import snntorch
import torch
from _measure import REAL, make_sparse, new_model, recordings

from snn_helpers import Leaky, SpikingCNN, SpikingNeuron, SpikingResNet, load_dataset
from snn_helpers.models.network import SpikingNetwork

MOST_MS = 1.0  # of a step of SpikingCNN
STEPS, STEP_US, PIECE_US, RECORDINGS = 500, 10_000, 1_000, 10


@torch.no_grad()
def measure_steps(net: SpikingNetwork, batch: int) -> float:
    """Print and return the milliseconds of a step, the median, beside snnTorch's neurons in the same network."""
    frames, _, _ = recordings(25, batch)
    live, plain, taken = net.stream(batch=batch), of_snntorch(net), []
    for number in range(STEPS + 20):
        frame, times = frames[number % len(frames)], [time.process_time()]
        live.step(frame)
        times.append(time.process_time())
        if plain is not None:
            plain.step(frame.float())
        taken.append(1e3 * np.diff([*times, time.process_time()]))
    ours, theirs = np.array(taken[20:]).T
    low, middle, slow = (float(np.quantile(ours, share)) for share in (0, 0.5, 0.95))
    beside = "" if plain is None else f"; {np.median(theirs / ours):.2f} times as fast as with snnTorch's neurons"
    print(
        f"  {type(net).__name__:<14} {batch:>3} streams: {middle:.2f} ms a step ({low:.2f} at best, 95 % in {slow:.2f})"
        f"{beside}"
    )
    return middle


def of_snntorch(net: SpikingNetwork) -> SpikingNetwork | None:
    """Return a copy with snnTorch's neurons, as one step; None where it has none of a kind."""
    net = copy.deepcopy(net)
    for layer in [module for module in net.modules() if isinstance(getattr(module, "neurons", None), SpikingNeuron)]:
        ours = layer.neurons
        if type(ours) is not Leaky:
            return None
        layer.neurons = snntorch.Leaky(ours.beta, ours.threshold, init_hidden=True, output=ours.output)
    return net


def measure_events(net: SpikingNetwork) -> None:
    """Print how many events a second one stream takes."""
    real = (REAL / "Train").is_dir()
    dataset = load_dataset("nmnist", REAL) if real else load_dataset("simulated", split="test")
    count = seconds = steps = 0
    for index in range(RECORDINGS + 1):
        events, live = dataset.events(index), net.stream(step_us=STEP_US)
        pieces = np.split(events, np.searchsorted(events["t"], np.arange(PIECE_US, events["t"][-1], PIECE_US)))
        started = time.process_time()
        for number, piece in enumerate(pieces):
            live.feed(piece, until_us=max((number + 1) * PIECE_US, int(events["t"][0])))
        if index:  # the first loads the kernel that bins
            seconds, count, steps = seconds + time.process_time() - started, count + len(events), steps + live.num_steps
    print(
        f"  {type(net).__name__:<14} {count / seconds:,.0f} events a second in pieces of {PIECE_US / 1e3:g} ms; "
        f"{steps * STEP_US / 1e6 / seconds:.1f} times real time at steps of {STEP_US / 1e3:g} ms ({dataset.provenance})"
    )


def main() -> int:
    torch.set_num_threads(1)
    frames, _, source = recordings(25, 64)
    print(f"one thread; {source}")
    for kind in (SpikingCNN, SpikingResNet):
        net = new_model(norm="batch", make=kind).eval()
        make_sparse(net, frames)
        latency = measure_steps(net, 1)
        measure_steps(net, 16)
        measure_events(net)
        if kind is SpikingCNN:
            kept = "kept" if latency <= MOST_MS else "NOT KEPT"
            print(f"a step of SpikingCNN, ms: {latency:.2f}, asked at most {MOST_MS:g}: {kept}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
