"""A neuron's time step as a graph of operations on single numbers: what kernels are generated from.

The step and its gradient, of a function in plain torch, are traced together; what a kernel could not compute for each
neuron from itself alone, by the same roundings as torch, is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx

from snn_helpers.engine.reference import Neuron

SHAPE = (2, 3)  # of the neurons in a trace: numbers have it, too, so that no operation broadcasts or sums


class CannotGenerateError(TypeError):
    """The step cannot become a kernel; the message says why."""


_SAME = {"detach", "alias", "clone", "lift_fresh_copy", "lift_fresh", "contiguous", "expand", "view", "_unsafe_view"}
_FILLS = {"zeros_like": 0.0, "ones_like": 1.0, "new_zeros": 0.0, "new_ones": 1.0, "zeros": 0.0, "ones": 1.0}
_NAMES = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_not": "logical_not", "sign": "sgn"}
EXPRESSIONS = {  # of each operation, in a kernel
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "gt": "{} > {}", "ge": "{} >= {}",
    "lt": "{} < {}", "le": "{} <= {}", "eq": "{} == {}", "ne": "{} != {}", "logical_and": "{} & {}",
    "logical_or": "{} | {}", "logical_not": "not {}", "neg": "-{}", "abs": "abs({})", "reciprocal": "ONE / {}",
    "where": "{1} if {0} else {2}", "maximum": "maximum({}, {})", "minimum": "minimum({}, {})", "sgn": "sgn({})",
    "relu": "maximum({}, ZERO)", "sqrt": "math.sqrt({})", "float": "ONE if {} else ZERO",
    "exp": "exp({})", "log": "math.log({})", "tanh": "math.tanh({})", "sigmoid": "ONE / (ONE + exp(-{}))",
    "atan": "math.atan({})", "sin": "math.sin({})", "cos": "math.cos({})",
}  # fmt: skip
INEXACT = {"exp", "log", "tanh", "sigmoid", "atan", "sin", "cos"}  # torch's last bits are others
_HINTS = {
    **dict.fromkeys(("mm", "bmm", "addmm", "mv", "convolution", "cumsum", "roll", "sum", "mean", "amax", "argmax"),
                    "it mixes neurons"),
    **dict.fromkeys(("index_put", "index"), "masked assignment; torch.where can stand for it"),
    **dict.fromkeys(("rand_like", "randn_like", "bernoulli", "normal"), "it is random"),
}  # fmt: skip
_DECOMPOSED = ("sigmoid_backward", "tanh_backward", "threshold_backward", "hardtanh_backward", "softplus_backward")


class Graph:
    """Operations without repetition: `nodes[k]` is (operation, *arguments), arguments are places of other nodes.

    Two operations have no arguments: ("in", name) and ("const", value).
    """

    def __init__(self):
        self.nodes: list[tuple] = []
        self._places: dict[tuple, int] = {}

    def add(self, *node) -> int:
        """Return the place of an operation, which is added if it is new."""
        if node[0] in ("mul", "div") and self.nodes[node[2]] == ("const", 1.0):
            return node[1]
        if node not in self._places:
            self._places[node] = len(self.nodes)
            self.nodes.append(node)
        return self._places[node]

    def inputs_of(self, place: int, found: dict[int, frozenset[str]]) -> frozenset[str]:
        """Return the names of the inputs that a node depends on; `found` remembers those of others."""
        if place not in found:
            op, *args = self.nodes[place]
            names = {args[0]} if op == "in" else set()
            for arg in () if op in ("in", "const") else args:
                names |= self.inputs_of(arg, found)
            found[place] = frozenset(names)
        return found[place]

    def evaluate(self, place: int, values: dict[str, Tensor], done: dict[int, Tensor]) -> Tensor:
        """Compute a node in torch from its inputs."""
        if place not in done:
            op, *args = self.nodes[place]
            if op == "in":
                done[place] = values[args[0]]
            elif op == "const":
                done[place] = torch.tensor(args[0], dtype=torch.float32)
            else:
                given = [self.evaluate(arg, values, done) for arg in args]
                done[place] = given[0].float() if op == "float" else getattr(torch, op)(*given)
        return done[place]


@dataclass(frozen=True)
class Step:
    """One step of neurons, forward and back.

    Attributes
    ----------
    graph : Graph
        Its inputs are "x", the current; "y", that of a recurrence, where there is one; "s0_in", the spikes before, and
        "s1_in", ..., the states before; "p0", ..., the numbers; "g0", "g1", ..., the gradients of spikes and states.
    after : list of int
        The nodes of spikes and states after the step.
    grads : dict of str to int
        The nodes of the gradients of x, of spikes and states before, and of the numbers that learn, where there is one.
    """

    graph: Graph
    after: list[int]
    grads: dict[str, int]


def trace_step(neuron: Neuron, learn: Collection[str]) -> Step:
    """Trace one step of neurons and its gradient.

    Parameters
    ----------
    neuron : Neuron
        What is traced; the values of its numbers play no part.
    learn : collection of str
        The numbers that get a gradient.

    Raises
    ------
    CannotGenerateError
        If it cannot become a kernel.
    """
    states = [f"s{k}_in" for k in range(1 + len(neuron.states))]
    numbers = [f"p{k}" for k in range(len(neuron.numbers))]
    driven = neuron.recurrence is not None
    names = ["x", *states, *numbers, *["y"] * driven]
    fixed = {f"p{k}" for k, name in enumerate(neuron.numbers) if name not in learn}

    def forward(*args):
        with torch.enable_grad():
            leaves = [a.detach().requires_grad_(name not in fixed) for name, a in zip(names, args)]
            cur, spk, *rest = leaves
            state, values = rest[: len(neuron.states)], rest[len(neuron.states) :]
            given = [*neuron.numbers, *["drive"] * driven]
            spk, after = neuron.step(cur, spk, state, dict(zip(given, values)))
            pairs = [(out, grad) for out, grad in zip((spk, *after), args[len(names) :]) if out.requires_grad]
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            found = [None] * len(wanted)
            if pairs:
                outs, grads = zip(*pairs)
                found = torch.autograd.grad(outs, wanted, grads, allow_unused=True)
        return [spk, *after, *found]

    generator = torch.Generator().manual_seed(0)
    options = {"generator": generator, "dtype": torch.float32, "device": "cpu"}
    examples = [torch.rand(SHAPE, **options) * 0.5 + 0.25 for _ in range(len(names) + len(states))]
    table = torch._decomp.get_decompositions([getattr(torch.ops.aten, name) for name in _DECOMPOSED])
    try:
        module = make_fx(forward, decomposition_table=table)(*examples)
    except Exception as err:
        text = str(err).splitlines()[0] if str(err) else ""
        if any(
            word in str(err)
            for word in ("_local_scalar_dense", "data-dependent", "data dependent", "converted to Python")
        ):
            text = "it asks for a tensor's value (`if`, `.item()`); torch.where can stand for it"
        raise CannotGenerateError(f"its step cannot be traced: {text}") from err
    graph, found = _Translator(module, [*names, *(f"g{k}" for k in range(len(states)))]).run()
    count = len(states)
    wanted = [name for name in names if name not in fixed]
    if any(place is None for place in found[:count]):
        raise CannotGenerateError("its step returns something that is no tensor")
    _check_exact(graph, found[:count])
    grads = {name: place for name, place in zip(wanted, found[count:]) if place is not None}
    return Step(graph, found[:count], grads)


def is_fixed(names: frozenset[str]) -> bool:
    """Whether what depends on these inputs is the same in every step."""
    return all(name.startswith("p") for name in names)


def _check_exact(graph: Graph, outs: list[int]) -> None:
    """Refuse what a kernel cannot round as torch does, where it is not computed by torch before the loop."""
    found: dict[int, frozenset[str]] = {}
    stack, seen = list(outs), set()
    while stack:
        place = stack.pop()
        op, *args = graph.nodes[place]
        if place in seen or op in ("in", "const") or is_fixed(graph.inputs_of(place, found)):
            continue
        seen.add(place)
        if op in INEXACT:
            raise CannotGenerateError(f"a kernel does not round `{op}` as torch does, and it changes from step to step")
        stack += args


class _Translator:
    """Turns a trace of torch.fx into a `Graph`."""

    def __init__(self, module: torch.fx.GraphModule, names: list[str]):
        self.module, self.names = module, iter(names)
        self.graph, self.places = Graph(), {}

    def run(self) -> tuple[Graph, list[int | None]]:
        """Return the graph and the places of the results."""
        for node in self.module.graph.nodes:
            if node.op == "output":
                return self.graph, [None if result is None else self.places[result] for result in node.args[0]]
            if node.op == "placeholder":
                self.places[node] = self.graph.add("in", next(self.names))
            elif node.op == "get_attr":
                value = getattr(self.module, node.target)
                if value.numel() != 1:
                    raise CannotGenerateError("it uses a tensor that is none of its numbers")
                self.places[node] = self._const(value.item())
            else:
                self.places[node] = self._translate(node)
        raise AssertionError

    def _const(self, value: float) -> int:
        return self.graph.add("const", float(value))

    def _get(self, arg) -> int:
        return self.places[arg] if isinstance(arg, Node) else self._const(arg)

    def _number(self, arg) -> int:
        """Return an argument as a number: what is true counts as 1."""
        is_flag = isinstance(arg, Node) and isinstance(arg.meta["val"], Tensor) and arg.meta["val"].dtype == torch.bool
        return self.graph.add("float", self._get(arg)) if is_flag else self._get(arg)

    def _translate(self, node: Node) -> int:
        args, kwargs, val, add = node.args, node.kwargs, node.meta.get("val"), self.graph.add
        name = getattr(node.target, "_opname", str(node.target))
        name = name[:-1] if name.endswith("_") and not name.endswith("__") else name  # in place, on a value of its own
        name = _NAMES.get(name, name)
        if not isinstance(val, Tensor) or tuple(val.shape) not in (SHAPE, ()):
            raise CannotGenerateError(f"`{name}`: {_HINTS.get(name, 'its result has another shape than the neurons')}")
        if val.dtype not in (torch.float32, torch.bool):
            raise CannotGenerateError(f"`{name}`: its result is {val.dtype}, and a kernel computes in float32")
        if name in _SAME:
            return self._get(args[0])
        if name == "_to_copy":
            was_flag = args[0].meta["val"].dtype == torch.bool
            if val.dtype == torch.bool:
                return self._get(args[0]) if was_flag else add("ne", self._get(args[0]), self._const(0))
            return self._number(args[0])
        if name in _FILLS:
            return self._const(_FILLS[name])
        if name in ("full", "full_like", "scalar_tensor", "new_full"):
            return self._const(args[0] if name == "scalar_tensor" else args[2] if name == "new_full" else args[1])
        if name in ("add", "sub", "mul", "div", "rsub"):
            if kwargs.get("alpha", 1) != 1 or len(args) > 2 or kwargs.get("rounding_mode"):
                raise CannotGenerateError(f"`{name}` with `alpha` or a rounding mode, which torch computes in one go")
            first, second = self._number(args[0]), self._number(args[1])
            return add("sub", second, first) if name == "rsub" else add(name, first, second)
        if name in ("clamp", "clamp_min", "clamp_max"):
            return self._clamp(name, args, kwargs)
        if name == "masked_fill":
            return add("where", self._get(args[1]), self._get(args[2]), self._get(args[0]))
        if name == "pow" and args[1] in (1, 2, 3):
            base = self._get(args[0])
            return base if args[1] == 1 else add("mul", add("mul", base, base) if args[1] == 3 else base, base)
        if name in EXPRESSIONS and not kwargs:
            return add(name, *(self._get(arg) for arg in args))
        raise CannotGenerateError(f"`{name}`: {_HINTS.get(name, 'no kernel has this operation')}")

    def _clamp(self, name: str, args: tuple, kwargs: dict) -> int:
        low = kwargs.get("min", args[1] if name != "clamp_max" and len(args) > 1 else None)
        high = kwargs.get("max", args[-1] if name == "clamp_max" else args[2] if len(args) > 2 else None)
        place = self._get(args[0])
        place = place if low is None else self.graph.add("maximum", place, self._get(low))
        return place if high is None else self.graph.add("minimum", place, self._get(high))
