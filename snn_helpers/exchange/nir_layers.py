"""What both directions of NIR have in common: a layer of neurons in numbers, and the subgraphs that stand for some."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class NIRError(ValueError):
    """A network that NIR cannot say, or a graph that cannot be read; the message names the layer or node."""


@dataclass
class Layer:
    """A layer of neurons, numbers in float64: what both directions have in common."""

    beta: np.ndarray
    threshold: np.ndarray
    reset: str  # "subtract" a step later, "zero" at once, or "none"
    alpha: np.ndarray | None = None
    weight: np.ndarray | None = None  # of the connections among its neurons
    bias: np.ndarray | None = None


def edges_of(roles: set[str]) -> set[tuple[str, str]]:
    """Return the connections of a layer of neurons that is a subgraph, by what its nodes are for."""
    fires = "lif" if "lif" in roles else "threshold"
    enters = "lif" if "lif" in roles else "synapse" if "synapse" in roles else "membrane"
    edges = {("input", enters), (fires, "output")}
    if fires == "threshold":
        edges |= {("membrane", "threshold")}
    if "synapse" in roles:
        edges |= {("synapse", "membrane")}
    if "reset" in roles:
        edges |= {("threshold", "reset"), ("reset", "membrane")}
    if "w_rec" in roles:
        edges |= {(fires, "w_rec"), ("w_rec", enters)}
    return edges
