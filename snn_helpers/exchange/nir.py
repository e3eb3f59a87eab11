"""NIR, the neuromorphic intermediate representation: networks as graphs of equations in continuous time, out and in.

NIR's nodes say differential equations; they are held here against steps of dt by the forward Euler method, as snnTorch
does: a membrane of time constant tau decays by beta = 1 - dt / tau a step. Two nodes integrate without firing (LI, I),
two fire and are set to `v_reset` (LIF, IF), CubaLIF has a synapse before. A reset by subtraction, one step later, which
is this package's and snnTorch's default, is in none of them: it is said by a subgraph, in which a threshold's spikes go
back to the membrane, scaled by minus the threshold:

    input -> [synapse: LI] -> membrane: LI or I -> threshold: Threshold -> output
                              membrane <- reset: Scale <- threshold

Several connections into one node are added. snnTorch's importer (1.0) reads LIF and CubaLIF nodes rightly, of neurons
that are set to zero, for steps of 1e-4 s and one threshold a layer. It knows no subgraphs of these parts, takes IF for
a decay of 0.9, flattens the batch, too, and takes every graph to be for steps of 1e-4 s. Its exporter writes resets by
subtraction as resets to zero. SpikingJelly (2.0) reads LIF, IF and CubaLIF rightly, for steps of any length, where all
neurons of a layer are alike. J. E. Pedersen et al., Neuromorphic intermediate representation, Nature Communications 15
(2024); for what a node means, the docstrings of the package nir.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn
from torch.utils._pytree import tree_leaves

from snn_helpers._checks import check_float
from snn_helpers._files import whole_file
from snn_helpers._paths import user_path
from snn_helpers.exchange.nir_in import Reader
from snn_helpers.exchange.nir_layers import NIRError
from snn_helpers.exchange.nir_out import Writer
from snn_helpers.exchange.reading import NUM_STEPS, existing_file, need, read_step
from snn_helpers.over_time.program import Now

DT = 1e-4  # seconds; what snnTorch's importer takes every graph to be made for


def to_nir(
    net: nn.Module,
    sample_shape: Sequence[int],
    dt: float = DT,
    path: str | os.PathLike | None = None,
    num_steps: int = NUM_STEPS,
) -> Any:
    """Return a network as a NIR graph, exactly or not at all.

    Parameters
    ----------
    net : nn.Module
        One time step, or a network that runs one over time, by its own loop or by ours; in eval mode, dropout left out.
    sample_shape : sequence of int
        Shape of one frame without the batch, [C, H, W].
    dt : float > 0
        Length of a step in seconds, for time constants: tau = dt / (1 - beta). The graph's metadata say it.
    path : path or None
        Where to write the graph, too: a file of NIR's own HDF5 format.
    num_steps : int
        Steps of a recording, over which a loop of the network's own must do the same in each.

    Returns
    -------
    nir.NIRGraph
        A node a layer, by its path in the network; normalisations directly after weights are folded into them. What
        leaves it are the spikes that the network returns first.

    Raises
    ------
    NIRError
        If NIR has no node for a layer (max-pooling, adaptive thresholds ...), which the message names, or numbers are
        not finite.
    ImportError
        If the package nir is not installed.
    """
    nir = need("nir", "NIR")
    check_float("dt", dt, low=0, above=True)
    net, program = read_step(net, sample_shape, num_steps=num_steps)
    writer = Writer(net, program, dt)
    for op in program.steps:
        writer.values.append(writer.value_of(op))
    answers = [leaf for leaf in tree_leaves(program.output) if isinstance(leaf, Now)]
    if not answers or not writer.values[answers[0].index]:
        raise NIRError(f"{type(net).__name__}: what it returns first are no spikes.")
    last = program.steps[answers[0].index].val
    shape = (last[0] if isinstance(last, tuple) else last).shape[1:]
    writer.add("output", nir.Output(np.array(shape)), writer.values[answers[0].index])
    graph = nir.NIRGraph(*writer.connected(), metadata={"dt": dt})
    for name, node in graph.nodes.items():
        _check_finite(name, node)
    if path is not None:
        with whole_file(user_path(path)) as part:
            nir.write(str(part), graph)
    return graph


def from_nir(graph: Any, dt: float | None = None) -> nn.Module:
    """Return a NIR graph as a network that computes one time step.

    Parameters
    ----------
    graph : nir.NIRGraph or path
        A graph, or a file of one.
    dt : float > 0 or None
        Length of a step in seconds; None takes what `to_nir` wrote. snnTorch's exporter writes graphs for 1e-4.

    Returns
    -------
    nn.Module
        Takes frames [B, ...] and returns spikes or, where a layer of neurons is the output, its spikes and membranes;
        `accelerate` runs it over time. Modules have their nodes' names, dots replaced by "_". Gradients of spikes are
        the neurons' own default, since NIR says none.

    Raises
    ------
    NIRError
        If this is no graph, a node is unknown, shapes do not fit, or numbers are not finite or make no neuron.
    ImportError
        If the package nir is not installed.
    """
    nir = need("nir", "NIR")
    graph, what = (graph, "graph") if isinstance(graph, nir.NIRGraph) else (_read(nir, graph), str(graph))
    for name, node in graph.nodes.items():
        _check_finite(name, node)
    metadata = graph.metadata if isinstance(graph.metadata, dict) else {}
    dt = metadata.get("dt") if dt is None else dt
    if dt is None:
        raise NIRError(f"{what}: does not say the length of a step: give `dt`, in s (snnTorch's exporter takes 1e-4).")
    if isinstance(dt, np.ndarray | np.generic) and np.size(dt) == 1:  # as it comes from a file
        dt = np.asarray(dt).item()
    return Reader(nir, graph, check_float("dt", dt, low=0, above=True)).network()


def _read(nir, path: Any) -> Any:
    """Read a file, or say what is wrong with it."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`graph` must be a nir.NIRGraph or the path of one; got {type(path).__name__}.")
    path = existing_file(path, NIRError)
    try:
        graph = nir.read(str(path), type_check=False)
    except Exception as err:  # h5py and nir raise whatever a file makes them
        unknown = _unknown_type(nir, path)
        if unknown:
            raise NIRError(f"{path}: {unknown}, which the package nir does not know.") from err
        reason = (str(err) or type(err).__name__).splitlines()[0]
        raise NIRError(f"{path}: this is no NIR graph, or it is damaged ({reason}).") from err
    return graph


def _unknown_type(nir, path: Any) -> str | None:
    import h5py

    found: list[str] = []

    def note(name: str, item: Any) -> None:
        if name.endswith("/type") and isinstance(item, h5py.Dataset):
            kind = item[()].decode()
            if not hasattr(nir, kind):
                found.append(f"{name.removesuffix('/type').rpartition('/')[2]}: is a {kind!r}")

    try:
        with h5py.File(path, "r") as file:
            file.visititems(note)
    except Exception:  # damaged, too
        return None
    return found[0] if found else None


def _check_finite(name: str, node: Any) -> None:
    for part, inner in getattr(node, "nodes", {}).items():
        _check_finite(f"{name}.{part}", inner)
    for field, value in vars(node).items():
        if not isinstance(value, np.ndarray):
            continue
        if value.dtype.kind == "c":
            raise NIRError(f"{name}: `{field}` holds complex numbers.")
        with np.errstate(over="ignore"):
            if value.dtype.kind == "f" and not np.isfinite(value.astype(np.float32)).all():
                raise NIRError(f"{name}: `{field}` holds numbers that are not finite, or too large for float32.")
