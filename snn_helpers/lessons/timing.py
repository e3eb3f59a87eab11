"""Times of a notebook's code: in turns, after a warm-up, and layer by layer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from snn_helpers.activity.taps import attach


def times_in_turns(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """Time functions that take turns, so that a slow moment of the machine meets all of them alike.

    Parameters
    ----------
    works : mapping of name to function
        Each is called once without being timed, to warm up, and then once in each turn.
    repeats : int
        Turns.

    Returns
    -------
    dict of name to float array [repeats]
        Times in ms.
    """
    times = {name: np.zeros(repeats) for name in works}
    for turn in range(-1, repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn >= 0:
                times[name][turn] = 1000 * (time.perf_counter() - start)
    return times


@torch.no_grad()
def layer_times(net: nn.Module, work: Callable[[], object], repeats: int = 5) -> dict[str, float]:
    """Return the median ms of a forward pass by layer of neurons, each with the operations before it.

    Parameters
    ----------
    net : nn.Module
        The network, or what `accelerate` made of it.
    work : callable
        Runs the network once, step by step or over all time.
    repeats : int
        Times it is run, after once to warm up.

    Returns
    -------
    dict of layer to float
        Times in ms; what follows the last layer is left out.
    """
    passes: list[dict[str, float]] = []
    last = [0.0]

    def on_layer(name, spk, mem, whole):
        now = time.perf_counter()
        passes[-1][name] = passes[-1].get(name, 0.0) + 1000 * (now - last[0])
        last[0] = now

    with attach(net, None, on_layer, mem=False):
        for _ in range(repeats + 1):
            passes.append({})
            last[0] = time.perf_counter()
            work()
    return {name: float(np.median([one[name] for one in passes[1:]])) for name in passes[-1]}
