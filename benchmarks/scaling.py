"""What does a train step cost with more of something: steps, recordings, events, empty area? Time per recording.

Run `python benchmarks/scaling.py`. The weights are those at which the layers fire as sparsely as trained ones; they
stay the same in every row, so that what is measured is the input. snnTorch's loop stands beside it at the ends.

What does not follow the events is, for each neuron and step, the membrane forward and its gradient backward, and the
gradient of the layers' inputs: the default surrogate is nowhere zero, so that every neuron, reached by events or not,
hands a gradient to all inputs around it. The compact surrogate, measured beside it, is zero at most of them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable

import numpy as np
import torch
from _measure import interleaved, make_sparse, model_step, new_figure, new_model, recordings, save
from torch import Tensor
from torch.nn import functional as F

from snn_helpers import SpikingCNN
from snn_helpers.engine import Spikes, cpu

STEPS, BATCHES, RATES, SIZES = (5, 10, 25, 50), (8, 16, 32, 64), (0.25, 0.5, 1.0, 2.0), (34, 64, 96, 128)
NUM_STEPS, BATCH, SIZE_BATCH, ROUNDS = 25, 32, 8, 3
TARGET_AREA = 1.6  # what twice the area may cost in the event-driven layers
WHOLE, LOOP = "train step", "snnTorch loop"
CONVS, COMPACT, FORWARD = "convolutions", "convs compact", "convs forward"  # the three layers alone
OURS = (WHOLE, CONVS, COMPACT, FORWARD)


def with_rate(frames: Tensor, others: Tensor, rate: float) -> Tensor:
    """Keep each event with a probability, or add the events of other recordings for a rate of 2."""
    if rate > 1:
        return (frames.int() + others.int()).clamp(max=255).to(torch.uint8)
    kept = np.random.default_rng(0).binomial(frames.numpy(), rate)
    return torch.from_numpy(kept.astype(np.uint8))


def run_convs(model: SpikingCNN, frames: Tensor, surrogate: str) -> Spikes:
    """Run the convolution layers alone."""
    spikes = frames
    for layer in (model.conv1, model.conv2, model.conv3):
        neuron = dataclasses.replace(layer.neurons.neuron(), surrogate=surrogate)
        spikes = cpu.conv_layer(spikes, layer.weights.weight, layer.weights.bias, neuron, pool=2)
    return spikes


def conv_step(model: SpikingCNN, frames: Tensor, surrogate: str) -> Callable[[], None]:
    """Return forward and backward of the convolution layers alone."""
    return lambda: run_convs(model, frames, surrogate).fraction().backward()


def enlarged(model: SpikingCNN, size: int, engine: str) -> SpikingCNN:
    """Return the network for larger frames: same convolutions, hidden weights zero where area was added."""
    larger = new_model(engine, image_size=size)
    before, after = model.image_size // 8, size // 8
    state = model.state_dict()
    hidden = state["hidden.weights.weight"].unflatten(1, (-1, before, before))
    state["hidden.weights.weight"] = F.pad(hidden, (0, after - before, 0, after - before)).flatten(1)
    larger.load_state_dict(state)
    return larger


def cases(frames: Tensor, labels: Tensor, others: Tensor, finer: dict[int, Tensor]):
    """Yield axis, value, frames, labels, size of the image, and whether to run the loop, too."""
    for num_steps in STEPS:
        yield "T", num_steps, finer[num_steps][:, :BATCH], labels[:BATCH], 34, num_steps in (STEPS[0], STEPS[-1])
    for batch in BATCHES:
        yield "batch", batch, frames[:, :batch], labels[:batch], 34, batch in (BATCHES[0], BATCH)
    for rate in RATES:
        thinned = with_rate(frames[:, :BATCH], others[:, :BATCH], rate)
        yield "event rate", rate, thinned, labels[:BATCH], 34, rate in (RATES[0], RATES[-1])
    for size in SIZES:
        corner = F.pad(frames[:, :SIZE_BATCH], (0, size - 34, 0, size - 34))
        yield "image size", size, corner, labels[:SIZE_BATCH], size, size in (SIZES[0], SIZES[-1])


def measure(model: SpikingCNN, frames: Tensor, labels: Tensor, size: int, with_loop: bool) -> dict[str, float]:
    """Return the median milliseconds per recording of each work."""
    ours = enlarged(model, size, "cpu")
    works = {
        WHOLE: model_step(ours, frames, labels),
        CONVS: conv_step(ours, frames, "fast_sigmoid"),
        COMPACT: conv_step(ours, frames, "compact"),
        FORWARD: torch.no_grad()(lambda: run_convs(ours, frames, "fast_sigmoid")),
    }
    if with_loop:
        works[LOOP] = model_step(enlarged(model, size, "snntorch"), frames, labels)
    times = interleaved(works, ROUNDS)
    return {name: 1e3 * float(np.median(seconds)) / frames.shape[1] for name, seconds in times.items()}


def area_factor(size: dict[int, dict[str, float]], work: str) -> float:
    """Return by how much a time grows when the area doubles: the mean exponent between the smallest and largest."""
    small, large = SIZES[0], SIZES[-1]
    doublings = 2 * math.log2(large / small)
    return (size[large][work] / size[small][work]) ** (1 / doublings)


def steepest(size: dict[int, dict[str, float]], work: str) -> float:
    """Return the same between the two neighbouring sizes where it is largest."""
    pairs = itertools.pairwise(SIZES)
    return max((size[b][work] / size[a][work]) ** (1 / (2 * math.log2(b / a))) for a, b in pairs)


def report(measured: dict[str, dict[float, dict[str, float]]]) -> None:
    """Print what follows from the times: the part of the cost that is left without events, and that of empty area."""
    rates, size = measured["event rate"], measured["image size"]
    print(f"\n{'ms per recording, line through the event rates':54} {'at rate 0':>9} {'at rate 1':>9} {'share':>7}")
    for work in OURS:
        slope, constant = np.polyfit(RATES, [rates[rate][work] for rate in RATES], 1)
        share = 100 * constant / (constant + slope)
        print(f"{f'{work}: does not follow the events':54} {constant:>9.2f} {constant + slope:>9.2f} {share:>5.0f} %")
    print(f"\n{'times as long for twice the area, same events':54} {'target':>9} {'34 to 128':>9} {'worst':>7}")
    for work in (*OURS, LOOP):
        reached, target = area_factor(size, work), work == CONVS
        worst = "" if work == LOOP else f"{steepest(size, work):.2f}"
        missed = "  MISSED" if target and reached >= TARGET_AREA else ""
        print(f"{work:54} {f'< {TARGET_AREA}' if target else '':>9} {reached:>9.2f} {worst:>7}{missed}")


def draw(measured: dict[str, dict[float, dict[str, float]]], source: str) -> None:
    """Draw the time per recording against each axis."""
    figure, axes = new_figure(15, 4, 4)
    styles = {WHOLE: ("tab:blue", "o-"), CONVS: ("tab:orange", "s-"), COMPACT: ("tab:green", "^-")}
    styles |= {FORWARD: ("tab:red", "v-"), LOOP: ("0.5", "x--")}
    for ax, (axis, points) in zip(axes, measured.items()):
        for work, (color, style) in styles.items():
            values = [value for value in points if work in points[value]]
            ax.plot(values, [points[value][work] for value in values], style, color=color, label=work)
        ax.set(xlabel=axis, ylabel="ms per recording")
        if axis == "image size":
            ax.set_yscale("log")
        else:
            ax.set_ylim(0, None)
    axes[0].legend()
    figure.suptitle(f"train step, sparse weights, {torch.get_num_threads()} threads, {source}")
    save(figure, "scaling.png")


def main() -> int:
    frames, labels, source = recordings(NUM_STEPS, max(BATCHES))
    finer = {num_steps: recordings(num_steps, BATCH)[0] for num_steps in STEPS}
    print(f"{source}; T = {NUM_STEPS}, B = {BATCH} (image size: B = {SIZE_BATCH}), {ROUNDS} rounds, medians")
    model = new_model()
    make_sparse(model, frames[:, :BATCH])
    measured: dict[str, dict[float, dict[str, float]]] = {}
    print("ms per recording; convs: the three convolution layers alone")
    print(f"{'':>12} {'':>6} {'events':>8}" + "".join(f" {name:>15}" for name in (*OURS, LOOP)))
    for axis, value, case, case_labels, size, with_loop in cases(frames, labels, frames[:, BATCH:], finer):
        times = measured.setdefault(axis, {})[value] = measure(model, case, case_labels, size, with_loop)
        events = int(case.sum()) // case.shape[1]
        print(f"{axis:>12} {value:>6} {events:>8}" + "".join(f" {time:>15.2f}" for time in times.values()), flush=True)
    report(measured)
    draw(measured, source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
