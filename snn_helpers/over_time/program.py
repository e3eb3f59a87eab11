"""What a network does in one step, found in a trace: of a call that is one step, or of one that loops over all of them.

A loop over time leaves a trace in which the same operations come again and again. They are found by their period, held
against each other, and rolled up into one step: `Now` stands for a value of the same step, `Before` for one of the step
before, `Fixed` for what was there before the loop began.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_leaves

from snn_helpers.over_time.fingerprint import Modules
from snn_helpers.over_time.layers import is_spiking
from snn_helpers.over_time.trace import CannotTrace, Traced


@dataclass(frozen=True)
class Now:
    """The result of operation `index` in the same step."""

    index: int


@dataclass(frozen=True)
class Before:
    """The result of operation `index` in the step before; `first` in the first step."""

    index: int
    first: Any


@dataclass(frozen=True)
class Fixed:
    """A value that is the same in all steps: a parameter, an input, or what was computed before the loop."""

    node: fx.Node


@dataclass(frozen=True)
class _Earlier:
    """The result of operation `index` so many steps before; negative where it is later."""

    steps: int
    index: int


@dataclass(eq=False)
class Op:
    """One operation of a step.

    Attributes
    ----------
    kind : str
        "call_module", "call_function", "call_method" as in torch.fx, or "series": an element of `args[0]` (a `Fixed`,
        or None for the network's input over time) for each step, at the indices `args[1]`.
    target : str or callable
        Path of the module, function, or name of the method.
    args, kwargs
        With `Now`, `Before` and `Fixed` for values.
    val : meta tensor or nest of them
        Result in one step.
    line : str
        Where in the network's code it stands.
    """

    kind: str
    target: Any
    args: tuple
    kwargs: dict
    val: Any
    line: str = ""

    @functools.cached_property
    def references(self) -> list[Now | Before | Fixed]:
        """All values that it takes."""
        found: list = []

        def note(item):
            if isinstance(item, Now | Before | Fixed):
                found.append(item)
                if isinstance(item, Before) and isinstance(item.first, Fixed):
                    found.append(item.first)
            return item

        map_aggregate((self.args, self.kwargs), note)
        return found


@dataclass
class Stage:
    """A loop over time and what comes before it.

    Attributes
    ----------
    steps : list of Op
        One step.
    num_steps : int or None
        Steps of the loop; None where a call is one step, and the input says how many there are.
    before : list of fx.Node
        Operations before the loop, after the loop before it.
    place : dict of fx.Node to (int, int)
        Step and operation of each node inside the loop.
    output : nest of Now
        What is used after the loop.
    """

    steps: list[Op]
    num_steps: int | None = None
    before: list[fx.Node] = field(default_factory=list)
    place: dict[fx.Node, tuple[int, int]] = field(default_factory=dict)
    output: Any = None


@dataclass
class Program:
    """A network over time: its loops, mostly one, and what is made of all their steps.

    Attributes
    ----------
    stages : list of Stage
        Loops, one after the other.
    output : nest of fx.Node, or of Now where a call is one step
        What the call returns.
    constants : dict of str to Tensor
        Tensors that the call made itself.
    inputs : list of fx.Node
        Placeholders of the call.
    after : list of fx.Node
        Operations after the last loop.
    """

    stages: list[Stage]
    output: Any
    constants: dict[str, Tensor]
    inputs: list[fx.Node]
    after: list[fx.Node] = field(default_factory=list)

    @property
    def one_step(self) -> bool:
        """Whether a call is one step."""
        return self.stages[0].num_steps is None

    @property
    def steps(self) -> list[Op]:
        """The operations of one step, of all loops."""
        return [op for stage in self.stages for op in stage.steps]


def one_step(traced: Traced) -> Program:
    """Return the program of a call that is one step: its first argument comes over time."""
    index: dict[fx.Node, int] = {}
    steps: list[Op] = []
    output = None

    def refer(node: fx.Node):
        return Now(index[node]) if node in index else Fixed(node)

    for node in traced.graph.nodes:
        if node.op == "output":
            output = map_aggregate(node.args[0], lambda a: refer(a) if isinstance(a, fx.Node) else a)
            continue
        if node.op == "get_attr" or (node.op == "placeholder" and index):
            continue
        index[node] = len(steps)
        if node.op == "placeholder":
            steps.append(Op("series", node.target, (None, None), {}, node.meta["val"]))
        else:
            args, kwargs = (
                map_aggregate(a, lambda a: refer(a) if isinstance(a, fx.Node) else a) for a in (node.args, node.kwargs)
            )
            steps.append(Op(node.op, node.target, args, dict(kwargs), node.meta["val"], node.meta["line"]))
    inputs = [n for n in traced.graph.nodes if n.op == "placeholder"]
    return Program([Stage(steps, output=output)], output, traced.constants, inputs)


def roll(traced: Traced, is_neuron: Callable[[str], bool]) -> Program:
    """Return the program of a call that loops over time itself, once or several times, one loop after the other.

    Raises
    ------
    CannotTrace
        If the steps of a loop are not alike.
    """
    nodes = [n for n in traced.graph.nodes if n.op.startswith("call_")]
    at = {node: place for place, node in enumerate(nodes)}
    calls: dict[str, list[int]] = {}
    for node in nodes:
        if node.op == "call_module" and is_neuron(node.target):
            calls.setdefault(node.target, []).append(at[node])
    stages: list[Stage] = []
    end = 0
    for places in _apart(list(calls.values())):
        stage, end = _roll_one(nodes, at, places, end)
        stages.append(stage)
    output = next(n for n in traced.graph.nodes if n.op == "output").args[0]
    inputs = [n for n in traced.graph.nodes if n.op == "placeholder"]
    return Program(stages, output, traced.constants, inputs, nodes[end:])


def as_one_step(program: Program, net: nn.Module) -> Program:
    """Return one step of a program: of a loop over the frames, in which neurons hand on their states and nothing else.

    Neurons keep their states themselves in what is returned, which returns what the loop stacks.

    Raises
    ------
    CannotTrace
        If the loop is more than that.
    """
    if program.one_step:
        return program
    if len(program.stages) > 1:
        raise CannotTrace("it loops over time more than once")
    stage, steps = program.stages[0], []

    def at_one_step(result: fx.Node) -> Now:
        parts = result.args[0] if is_stack(result) and result.args[1:] in ((), (0,)) else []
        dim = result.kwargs.get("dim", 0)
        places = [stage.place.get(part, (None, None)) for part in parts]
        if dim or len({index for _, index in places}) != 1 or [step for step, _ in places] != [*range(stage.num_steps)]:
            raise CannotTrace("it returns something else than stacks of each step's results")
        return Now(places[0][1])

    output = map_aggregate(program.output, lambda item: at_one_step(item) if isinstance(item, fx.Node) else item)
    for index, op in enumerate(stage.steps):
        if op.kind == "series":
            if op.args != (Fixed(program.inputs[0]), [*range(stage.num_steps)]):
                raise CannotTrace("it takes something else than each frame in turn")
            op = replace(op, args=(None, None))
        elif is_neuron_op(op, net) and _hands_on_its_state(stage.steps, index, program.constants):
            op = replace(op, args=op.args[:1], kwargs={})
        if any(isinstance(ref, Before) for ref in op.references):
            name = op.target if isinstance(op.target, str) else op.target.__name__
            raise CannotTrace(f"`{name}`{op.line} takes what the step before made")
        steps.append(op)
    return Program([Stage(steps, output=output)], output, program.constants, program.inputs)


def _hands_on_its_state(steps: list[Op], index: int, constants: dict[str, Tensor]) -> bool:
    """Whether neurons get back the last of their results, in their order, and zeros in the first step."""
    states, places = (*steps[index].args[1:], *steps[index].kwargs.values()), []
    for state in states:
        source = steps[state.index] if isinstance(state, Before) else None
        if source is None or source.target is not operator.getitem or source.args[0] != Now(index):
            return False
        if not _is_zero(state.first, constants):
            return False
        places.append(source.args[1])
    width = len(steps[index].val) if isinstance(steps[index].val, tuple) else 1
    return places == [*range(width - len(places), width)]


def _is_zero(first: Any, constants: dict[str, Tensor]) -> bool:
    if not isinstance(first, Fixed):
        return first is None
    if first.node.op == "get_attr":
        return first.node.target in constants and not constants[first.node.target].any()
    return getattr(first.node.target, "__name__", first.node.target) in ("zeros", "zeros_like", "new_zeros")


def _apart(calls: list[list[int]]) -> list[list[list[int]]]:
    """Sort layers of neurons, each the places of its calls, into loops: those whose calls interlace are of one loop."""
    loops: list[list[list[int]]] = []
    for places in sorted(calls):
        if loops and places[0] < max(other[-1] for other in loops[-1]):
            loops[-1].append(places)
        else:
            loops.append([places])
    return loops


def _roll_one(nodes: list[fx.Node], at: dict, calls: list[list[int]], begin: int) -> tuple[Stage, int]:
    """Return the loop in which these calls of neurons are, and where it ends; it starts at `begin` or later."""
    first = calls[0]
    num_steps = len(first)
    if num_steps < 2:
        raise CannotTrace("there is one step only" if nodes else "no neurons are called")
    length = first[1] - first[0]
    if any(len(places) != num_steps for places in calls) or any(b - a != length for a, b in itertools.pairwise(first)):
        raise CannotTrace("its steps differ from each other")
    for ahead in range(min(length - 1, first[0] - begin), -1, -1):
        start = first[0] - ahead
        if start + num_steps * length > len(nodes):
            continue
        steps = _alike(nodes, at, start, length, num_steps)
        if steps is not None:
            end = start + num_steps * length
            place = {nodes[k]: divmod(k - start, length) for k in range(start, end)}
            outside = {index for node, (_, index) in place.items() if any(user not in place for user in node.users)}
            return Stage(steps, num_steps, nodes[begin:start], place, [Now(index) for index in sorted(outside)]), end
    raise CannotTrace("its steps differ from each other")


def _alike(nodes: list, at: dict, start: int, length: int, num_steps: int) -> list[Op] | None:
    """Return the operations of one step if the blocks of `length` nodes from `start` on are alike, else None."""

    def refer(arg, step: int):
        """Say what an argument is, as seen from a block."""
        if not isinstance(arg, fx.Node):
            return arg
        place = at.get(arg, -1)
        if place < start:
            return Fixed(arg)
        block, index = divmod(place - start, length)
        return Now(index) if block == step else _Earlier(step - block, index)

    steps = []
    for index in range(length):
        block = [nodes[start + step * length + index] for step in range(num_steps)]
        seen = [
            (n.op, n.target, *(map_aggregate(a, lambda a, s=s: refer(a, s)) for a in (n.args, n.kwargs)))
            for s, n in enumerate(block)
        ]
        op, target, args, kwargs = seen[1]
        if any((o, t) != (op, target) for o, t, *_ in seen):
            return None
        made = _series(block[0], seen)
        if made is None:
            if any(entry[2:] != (args, kwargs) for entry in seen[2:]) or not _same_shapes(block):
                return None
            try:
                args, kwargs = _with_first((seen[0][2], seen[0][3]), (args, kwargs))
            except CannotTrace:
                return None
            made = Op(op, target, args, dict(kwargs), block[0].meta["val"], block[0].meta["line"])
        steps.append(made)
    return steps


def _series(node: fx.Node, seen: list[tuple]) -> Op | None:
    """Return the operation that takes another element of one tensor in every step, or None if this is none."""
    if node.target is not operator.getitem or not isinstance(seen[0][2][0], Fixed):
        return None
    source, indices = seen[0][2][0], [entry[2][1] for entry in seen]
    if any(entry[2][0] != source for entry in seen) or all(index == indices[0] for index in indices):
        return None
    return Op("series", "element", (source, indices), {}, node.meta["val"], node.meta["line"])


def _same_shapes(block: list[fx.Node]) -> bool:
    """Whether an operation gives the same shapes in every step, so that its results can be stacked."""
    first, *others = (
        [(value.shape, value.dtype) for value in tree_leaves(node.meta["val"]) if isinstance(value, Tensor)]
        for node in block
    )
    return all(other == first for other in others)


def _with_first(first, later):
    """Put what the first step has in its place into each reference of the later ones to the step before."""
    if isinstance(later, _Earlier):
        if later.steps != 1 or isinstance(first, Now | _Earlier):
            raise CannotTrace("its steps differ from each other")
        return Before(later.index, first)
    if type(first) is not type(later):
        raise CannotTrace("its steps differ from each other")
    if isinstance(later, tuple | list):
        if len(first) != len(later):
            raise CannotTrace("its steps differ from each other")
        return type(later)(_with_first(a, b) for a, b in zip(first, later))
    if isinstance(later, dict):
        return {name: _with_first(first[name], value) for name, value in later.items()}
    if isinstance(later, slice):
        return later
    if first != later:
        raise CannotTrace("its steps differ from each other")
    return later


def is_neuron_op(op: Op, net: Modules) -> bool:
    """Whether an operation of a step is a layer of neurons."""
    return op.kind == "call_module" and is_spiking(net.get_submodule(op.target))


def is_stack(node: fx.Node) -> bool:
    """Whether a node stacks a list."""
    return node.op == "call_function" and node.target is torch.stack
