"""Out to NIR: the operations of a step as nodes and edges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import snntorch
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.utils import _pair

from snn_helpers.exchange.nir_layers import Layer, NIRError, edges_of
from snn_helpers.exchange.reading import folded, need, role_of, users
from snn_helpers.neurons import SpikingNeuron, Synaptic, as_neuron
from snn_helpers.over_time import WEIGHTS, is_spiking
from snn_helpers.over_time.fold import kind_of, name_of
from snn_helpers.over_time.program import Now, Op, Program

_HINTS = {
    nn.MaxPool2d: "; take average pooling, or strides",
    nn.MaxPool1d: "; take strides",
    nn.AvgPool2d: " with `ceil_mode` or such a `divisor_override`",
}


class Writer:
    """Turns the operations of a step into nodes and edges; a value is the nodes whose sum it is."""

    def __init__(self, net: nn.Module, program: Program, dt: float):
        self.nir, self.net, self.steps, self.dt = need("nir", "NIR"), net, program.steps, dt
        self.takers = users(program)
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.values: list[tuple[str, ...]] = []  # empty: a membrane, which no edge carries

    def add(self, name: str, node: Any, sources: tuple[str, ...]) -> tuple[str, ...]:
        """Enter a node with edges from its sources."""
        if len(set(sources)) < len(sources):
            raise NIRError(f"{name}: the same spikes are added twice, and NIR has one edge between two nodes.")
        if name in self.nodes:
            name = next(other for k in itertools.count(1) if (other := f"{name}_{k}") not in self.nodes)
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return (name,)

    def connected(self) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Return the nodes that the output depends on, and their edges: readers take any other end for an output."""
        needed, waiting = set(), ["output"]
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += [source for source, target in self.edges if target == name]
        nodes = {name: node for name, node in self.nodes.items() if name in needed}
        return nodes, [edge for edge in self.edges if edge[1] in needed]

    def value_of(self, op: Op) -> tuple[str, ...]:
        """Return the nodes whose sum an operation's result is, after entering those that it needs."""
        nir, name, val = self.nir, name_of(op), op.val
        if op.kind == "series":
            return self.add("input", nir.Input(np.array(val.shape[1:])), ())
        taken = [self.steps[item.index] for item in op.args if isinstance(item, Now)]
        values = [self.values[item.index] for item in op.args if isinstance(item, Now)]
        role = role_of(op, self.steps, self.net)
        if () in values:
            where = name if op.kind == "call_module" else f"`{name}`{op.line}"
            raise NIRError(f"{where}: takes membranes of a layer of neurons, and NIR's nodes pass on spikes.")
        if role in ("spikes", "same"):
            return values[0]
        if role == "sum":
            return values[0] + values[1]
        if role == "flat":
            return self.add("flatten", self.flatten(taken[0].val.shape[1:], 0, -1), values[0])
        if name == "getitem" and isinstance(taken[0].val, tuple):
            return ()  # a membrane: fine where nothing takes it
        if op.kind == "call_module" and values:
            module = self.net.get_submodule(op.target)
            if isinstance(module, _BatchNorm):
                return self.fold(op, module, taken[0], values[0])
            return self.add(op.target, self.node_of(op.target, module, taken[0].val.shape[1:]), values[0])
        factors = [item for item in op.args if isinstance(item, int | float)]
        if name in ("mul", "imul") and len(taken) == len(factors) == 1:
            return self.add("scale", nir.Scale(np.full(tuple(val.shape[1:]), float(factors[0]))), values[0])
        raise NIRError(f"`{name}`{op.line}: NIR has no node for this operation.")

    def flatten(self, shape: Sequence[int], start: int, end: int) -> Any:
        """Return a node that joins axes of [*shape]."""
        return self.nir.Flatten({"input": np.array(shape)}, start, end)

    def fold(self, op: Op, norm: _BatchNorm, before: Op, value: tuple[str, ...]) -> tuple[str, ...]:
        """Put a normalisation into the weights before it."""
        weights = self.net.get_submodule(before.target) if before.kind == "call_module" else None
        if not isinstance(weights, WEIGHTS) or len(self.takers[self.steps.index(before)]) > 1:
            raise NIRError(f"{op.target}: a normalisation that does not directly follow weights has no node in NIR.")
        weight, bias = (_numpy(tensor) for tensor in _named(op.target, folded, weights, norm))
        if isinstance(weights, nn.Linear):
            self.nodes[value[0]] = self.nir.Affine(weight, bias)
        else:
            weight = _dense(weight, weights.groups)
            self.nodes[value[0]].weight, self.nodes[value[0]].bias = weight, bias
        return value

    def node_of(self, name: str, module: nn.Module, shape: Sequence[int]) -> Any:
        """Return the node of a module that takes [B, *shape]."""
        nir, kind = self.nir, kind_of(module)
        if kind is nn.Linear:
            if len(shape) > 1:
                raise NIRError(f"{name}: takes {list(shape)}, and NIR's linear nodes take one axis. Flatten before.")
            return _linear(nir, module)
        if kind in (nn.Conv1d, nn.Conv2d):
            if module.padding_mode != "zeros":
                raise NIRError(f"{name}: pads with {module.padding_mode!r}, and NIR's convolutions with zeros.")
            weight = _dense(_numpy(module.weight), module.groups)
            bias = np.zeros(len(weight), weight.dtype) if module.bias is None else _numpy(module.bias)
            given = (module.stride, module.padding, module.dilation, 1, bias)
            if kind is nn.Conv2d:
                return nir.Conv2d(tuple(shape[1:]), weight, *given)
            stride, padding, dilation = (item if isinstance(item, str) else item[0] for item in given[:3])
            return nir.Conv1d(shape[1], weight, stride, padding, dilation, *given[3:])
        if kind is nn.Flatten and module.start_dim:
            start, end = (dim - 1 if dim > 0 else dim for dim in (module.start_dim, module.end_dim))
            return self.flatten(shape, start, end)
        if kind is nn.AvgPool2d and not module.ceil_mode and module.divisor_override in (None, 1):
            pair = [np.array(_pair(item)) for item in (module.kernel_size, module.stride, module.padding)]
            if pair[2].any() and not module.count_include_pad and module.divisor_override is None:
                raise NIRError(f"{name}: leaves the padding out of its mean, which NIR's node counts.")
            return nir.AvgPool2d(*pair) if module.divisor_override is None else nir.SumPool2d(*pair)
        if is_spiking(module):
            return self.neurons(name, _layer_of(name, module, shape))
        raise NIRError(f"{name}: NIR has no node for {kind.__name__}{_HINTS.get(kind, '')}.")

    def neurons(self, name: str, layer: Layer) -> Any:
        """Return the node, or the subgraph, of a layer of neurons."""
        nir, threshold = self.nir, layer.threshold
        zeros = np.zeros_like(threshold)
        recurrent = None
        if layer.weight is not None:
            recurrent = nir.Linear(layer.weight) if layer.bias is None else nir.Affine(layer.weight, layer.bias)
        if layer.reset == "zero":
            tau = self.tau(name, layer.beta)
            if layer.alpha is not None:
                tau_syn = self.tau(name, layer.alpha)
                if tau is None or tau_syn is None:
                    raise NIRError(f"{name}: a decay of 1 has no time constant, and NIR no such neuron with a synapse.")
                return nir.CubaLIF(tau_syn, tau, tau / self.dt, zeros, threshold, zeros, w_in=tau_syn / self.dt)
            if tau is None:
                node = nir.IF(np.full_like(threshold, 1 / self.dt), threshold, zeros)
            else:
                node = nir.LIF(tau, tau / self.dt, zeros, threshold, zeros)
            return node if recurrent is None else self.subgraph({"lif": node, "w_rec": recurrent}, threshold.shape)
        nodes = {"membrane": self.integrator(name, layer.beta), "threshold": nir.Threshold(threshold)}
        if layer.alpha is not None:
            nodes["synapse"] = self.integrator(name, layer.alpha)
        if layer.reset == "subtract":
            nodes["reset"] = nir.Scale(-threshold)
        if recurrent is not None:
            nodes["w_rec"] = recurrent
        return self.subgraph(nodes, threshold.shape)

    def subgraph(self, nodes: dict[str, Any], shape: Sequence[int]) -> Any:
        """Return a layer of neurons as a graph of its parts."""
        ends = {"input": self.nir.Input(np.array(shape)), "output": self.nir.Output(np.array(shape))}
        return self.nir.NIRGraph({**ends, **nodes}, sorted(edges_of(set(nodes))), metadata={})

    def integrator(self, name: str, decay: np.ndarray) -> Any:
        """Return a node that integrates without firing."""
        tau = self.tau(name, decay)
        if tau is None:
            return self.nir.I(np.full_like(decay, 1 / self.dt))
        return self.nir.LI(tau, tau / self.dt, np.zeros_like(tau))

    def tau(self, name: str, decay: np.ndarray) -> np.ndarray | None:
        """Return the time constants of decays a step, in seconds; None where all are 1."""
        if (decay == 1).all():
            return None
        if (decay == 1).any():
            raise NIRError(
                f"{name}: only some of its decays are 1, for which NIR has another node. Set all to 1, or none."
            )
        tau = self.dt / (1 - decay)
        if (np.float32(1 - self.dt / tau) != np.float32(decay)).any():
            low = decay[decay > 0].min()
            raise NIRError(f"{name}: a decay of {low:.3g} is lost in a time constant. Set it to 0.")
        return tau


def _layer_of(name: str, module: nn.Module, shape: Sequence[int]) -> Layer:
    """Return a module of neurons by its numbers, one a neuron, if NIR can say what it computes."""
    neuron = as_neuron(module)
    if isinstance(neuron, str) or isinstance(module, SpikingNeuron):
        if isinstance(neuron, str) and type(module) is not snntorch.RLeaky:
            raise NIRError(f"{name}: NIR has no neurons of this kind ({neuron}).")
        if isinstance(module, SpikingNeuron) and neuron.kind not in ("leaky", "synaptic", "rleaky"):
            raise NIRError(f"{name}: NIR has no neurons of the kind {neuron.kind!r}.")
    reset_by = "subtract"
    if not isinstance(module, SpikingNeuron):
        reset_by = ("subtract", "zero", "none")[int(module.reset_mechanism_val)]
        if type(module) not in (snntorch.Leaky, snntorch.Synaptic, snntorch.RLeaky, snntorch.RSynaptic):
            raise NIRError(f"{name}: NIR has no neurons like {type(module).__name__}.")
        if module.inhibition or module.state_quant or (module.graded_spikes_factor != 1).any():
            raise NIRError(f"{name}: inhibition, quantised states and graded spikes have no node in NIR.")
        delayed = module.reset_delay
        if reset_by == "subtract" and not delayed:
            raise NIRError(f"{name}: resets by subtraction in the same step, for which NIR has no node.")
        if reset_by == "zero" and delayed and type(module) is not snntorch.Leaky:
            raise NIRError(f"{name}: loses its input in the step after a spike, which none of NIR's nodes does.")
        if reset_by == "zero" and type(module) is snntorch.RSynaptic:
            raise NIRError(f"{name}: RSynaptic with `reset_delay=False` does not run in snnTorch.")
    weight, bias = _recurrence(name, module, shape)

    def number(key: str) -> np.ndarray:
        value = neuron.numbers[key] if not isinstance(neuron, str) else getattr(module, key)
        value = np.float64(torch.as_tensor(value).detach().float().cpu().numpy())  # what is computed with, exactly
        value = value.clip(0, 1) if key != "threshold" else value
        try:
            return np.broadcast_to(value, (1, *shape))[0].copy()
        except ValueError as err:
            raise NIRError(f"{name}: `{key}` of shape {list(value.shape)} is not one a neuron, {list(shape)}.") from err

    layer = Layer(number("beta"), number("threshold"), reset_by, None, weight, bias)
    if isinstance(module, Synaptic | snntorch.Synaptic | snntorch.RSynaptic):
        layer.alpha = number("alpha")
    if (layer.threshold <= 0).any():
        raise NIRError(f"{name}: a threshold of {layer.threshold.min():g} fires at rest; it must be above 0.")
    return layer


def _recurrence(name: str, module: nn.Module, shape: Sequence[int]) -> tuple[np.ndarray | None, np.ndarray | None]:
    recurrent = getattr(module, "recurrent", None)
    if recurrent is None:
        return None, None
    if len(shape) > 1 or isinstance(recurrent, nn.Conv2d):
        raise NIRError(f"{name}: recurrent convolutions are not said in NIR here.")
    if isinstance(recurrent, nn.Linear):
        return _numpy(recurrent.weight), None if recurrent.bias is None else _numpy(recurrent.bias)
    return np.diag(np.broadcast_to(_numpy(recurrent.V), shape)), None


def _linear(nir, module: nn.Linear) -> Any:
    weight = _numpy(module.weight)
    return nir.Linear(weight) if module.bias is None else nir.Affine(weight, _numpy(module.bias))


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _dense(weight: np.ndarray, groups: int) -> np.ndarray:
    """Return the weights of a grouped convolution as those of a whole one: NIR's package checks no others rightly."""
    if groups == 1:
        return weight
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    whole = np.zeros((len(weight), columns * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        places = slice(group * rows, (group + 1) * rows)
        whole[places, group * columns : (group + 1) * columns] = weight[places]
    return whole


def _named(name: str, make, *args):
    try:
        return make(*args)
    except ValueError as err:
        raise NIRError(f"{name}: {err}.") from err
