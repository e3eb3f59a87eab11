"""What a network is made of, read off its trace: which weights drive which neurons, and where skips join."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from snn_helpers.over_time.fold import name_of
from snn_helpers.over_time.program import Now, Program, is_neuron_op

INPUT = "events"
WEIGHTS = (nn.Linear, nn.modules.conv._ConvNd)


def layer_name(path: str) -> str:
    """Return what a layer of neurons at a path is called: the path without a last part "neurons"."""
    return path.removesuffix(".neurons")


@dataclass
class Drive:
    """What gives a layer of neurons its currents.

    Attributes
    ----------
    neurons : str
        Path of the layer's module.
    weights, norm : str or None
        Paths of the last module of weights and of the last normalisation with a scale and shift before the neurons.
    joined_by : str or None
        The layer whose spikes a skip brings here, to the currents or to the spikes, or whose currents it adds to these;
        `INPUT` for the network's input.
    """

    neurons: str
    weights: str | None = None
    norm: str | None = None
    joined_by: str | None = None


@dataclass
class _Value:
    """Currents, or the spikes of a layer (`layer`), and which modules they went through since the last spikes."""

    layer: str | None = None
    weights: str | None = None
    norm: str | None = None
    skip: str | None = None


def drives(program: Program, net: nn.Module) -> dict[str, Drive]:
    """Return what drives each layer of neurons, by its name, in the order in which they compute."""
    found: dict[str, Drive] = {}
    values: list[_Value] = []
    for op in program.steps:
        places = [ref.index for ref in op.references if isinstance(ref, Now) and ref.index < len(values)]
        inputs = [values[place] for place in places]
        if op.kind == "series":
            values.append(_Value(layer=INPUT))
        elif is_neuron_op(op, net):
            source = inputs[0] if inputs else _Value()
            found.setdefault(op.target, Drive(op.target, source.weights, source.norm, source.skip))
            values.append(_Value(layer=op.target))
        elif len(inputs) >= 2 and name_of(op) in ("add", "iadd"):
            # Of two currents the later ones are the branch's, and the earlier ones come by the skip.
            values.append(_sum([values[place] for place in sorted(places, reverse=True)], found))
        else:
            values.append(_through(op, inputs[0] if inputs else _Value(), net))
    return {layer_name(path): drive for path, drive in found.items()}


def _sum(inputs: list[_Value], found: dict[str, Drive]) -> _Value:
    first, second = inputs[:2]
    if first.layer and second.layer:  # spike by spike
        last, other = (first, second) if _is_later(first.layer, second.layer, found) else (second, first)
        found[last.layer].joined_by = other.layer
        return _Value(layer=last.layer)
    driven, other = (second, first) if first.layer else (first, second)
    return _Value(None, driven.weights, driven.norm, other.layer or _driven_by(other, found) or driven.skip)


def _driven_by(currents: _Value, found: dict[str, Drive]) -> str | None:
    """Return the last layer of neurons that currents have driven already, if any."""
    layers = [drive.neurons for drive in found.values() if currents.weights and drive.weights == currents.weights]
    return layers[-1] if layers else None


def _is_later(first: str, second: str, found: dict[str, Drive]) -> bool:
    order = list(found)
    return second == INPUT or (first != INPUT and order.index(first) > order.index(second))


def _through(op, source: _Value, net: nn.Module) -> _Value:
    module = net.get_submodule(op.target) if op.kind == "call_module" else None
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return source
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return _Value(None, source.weights, op.target, source.skip)
    return _Value(None, op.target)


def sizes(program: Program, net: nn.Module) -> tuple[int, int]:
    """Return how many currents and how many spikes one step computes: results of weights, and of neurons."""
    currents = neurons = 0
    for op in program.steps:
        value = op.val[0] if isinstance(op.val, tuple) else op.val
        if is_neuron_op(op, net):
            neurons += value.numel()
        elif op.kind == "call_module" and isinstance(net.get_submodule(op.target), WEIGHTS):
            currents += value.numel()
    return currents, neurons
