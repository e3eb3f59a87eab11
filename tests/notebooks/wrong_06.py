"""Wrong answers to the exercises of notebook 06, with words of the message that each must get."""

import copy

import numpy as np
import torch
from scipy import stats


def kept(*keys, copied=True, **others):
    """Return a snapshot of such parts, some of them other than they should be."""

    def snapshot(network, optimizer):
        whole = {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        state = {key: whole[key] for key in keys or whole}
        state |= {key: make(network, optimizer) for key, make in others.items()}
        return copy.deepcopy(state) if copied else state

    return snapshot


def weights_alone(network, optimizer):
    return network.state_dict()


def copied_weights(network, optimizer):
    state = kept(copied=False)(network, optimizer)
    return {**state, "network": copy.deepcopy(state["network"])}


def interval_of(values_of=None, quantile=0.975, ddof=1, freedom=-1, root=True, normal=False):
    """Return an interval of differences with faults."""

    def paired_interval(first, second):
        differences = np.array(second) - np.array(first) if values_of is None else values_of(first, second)
        n = len(differences)
        error = differences.std(ddof=ddof) / (np.sqrt(n) if root else 1)
        factor = 1.96 if normal else stats.t.ppf(quantile, n + freedom)
        return differences.mean(), differences.mean() - factor * error, differences.mean() + factor * error

    return paired_interval


def unpaired(first, second):
    first, second = np.array(first), np.array(second)
    mean = second.mean() - first.mean()
    half = 1.96 * np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / len(first))
    return mean, mean - half, mean + half


def turned(first, second):
    mean, low, high = interval_of()(first, second)
    return mean, high, low


def timed(warm_up=True, waits=True, average=np.median, at_once=False):
    """Return a timing with faults."""

    def median_seconds(work, wait, clock, repeats):
        if warm_up:
            work()
            wait()
        seconds, start = [], clock()
        for _ in range(repeats):
            start = start if at_once else clock()
            work()
            if waits:
                wait()
            seconds.append(clock() - start)
        return float(average(seconds))

    return median_seconds


def thrice(work, wait, clock, repeats):
    return timed()(work, wait, clock, 3)


WRONG = {
    "snapshot": [
        (weights_alone, "the dict lacks network and optimizer and random"),
        (kept("network", "optimizer"), "the dict lacks random"),
        (kept(copied=False), "has changed the snapshot"),
        (copied_weights, "not a copy: deepcopy"),
        (kept(random=lambda network, optimizer: torch.initial_seed()), "a seed is where they began"),
        (kept(network=lambda network, optimizer: network), "not the object"),
        (kept(network=lambda network, optimizer: dict(network.named_parameters())), "holds buffers"),
        (kept(optimizer=lambda network, optimizer: {"param_groups": []}), "moments are missing"),
    ],
    "paired_interval": [
        (interval_of(lambda first, second: np.array(first) - np.array(second)), "first - second"),
        (unpaired, "the difference within each seed first"),
        (turned, "low comes before high"),
        (interval_of(normal=True), "1.96 is for many seeds"),
        (interval_of(ddof=0), "ddof=1"),
        (interval_of(root=False), "smaller by the root of n"),
        (interval_of(quantile=0.95), "takes 0.975"),
        (interval_of(freedom=0), "n - 1 degrees"),
    ],
    "median_seconds": [
        (timed(waits=False), "only queued"),
        (timed(warm_up=False), "make one before, uncounted"),
        (timed(average=np.mean), "Take the median"),
        (timed(at_once=True), "Start the clock anew"),
        (thrice, "once to warm up and 5 times"),
    ],
}
