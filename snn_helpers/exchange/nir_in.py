"""In from NIR: a graph as a network of one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import snntorch
import torch
from torch import Tensor, nn

from snn_helpers.exchange.nir_layers import Layer, NIRError, edges_of
from snn_helpers.neurons import Leaky, Synaptic, reset
from snn_helpers.over_time import WEIGHTS, is_spiking


class NIRNetwork(nn.Module):
    """One time step of a network that was read from NIR: nodes in the order in which they compute.

    Parameters
    ----------
    modules : dict of str to nn.Module
        The nodes, by name.
    order : sequence of (str, sequence of str)
        Name and sources of each node; sources are names, or "input".
    outputs : sequence of str
        Nodes whose sum is the answer.
    """

    def __init__(self, modules: dict[str, nn.Module], order: Sequence, outputs: Sequence[str]):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.order, self.outputs = tuple(order), tuple(outputs)

    def forward(self, frame: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute one step: a frame [B, ...] to spikes, or to spikes and membranes."""
        values: dict[str, Any] = {"input": frame}
        for name, sources in self.order:
            values[name] = self.get_submodule(name)(_sum(values, sources))
        if len(self.outputs) == 1 and isinstance(values[self.outputs[0]], tuple):
            answer = values[self.outputs[0]]
            return answer[0], answer[-1]  # snnTorch's neurons return other states between
        return _sum(values, self.outputs)


def _sum(values: dict[str, Any], names: Sequence[str]) -> Tensor:
    total = values[names[0]]
    for name in names[1:]:
        total = total + values[name]
    return total


class _Scale(nn.Module):
    def __init__(self, scale: np.ndarray):
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    def forward(self, cur: Tensor) -> Tensor:
        return cur * self.scale


class Reader:
    """Turns a graph into a network."""

    def __init__(self, nir, graph, dt: float):
        self.nir, self.graph, self.dt = nir, graph, dt
        ends = {
            kind: [name for name, node in graph.nodes.items() if isinstance(node, kind)]
            for kind in (nir.Input, nir.Output)
        }
        if any(len(names) != 1 for names in ends.values()):
            raise NIRError(
                f"graph: must have one input and one output; it has {len(ends[nir.Input])} and {len(ends[nir.Output])}."
            )
        (self.first,), (self.last,) = ends.values()
        if len({*map(tuple, graph.edges)}) < len(graph.edges):
            raise NIRError("graph: has an edge twice.")
        for edge in graph.edges:
            for name in edge:
                if name not in graph.nodes:
                    raise NIRError(f"graph: an edge names {name!r}, and no node is called so.")
        self.sources = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
        self.sizes: dict[str, tuple[int, ...]] = {}  # of the numbers of neurons

    def network(self) -> NIRNetwork:
        """Return the network, after one step of it on zeros."""
        names = {self.first: "input"}
        modules: dict[str, nn.Module] = {}
        order = []
        for name in self.ordered():
            try:
                *before, module = self.modules_of(name)
            except NIRError:
                raise
            except Exception as err:  # whatever torch makes of numbers that it was not made for
                raise NIRError(f"{name}: makes no layer ({err}).") from err
            key = name.replace(".", "_")
            sources = [names[source] for source in self.sources[name]]
            if not sources:
                raise NIRError(f"{name}: nothing is connected to it.")
            for scale in before:
                modules[f"{key}_gain"] = scale
                order.append((f"{key}_gain", tuple(sources)))
                sources = [f"{key}_gain"]
            if key in modules or key == "input" or hasattr(NIRNetwork, key) or key in ("order", "outputs"):
                key = f"{key}_node"
            names[name], modules[key] = key, module
            order.append((key, tuple(sources)))
        outputs = [names[source] for source in self.sources[self.last]]
        if not outputs:
            raise NIRError(f"{self.last}: nothing is connected to it.")
        net = NIRNetwork(modules, order, outputs).eval()
        self.try_step(net, names)
        reset(net)
        return net.train()

    def ordered(self) -> list[str]:
        """Return the nodes between input and output, each after its sources."""
        done, order = {self.first}, []
        waiting = [name for name in self.graph.nodes if name not in (self.first, self.last)]
        while waiting:
            ready = [name for name in waiting if set(self.sources[name]) <= done]
            if not ready:
                raise NIRError(
                    f"{waiting[0]}: is in a loop of connections; only neurons in a subgraph of their own may be."
                )
            order += ready
            done |= set(ready)
            waiting = [name for name in waiting if name not in done]
        return order

    @torch.no_grad()
    def try_step(self, net: NIRNetwork, names: dict[str, str]) -> None:
        """Run each node once on zeros: shapes that do not fit are found, and named."""
        shape = self.graph.nodes[self.first].input_type["input"]
        values: dict[str, Any] = {"input": torch.zeros(1, *map(int, shape))}
        called = {key: name for name, key in names.items()}
        for key, sources in net.order:
            shapes = [list(values[source].shape[1:]) for source in sources]
            module, name = net.get_submodule(key), called.get(key, called.get(key.removesuffix("_gain"), key))
            fits = all(one == shapes[0] for one in shapes)
            try:
                value = module(_sum(values, sources)) if fits else None
            except (RuntimeError, ValueError, IndexError):
                fits = False
            if fits:
                value = value[0] if isinstance(value, tuple) else value
                if is_spiking(module) or isinstance(module, _Scale):
                    fits = _broadcasts(self.sizes.get(name, ()), shapes[0]) and list(value.shape[1:]) == shapes[0]
            if not fits:
                given = " and ".join(map(str, shapes))
                takes = f"; it is {module}" if isinstance(module, WEIGHTS) else ""
                raise NIRError(f"{name}: shapes do not fit: it is given {given}{takes}.")
            values[key] = value
        given = [list(values[key].shape[1:]) for key in net.outputs]
        said = [int(size) for size in np.atleast_1d(self.graph.nodes[self.last].output_type["output"])]
        if any(one != said for one in given):
            raise NIRError(f"{self.last}: shapes do not fit: it says {said}, and is given {given[0]}.")

    def modules_of(self, name: str) -> list[nn.Module]:
        """Return the module of a node, after what scales its input where that is not 1."""
        nir, node = self.nir, self.graph.nodes[name]
        kind = type(node)
        if kind in (nir.Linear, nir.Affine):
            return [_new_linear(name, node)]
        if kind in (nir.Conv1d, nir.Conv2d):
            return [_new_conv(name, node, nn.Conv1d if kind is nir.Conv1d else nn.Conv2d)]
        if kind in (nir.AvgPool2d, nir.SumPool2d):
            sides = (_sizes(item, 2) for item in (node.kernel_size, node.stride, node.padding))
            return [nn.AvgPool2d(*sides, divisor_override=1 if kind is nir.SumPool2d else None)]
        if kind is nir.Flatten:
            return [nn.Flatten(*(int(dim) + (dim >= 0) for dim in (node.start_dim, node.end_dim)))]
        if kind is nir.Scale:
            return [_Scale(node.scale)]
        if kind in (nir.LIF, nir.IF, nir.CubaLIF):
            layer, gain = self.fires(name, node)
        elif kind is nir.NIRGraph:
            layer, gain = self.parts(name, node)
        else:
            raise NIRError(f"{name}: a node {kind.__name__} alone is none of the layers that are known here.")
        if (layer.threshold <= 0).any():
            raise NIRError(f"{name}: a threshold of {layer.threshold.min():g} fires at rest; it must be above 0.")
        self.sizes[name] = layer.threshold.shape
        outward = [b for a, b in self.graph.edges if a == name]
        alone = outward == [self.last] and len(self.sources[self.last]) == 1
        scale = [] if (np.float32(gain) == 1).all() else [_Scale(gain)]
        return [*scale, _new_neurons(name, layer, alone)]

    def fires(self, name: str, node: Any) -> tuple[Layer, np.ndarray]:
        """Return a node that fires and is set to zero, and what its input is scaled by."""
        if np.any(node.v_reset):
            raise NIRError(f"{name}: `v_reset` must be 0; other resets have no neurons here.")
        alpha, beta, gain = None, np.ones_like(node.v_threshold, dtype=float), 1.0
        if isinstance(node, self.nir.IF):
            gain = node.r * self.dt
        else:
            beta, gain = self.leak(name, getattr(node, "tau_mem", getattr(node, "tau", None)), node.r, node.v_leak)
        if isinstance(node, self.nir.CubaLIF):
            alpha, into = self.leak(name, node.tau_syn, node.w_in, 0.0)
            gain = gain * into  # of the current, which the membrane takes as it is
        return Layer(beta, np.asarray(node.v_threshold, float), "zero", alpha), np.asarray(gain)

    def leak(self, name: str, tau: Any, r: Any, v_leak: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return decay a step and weight of the input of tau dv/dt = v_leak - v + r cur."""
        if np.any(v_leak):
            raise NIRError(f"{name}: `v_leak` must be 0; neurons that drift have no kind here.")
        if np.min(tau) <= 0:
            raise NIRError(f"{name}: a time constant of {np.min(tau):.3g} s; it must be above 0.")
        decay = 1 - self.dt / np.asarray(tau, float)
        if not ((np.float32(decay) >= 0) & (np.float32(decay) <= 1)).all():
            raise NIRError(
                f"{name}: tau = {np.min(tau):.3g} s and a step of {self.dt:.3g} s make a decay of {decay.min():.3g}, "
                "outside [0, 1]. Give the `dt` that the graph was made for."
            )
        return decay.clip(0, 1), self.dt / np.asarray(tau, float) * r

    def parts(self, name: str, graph: Any) -> tuple[Layer, np.ndarray]:
        """Return a subgraph that is a layer of neurons, and what its input is scaled by."""
        nir = self.nir
        unknown = NIRError(f"{name}: this subgraph is no layer of neurons that is known here.")
        by_role: dict[str, str] = {}
        kinds = {
            nir.Input: "input", nir.Output: "output", nir.Threshold: "threshold", nir.Scale: "reset", nir.LIF: "lif",
            nir.IF: "lif", nir.CubaLIF: "lif", nir.Linear: "w_rec", nir.Affine: "w_rec",
        }  # fmt: skip
        for part, node in graph.nodes.items():
            role = kinds.get(type(node))
            if isinstance(node, nir.I | nir.LI):
                fires = any(isinstance(graph.nodes[b], nir.Threshold) for a, b in graph.edges if a == part)
                role = "membrane" if fires else "synapse"
            if role is None or role in by_role:
                raise unknown
            by_role[role] = part
        role_of = {part: role for role, part in by_role.items()}
        edges = {(role_of[a], role_of[b]) for a, b in graph.edges}
        roles = set(by_role) - {"input", "output"}
        if edges != edges_of(roles) or not {"input", "output"} <= set(by_role):
            raise unknown
        part = {role: graph.nodes[key] for role, key in by_role.items()}
        if "lif" in roles:
            layer, gain = self.fires(name, part["lif"])
        else:
            threshold = np.asarray(part["threshold"].threshold, float)
            beta, gain = self.integrates(name, part["membrane"])
            layer = Layer(beta, threshold, "subtract" if "reset" in roles else "none")
            if (np.float32(gain) != 1).any():
                raise NIRError(f"{name}: `r` of the membrane scales its reset, too; it must be tau / dt.")
            if "synapse" in roles:
                layer.alpha, gain = self.integrates(name, part["synapse"])
            if "reset" in roles and (np.float32(part["reset"].scale) != np.float32(-threshold)).any():
                raise NIRError(f"{name}: its reset must take off the threshold.")
        if "w_rec" in roles:
            if (np.float32(gain) != 1).any():
                raise NIRError(f"{name}: `r` scales its recurrent input, too; it must be tau / dt.")
            layer.weight, layer.bias = part["w_rec"].weight, getattr(part["w_rec"], "bias", None)
        return layer, np.asarray(gain)

    def integrates(self, name: str, node: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return decay a step of a node that only integrates, and weight of its input."""
        if isinstance(node, self.nir.I):
            return np.ones_like(node.r, dtype=float), np.asarray(node.r * self.dt)
        return self.leak(name, node.tau, node.r, node.v_leak)


def _new_linear(name: str, node: Any) -> nn.Linear:
    if node.weight.ndim != 2:
        raise NIRError(f"{name}: shapes do not fit: weights are {list(node.weight.shape)}, not [outputs, inputs].")
    rows, columns = node.weight.shape
    return _filled(name, nn.Linear(columns, rows, bias=hasattr(node, "bias")), node)


def _new_conv(name: str, node: Any, kind: type) -> nn.Module:
    axes = 1 if kind is nn.Conv1d else 2
    if node.weight.ndim != axes + 2:
        raise NIRError(f"{name}: shapes do not fit: weights are {list(node.weight.shape)}, not of {axes + 2} axes.")
    rows, columns, *kernel = node.weight.shape
    stride, dilation = _sizes(node.stride, axes), _sizes(node.dilation, axes)
    padding = node.padding if isinstance(node.padding, str) else _sizes(node.padding, axes)
    groups = int(node.groups)
    return _filled(name, kind(columns * groups, rows, tuple(kernel), stride, padding, dilation, groups), node)


def _broadcasts(numbers: Sequence[int], shape: Sequence[int]) -> bool:
    return len(numbers) <= len(shape) and all(a in (1, b) for a, b in zip(numbers[::-1], shape[::-1]))


def _sizes(value: Any, axes: int) -> tuple[int, ...]:
    sizes = np.broadcast_to(value, axes)
    if (sizes != sizes.astype(np.int64)).any():
        raise ValueError(f"sizes must be whole numbers; got {value}")
    return tuple(int(size) for size in sizes)


def _filled(name: str, module: nn.Module, node: Any) -> nn.Module:
    """Give a module a node's weights."""
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            value = torch.as_tensor(np.asarray(getattr(node, key)), dtype=parameter.dtype)
            if value.shape != parameter.shape:
                shapes = f"{list(value.shape)}, not {list(parameter.shape)}"
                raise NIRError(f"{name}: shapes do not fit: `{key}` is {shapes}.")
            parameter.copy_(value)
    return module


def _new_neurons(name: str, layer: Layer, output: bool) -> nn.Module:
    """Return a layer of neurons: ours where they have these, else snnTorch's."""
    numbers = {key: getattr(layer, key) for key in ("alpha", "beta", "threshold") if getattr(layer, key) is not None}
    numbers = {key: _number(value) for key, value in numbers.items()}
    if layer.reset == "subtract" and layer.weight is None:
        return (Leaky if layer.alpha is None else Synaptic)(**numbers, init_hidden=True, output=output)
    options: dict[str, Any] = {"reset_mechanism": layer.reset, "init_hidden": True, "output": output}
    plain = layer.alpha is None and layer.weight is None
    options["reset_delay"] = layer.reset != "zero" or plain
    if layer.weight is None:
        made = (snntorch.Leaky if layer.alpha is None else snntorch.Synaptic)(**numbers, **options)
    elif layer.alpha is not None and layer.reset == "zero":
        raise NIRError(f"{name}: snnTorch's RSynaptic does not run with a reset in the same step.")
    else:
        kind = snntorch.RLeaky if layer.alpha is None else snntorch.RSynaptic
        made = kind(**numbers, linear_features=len(layer.weight), **options)
        bias = np.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        made.recurrent = _new_linear(f"{name}, recurrent", _Affine(layer.weight, bias))
    instances = snntorch.SpikingNeuron.instances  # which would keep it alive for good
    instances[:] = [one for one in instances if one is not made]
    return made


class _Affine(NamedTuple):
    weight: np.ndarray
    bias: np.ndarray


def _number(value: np.ndarray) -> float | Tensor:
    """Return one number where all neurons have the same, else a tensor."""
    value = np.float32(value)
    return float(value.flat[0]) if (value == value.flat[0]).all() else torch.from_numpy(value)
