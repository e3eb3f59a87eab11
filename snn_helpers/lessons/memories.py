"""Networks that differ in one thing, where they keep what they have seen: for the question whether timing is used.

A front end without memory turns each frame into a few numbers, a layer with a memory receives them, and a linear
readout is averaged over time. Neither of the other two parts knows the order of the frames.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers._checks import check_choice, check_int
from snn_helpers.stats import wilson_interval

STEP_MS = 15
"""Length of a time step of the networks in the study, in ms."""

MOTION_STEPS = 24
"""Time steps of a recording of `motion`."""

_MAPS, _KERNEL, _STRIDE = 12, 5, 3
_SHORT, _LONG = 0.5, 0.95  # decays per step
_GAIN = 4.0  # of the mean score, so that a softmax of it can become sure
_BATCH, _SCORED_AT_ONCE = 32, 100


@dataclass(frozen=True)
class Memory:
    """Where a layer keeps what it has seen.

    Attributes
    ----------
    neurons : int
        Neurons of the layer; chosen so that all networks have about as many parameters.
    where : str
        What carries the memory, in words.
    delays : tuple of int
        The front end's maps arrive in as many groups, each so many steps later.
    """

    neurons: int
    where: str
    delays: tuple[int, ...] = (0,)


MEMORIES = {
    "none": Memory(100, "nowhere: β = 0 and no reset"),
    "short": Memory(100, f"membrane, β = {_SHORT}"),
    "leaky": Memory(100, f"membrane, β = {_LONG}"),
    "mixed": Memory(100, "membranes with time constants of 15 ms to 600 ms"),
    "adaptive": Memory(100, f"threshold that rises with each spike, β = {_SHORT}"),
    "recurrent": Memory(64, f"connections from each neuron to all, β = {_SHORT}"),
    "delayed": Memory(100, f"delay lines, β = {_SHORT}", (0, 4, 8, 12, 16)),
    "GRU": Memory(28, "gated units, not spiking"),
}
"""The layers with a memory, by name."""


def delay(features: Tensor, steps: int) -> Tensor:
    """Return features [T, ...] that arrive `steps` steps later, after as many steps of zeros.

    Examples
    --------
    >>> delay(torch.tensor([1.0, 2.0, 3.0]), 1).tolist()
    [0.0, 1.0, 2.0]
    """
    kept = max(0, len(features) - check_int("steps", steps, low=0))
    return torch.cat([torch.zeros_like(features[: len(features) - kept]), features[:kept]])


class MemoryNetwork(nn.Module):
    """Convolution, spikes and pooling frame by frame; delay lines; a layer with a memory; a linear readout.

    Parameters
    ----------
    memory : str
        One of `MEMORIES`.
    classes : int
        Answers.
    frame : (P, H, W)
        Shape of a frame.
    pool : int
        Side of the squares over which the front end's maps are averaged.
    beta : float or None
        Another decay per step of the membranes of "short", "leaky", "adaptive", "recurrent" or "delayed".
    delays : sequence of int or None
        Other delays.
    delay_line : callable
        What delays features, as `delay` does.
    """

    def __init__(
        self,
        memory: str,
        classes: int = 6,
        frame: tuple[int, int, int] = (2, 34, 34),
        *,
        pool: int = 3,
        beta: float | None = None,
        delays: Sequence[int] | None = None,
        delay_line: Callable[[Tensor, int], Tensor] = delay,
    ):
        super().__init__()
        check_choice("memory", memory, tuple(MEMORIES))
        kind = MEMORIES[memory]
        polarities, *sides = frame
        places = math.prod(((side - _KERNEL) // _STRIDE + 1) // pool for side in sides)
        self.spike = _surrogate()
        self.convolution = nn.Conv2d(polarities, _MAPS, _KERNEL, _STRIDE, bias=False)
        self.norm, self.pool = nn.BatchNorm2d(_MAPS), nn.AvgPool2d(pool)
        self.delays, self.delay_line = tuple(delays or kind.delays), delay_line
        self.memory = memory_layer(memory, _MAPS * places, beta)
        self.readout = nn.Linear(kind.neurons, classes)

    def features(self, frames: Tensor) -> Tensor:
        """Return what the front end makes of each frame alone: [T, B, P, H, W] to [T, B, maps, h, w]."""
        currents = self.norm(self.convolution(frames.float().flatten(0, 1)))
        return 4 * self.pool(self.spike(currents - 1)).unflatten(0, frames.shape[:2])

    def inputs(self, features: Tensor) -> Tensor:
        """Return what arrives at the memory, [T, B, maps h w]: each group of maps of the features after its delay."""
        groups = len(self.delays)
        parts = [self.delay_line(features[:, :, group::groups], steps) for group, steps in enumerate(self.delays)]
        return torch.cat(parts, 2).flatten(2)

    def scores(self, features: Tensor) -> Tensor:
        """Return the scores of each step, [T, B, classes], from the front end's features."""
        return _GAIN * self.readout(self.memory(self.inputs(features)))

    def forward(self, frames: Tensor) -> Tensor:
        """Return the scores of each step, [T, B, classes]; the network's answer is the largest mean over time."""
        return self.scores(self.features(frames))


def memory_layer(memory: str, inputs: int, beta: float | None = None) -> nn.Module:
    """Return a layer with a memory: inputs [T, B, inputs] to spikes, or a GRU's states, [T, B, neurons].

    Parameters
    ----------
    memory : str
        One of `MEMORIES`.
    inputs : int
        Inputs of each neuron.
    beta : float or None
        Another decay per step.
    """
    import snntorch as snn

    from snn_helpers.neurons import ALIF
    from snn_helpers.over_time import NormOverTime, accelerate

    neurons = MEMORIES[memory].neurons
    if memory == "GRU":
        return _FirstOutput(nn.GRU(inputs, neurons))
    options = {"spike_grad": _surrogate(), "init_hidden": True}
    decay = beta if beta is not None else _SHORT
    if memory == "none":
        cells = snn.Leaky(beta=0.0, reset_mechanism="none", **options)
    elif memory == "leaky":
        cells = snn.Leaky(beta=_LONG if beta is None else beta, **options)
    elif memory == "mixed":
        tau_ms = torch.logspace(math.log10(15), math.log10(600), neurons)
        cells = snn.Leaky(beta=torch.exp(-STEP_MS / tau_ms), **options)
    elif memory == "adaptive":
        # A spike raises the threshold by 1, of which 0.95 is left a step later.
        cells = ALIF(beta=decay, rho=0.95, adaptation=20.0, surrogate=_surrogate(), init_hidden=True)
    elif memory == "recurrent":
        cells = snn.RLeaky(beta=decay, linear_features=neurons, **options)
    else:
        cells = snn.Leaky(beta=decay, **options)
    layers = {"weights": nn.Linear(inputs, neurons), "norm": NormOverTime(neurons), "neurons": cells}
    return accelerate(nn.Sequential(OrderedDict(layers)))


class _FirstOutput(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs)[0]


def _surrogate() -> Callable[[Tensor], Tensor]:
    from snntorch.surrogate import fast_sigmoid

    return fast_sigmoid(slope=5)


def train_memory(
    network: nn.Module,
    frames: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    lr: float = 0.01,
    seed: int = 0,
    spoil: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
) -> list[float]:
    """Train a network by Adam with a one-cycle learning rate; return the mean loss of each epoch.

    Parameters
    ----------
    network : nn.Module
        Frames [T, B, P, H, W] to scores [T, B, classes], whose mean over time is its answer.
    frames : uint8 Tensor [T, N, P, H, W]
        Recordings to learn from.
    labels : int64 Tensor [N]
        Their classes.
    epochs : int
        Passes over them.
    lr : float
        Highest learning rate.
    seed : int
        Of the order of the recordings, and of `spoil`.
    spoil : callable or None
        Changes each batch of frames before the network sees it: (frames, generator) to frames.
    """
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    steps = max(1, len(labels) // _BATCH)
    optimizer = torch.optim.Adam(network.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * steps)
    losses = []
    network.train()
    for _ in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(labels), generator=generator)[: steps * _BATCH].chunk(steps):
            batch = frames[:, chosen]
            if spoil is not None:
                batch = torch.from_numpy(spoil(batch.numpy(), rng))
            loss = F.cross_entropy(network(batch).mean(0), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        losses.append(total / steps)
    network.eval()
    return losses


@torch.no_grad()
def scores_over_time(network: nn.Module, frames: Tensor) -> Tensor:
    """Return the scores [T, N, classes] of a trained network for frames [T, N, P, H, W]."""
    network.eval()
    return torch.cat([network(part) for part in frames.split(_SCORED_AT_ONCE, dim=1)], dim=1)


def answers_so_far(scores: Tensor) -> Tensor:
    """Return the class [T, N] that a network would answer after each step, from its scores [T, N, classes]."""
    return scores.cumsum(0).argmax(-1)


def motion_frames(split: str, count: int) -> tuple[Tensor, Tensor, str]:
    """Return the first recordings of a split of `motion` in steps of `STEP_MS`.

    Parameters
    ----------
    split : {"train", "valid", "test"}
    count : int
        Recordings, at most.

    Returns
    -------
    frames : uint8 Tensor [T, N, 2, 34, 34]
    labels : int64 Tensor [N]
    provenance : str
        In words.

    Notes
    -----
    The longest recordings end a little later than the frames, after their last excursion: the few noise events there
    are left out without a warning.
    """
    from snn_helpers.data import load_dataset
    from snn_helpers.events.frames import EventsLostWarning

    dataset = load_dataset("motion", split=split)
    dataset = dataset.subset(range(min(count, len(dataset))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EventsLostWarning)
        frames = dataset.frames(range(len(dataset)), MOTION_STEPS, window_us=1_000 * STEP_MS)
    return torch.from_numpy(frames), torch.from_numpy(dataset.labels), str(dataset.provenance)


def fading_copy(frames: Tensor, seed: int = 0) -> Tensor:
    """Return frames uint8 [T, N, P, H, W] of a camera that loses sensitivity: the last step keeps 40 % of it."""
    kept = np.linspace(1.0, 0.4, len(frames)).reshape(-1, 1, 1, 1, 1)
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.binomial(frames.numpy(), kept).astype(np.uint8))


def one_digit_in_all_orders(digit: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return one recording of `motion` in all six orders: {class: (events, their counts [2, H, W])}.

    Parameters
    ----------
    digit : int
        Which of the package's images of digits, and the id of the recording.
    """
    from snn_helpers.events.digits import mnist_digits
    from snn_helpers.events.dtype import make_events
    from snn_helpers.events.motion import CLASSES, simulate_motion
    from snn_helpers.events.recording import SENSOR_SIZE

    images, orders = mnist_digits()[0], np.arange(len(CLASSES))
    made = simulate_motion(images[[digit] * len(orders)], np.full(len(orders), digit), orders)
    recordings = {}
    for order, name in enumerate(CLASSES):
        part = slice(made.offsets[order], made.offsets[order + 1])
        events = make_events(made.x[part], made.y[part], made.t[part], made.p[part])
        counts = np.zeros(SENSOR_SIZE[::-1], np.int64)
        np.add.at(counts, (events["p"], events["y"], events["x"]), 1)
        recordings[name] = (events, counts)
    return recordings


def accuracy_over_time(scores: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (elapsed ms, accuracy, low, high), each [T], of answers after each step; bounds are Wilson's, 95 %.

    Parameters
    ----------
    scores : Tensor [T, N, classes]
        Of steps of `STEP_MS`.
    labels : int64 Tensor [N]
    """
    right = (answers_so_far(scores) == labels).numpy()
    bounds = [wilson_interval(int(row.sum()), len(row)) for row in right]
    low, high = np.transpose(bounds)
    return STEP_MS * np.arange(1.0, len(right) + 1), right.mean(1), low, high


def accuracy_rows(right: Mapping[str, np.ndarray]) -> list[tuple[str, float, float, float]]:
    """Return (name, accuracy, low, high), with Wilson's 95 % bounds, of {name: one bool a recording}."""
    return [(name, float(hits.mean()), *wilson_interval(int(hits.sum()), len(hits))) for name, hits in right.items()]


def print_accuracies(right: Mapping[str, np.ndarray], classes: int) -> None:
    """Print accuracies of one seed with their 95 % confidence intervals, the number of recordings, and chance.

    Examples
    --------
    >>> print_accuracies({"mine": np.array([True, True, False, True])}, classes=2)
    mine: 75.0 % (95 % confidence interval 30.1 to 95.4 %)
    n = 4, one seed, chance 50.0 %
    """
    for name, share, low, high in accuracy_rows(right):
        print(f"{name}: {100 * share:.1f} % (95 % confidence interval {100 * low:.1f} to {100 * high:.1f} %)")
    print(f"n = {len(next(iter(right.values())))}, one seed, chance {100 / classes:.1f} %")
