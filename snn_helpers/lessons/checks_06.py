"""Exercises of `06_training`: a checkpoint, a difference over seeds, and a timing."""

from __future__ import annotations

import copy

import numpy as np
import torch
from scipy import stats
from torch import nn

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if

_PARTS = ("network", "optimizer", "random")


def snapshot(network, optimizer):
    """Return a copy of all that the next steps depend on: network, optimizer, random."""
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
    }
    return copy.deepcopy(state)


class _Learner:
    """A small network with dropout and normalisation, its optimiser, and steps on random batches."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.1)

    def steps(self, count: int) -> None:
        for _ in range(count):
            loss = self.network(torch.randn(16, 4)).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def end(self) -> list[torch.Tensor]:
        return [values.clone() for values in self.network.state_dict().values()]


def _resumed(state: dict) -> list[torch.Tensor]:
    """Return the weights of a new learner after it took over a state and three steps more."""
    other = _Learner()
    other.steps(3)
    other.network.load_state_dict(state["network"])
    other.optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    other.steps(3)
    return other.end()


def _equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@exercise(snapshot)
def check_snapshot(answer):
    """Check `snapshot(network, optimizer)`: a run that goes on from it ends as the run that was not stopped."""
    with torch.random.fork_rng(devices=[]):
        learner = _Learner()
        learner.steps(3)
        state = ask(lambda: answer(learner.network, learner.optimizer))
        refuse_if(
            not isinstance(state, dict), f"return a dict with the keys {', '.join(_PARTS)}; got {type(state).__name__}."
        )
        missing = [key for key in _PARTS if key not in state]
        refuse_if(bool(missing), f"the dict lacks {' and '.join(missing)}.")
        for key, owner in (("network", nn.Module), ("optimizer", torch.optim.Optimizer)):
            refuse_if(isinstance(state[key], owner), f"{key}: keep its state_dict(), numbers by name, not the object.")
        right = isinstance(state["random"], torch.Tensor) and state["random"].dtype == torch.uint8
        refuse_if(
            not right, "random: torch.get_rng_state() is where the random numbers stand; a seed is where they began."
        )
        lacking = [name for name in learner.network.state_dict() if name not in state["network"]]
        refuse_if(
            bool(lacking),
            f"the network's {lacking[0] if lacking else ''} is missing: a state_dict() holds buffers, too.",
        )
        at_snapshot = learner.end()
        learner.steps(3)
        refuse_if(
            not _equal(list(state["network"].values()), at_snapshot),
            "the training that went on has changed the snapshot: state_dict() gives the weights themselves, no copy. "
            "Return copy.deepcopy(...) of it.",
        )
        steps = {float(entry["step"]) for entry in state["optimizer"].get("state", {}).values()}
        refuse_if(steps != {3.0}, "the optimiser's moments are missing or not a copy: deepcopy its state_dict(), too.")
        refuse_if(not _equal(_resumed(state), learner.end()), "a run that goes on from it ends with other weights.")
    return "three steps from the snapshot end with the same weights, bit by bit, as the run that was not stopped"


def paired_interval(first, second):
    """Return (mean, low, high) of `second - first` over seeds, 95 % by Student's t."""
    differences = np.array(second) - np.array(first)
    n = len(differences)
    mean = differences.mean()
    standard_error = differences.std(ddof=1) / np.sqrt(n)
    half = stats.t.ppf(0.975, n - 1) * standard_error
    return mean, mean - half, mean + half


@exercise(paired_interval)
def check_paired_interval(answer):
    """Check `paired_interval(first, second)`: the mean difference of pairs with its 95 % interval."""

    def bounds(first: list[float], second: list[float]) -> np.ndarray:
        parts = as_parts(ask(answer, first, second), ("mean", "low", "high"))
        return np.array([float(as_numbers(name, part)) for name, part in zip(("mean", "low", "high"), parts)])

    first, second = [90.0, 80.0, 70.0, 60.0], [91.0, 83.0, 72.0, 62.0]
    mean, low, high = bounds(first, second)
    refuse_if(np.isclose(mean, -2), "this is first - second: a gain of the second must be positive.")
    refuse_if(not np.isclose(mean, 2), f"the differences are 1, 3, 2 and 2, their mean is 2; got {mean:g}.")
    refuse_if(low > high, f"low comes before high; got {low:g} and {high:g}.")
    half = (high - low) / 2
    error = np.std([1, 3, 2, 2], ddof=1) / 2
    refuse_if(
        half > 5,
        "this is as wide as the spread of the seeds themselves: take the difference within each seed first.",
    )
    refuse_if(np.isclose(half, 1.96 * error, rtol=2e-3), "1.96 is for many seeds; of four, t has 3 degrees of freedom.")
    refuse_if(
        np.isclose(half, stats.t.ppf(0.975, 3) * np.std([1, 3, 2, 2]) / 2),
        "the standard deviation is that of a sample: divide by n - 1 (ddof=1).",
    )
    refuse_if(
        np.isclose(half, stats.t.ppf(0.975, 3) * 2 * error),
        "this is the spread of single seeds: the mean's standard error is smaller by the root of n.",
    )
    refuse_if(np.isclose(half, stats.t.ppf(0.95, 3) * error), "0.95 leaves 5 % on each side; 95 % takes 0.975.")
    refuse_if(np.isclose(half, stats.t.ppf(0.975, 4) * error), "n differences have n - 1 degrees of freedom.")
    truth = stats.t.ppf(0.975, 3) * error
    refuse_if(not np.isclose(half, truth), f"the interval should be 2 ± {truth:.3f}; got ± {half:.3f}.")
    return "1, 3, 2 and 2 points more are 2 ± 1.30 points, whatever the seeds have in common"


def median_seconds(work, wait, clock, repeats):
    """Return the median seconds of work(), after a first call that does not count."""
    work()
    wait()
    seconds = []
    for _ in range(repeats):
        start = clock()
        work()
        wait()
        seconds.append(clock() - start)
    return float(np.median(seconds))


class _Device:
    """Does work later, as a GPU does: `work` only queues it, `wait` waits until it is done; time is made up."""

    def __init__(self, lasting: list[float]):
        self.now, self.done, self.calls, self.waits, self.lasting = 0.0, 0.0, 0, 0, lasting

    def work(self) -> None:
        lasting = self.lasting[min(self.calls, len(self.lasting) - 1)]
        self.calls += 1
        self.now += 0.001
        self.done = max(self.done, self.now) + lasting

    def wait(self) -> None:
        self.waits += 1
        self.now = max(self.now, self.done)

    def clock(self) -> float:
        return self.now


@exercise(median_seconds)
def check_median_seconds(answer):
    """Check `median_seconds(work, wait, clock, repeats)`: a warm-up, waiting, the median."""
    device = _Device([30.0, 1.0, 1.0, 5.0, 1.0, 2.0])
    seconds = float(as_numbers("the seconds", ask(lambda: answer(device.work, device.wait, device.clock, 5))))
    refuse_if(device.calls == 0, "work() was never called.")
    refuse_if(
        device.waits == 0 or seconds < 0.5,
        "a GPU's work is only queued when work() returns: call wait() before you read the clock again.",
    )
    refuse_if(
        device.calls == 5, "the first call is among those that count, and it compiles: make one before, uncounted."
    )
    refuse_if(
        device.calls != 6, f"with repeats = 5, work() runs once to warm up and 5 times; it ran {device.calls} times."
    )
    refuse_if(seconds > 10, "the first call, which compiles, is among those that count: start the clock after it.")
    refuse_if(
        abs(seconds - 2.001) < 1e-6, "this is the mean: one slow moment of the machine moves it. Take the median."
    )
    refuse_if(seconds > 3, "this is not the time of one call. Start the clock anew for each.")
    refuse_if(
        abs(seconds - 1.001) > 1e-6, f"of 1, 1, 5, 1 and 2 s (and 1 ms to queue) the median is 1.001; got {seconds:g}."
    )
    return "one warm-up, then the median of complete calls: one slow moment changes nothing"
