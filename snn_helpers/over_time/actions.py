"""What a plan is made of: each action computes some operations of a step, for all steps, and can say how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_flatten, tree_unflatten

from snn_helpers.engine import Spikes
from snn_helpers.engine.cpu.memory import empty
from snn_helpers.over_time import layers
from snn_helpers.over_time.fingerprint import Modules
from snn_helpers.over_time.fold import call, call_folded, fits_rows, is_dropout
from snn_helpers.over_time.listen import input_listeners
from snn_helpers.over_time.program import Before, Fixed, Now, Op, is_neuron_op

# Bytes of results that a piece of steps may make: pieces stay in the second-level cache, as single steps of a loop do.
PIECE = 2**20


@dataclass
class Same:
    """A value [B, ...] that is the same in every step."""

    value: Any


@dataclass
class Context:
    """The values of one run.

    Attributes
    ----------
    net : Modules
        The network's modules.
    steps : list of Op
        One step of it.
    num_steps : int
        Steps, T.
    fixed : dict
        Values from before the loop, by fx node.
    frames : Tensor [T, B, ...] or Spikes, or None
        The input over time, where a call is one step.
    engine : module or None
        Event-driven layers: `engine.cpu` or `engine.cuda`; None for torch alone.
    neurons : callable
        Runs (module, currents) over time.
    values : list
        The result of each operation: [T, B, ...], `Spikes`, a tuple of them, or `Same`.
    masks : dict of int to Tensor [T, ...]
        Dropout masks, by operation, drawn in the order of the loop.
    goes_on : bool
        Whether modules start from the state that they have, and keep the last; else from zero.
    """

    net: Modules
    steps: list[Op]
    num_steps: int
    fixed: dict
    frames: Any
    engine: Any
    runner: Any
    values: list = field(default_factory=list)
    masks: dict[int, Tensor] = field(default_factory=dict)
    goes_on: bool = False
    _apart: dict[int, list] = field(default_factory=dict)

    def draw_masks(self, device: torch.device) -> None:
        """Draw all dropout masks in the order in which the loop over steps draws them."""
        dropouts = [(index, op) for index, op in enumerate(self.steps) if is_dropout(op, self.net)]
        drawn: dict[int, list[Tensor]] = {index: [] for index, _ in dropouts}
        for _ in range(self.num_steps if dropouts else 0):
            for index, op in dropouts:
                ones = torch.ones(op.val.shape, dtype=op.val.dtype, device=device)
                drawn[index].append(call(op, (ones, *op.args[1:]), op.kwargs, self.net))
        self.masks = {index: torch.stack(masks) for index, masks in drawn.items()}

    def over(self, ref: Now) -> Any:
        """Return a result over time, [T, B, ...], as float tensors where it is spikes in bytes."""
        value = self.values[ref.index]
        if isinstance(value, Same):
            return map_aggregate(
                value.value, lambda v: v.expand(self.num_steps, *v.shape) if isinstance(v, Tensor) else v
            )
        return map_aggregate(value, dense)

    def at_step(self, ref: Now | Before, step: int) -> Any:
        """Return one step of a result; all are taken apart at once, so that the way back joins them at once, too."""
        if ref.index not in self._apart:
            self._apart[ref.index] = in_steps(self.values[ref.index], self.num_steps)
        return self._apart[ref.index][step]

    def resolve(self, item: Any, take) -> Any:
        """Replace references in arguments: `take` for `Now` and `Before`, the value itself for `Fixed`."""

        def one(ref):
            if isinstance(ref, Fixed):
                return self.fixed[ref.node]
            return take(ref) if isinstance(ref, Now | Before) else ref

        return map_aggregate(item, one)


def dense(value: Any) -> Any:
    """Return spikes in bytes as a float tensor, and anything else as it is."""
    return value.float() if isinstance(value, Spikes) else value


def at_step(value: Any, step: int) -> Any:
    """Return one step of a value over time, or of a nest of them: no view of many, whoever gets it may change it."""
    if isinstance(value, Same):
        return value.value
    return map_aggregate(value, lambda v: dense(v)[step] if isinstance(v, Tensor | Spikes) else v)


def in_steps(value: Any, num_steps: int) -> list:
    """Return the steps of a value over time, or of a nest of them."""
    if isinstance(value, Same):
        return [value.value] * num_steps
    leaves, nest = tree_flatten(value)
    apart = [dense(v).unbind() if isinstance(v, Tensor | Spikes) else [v] * num_steps for v in leaves]
    return [tree_unflatten(step, nest) for step in zip(*apart)]


@dataclass
class Action:
    """Computes the operations `indices`."""

    indices: list[int]

    how = ""

    def run(self, ctx: Context) -> None:
        """Fill `ctx.values` at the places of this action."""
        raise NotImplementedError


class Series(Action):
    """The network's input, or elements of a tensor, one a step."""

    how = "input"

    def run(self, ctx: Context) -> None:
        """Lay the elements along the first axis."""
        (index,) = self.indices
        source, places = ctx.steps[index].args
        if source is None:
            ctx.values[index] = ctx.frames
            return
        value = ctx.fixed[source.node]
        if all(isinstance(place, int) for place in places) and isinstance(value, Tensor):
            whole = places == list(range(len(value)))
            ctx.values[index] = value if whole else value[places]
        else:
            ctx.values[index] = torch.stack([value[place] for place in places])


class Once(Action):
    """Operations whose arguments are the same in every step, and which are therefore computed once."""

    how = "once: the same in every step"

    def run(self, ctx: Context) -> None:
        """Compute one step."""
        for index in self.indices:
            op = ctx.steps[index]
            args, kwargs = ctx.resolve((op.args, op.kwargs), lambda ref: ctx.values[ref.index].value)
            heard = input_listeners(ctx.net.get_submodule(op.target)) if op.kind == "call_module" else []
            for listener in heard:
                listener.times = ctx.num_steps
            try:
                ctx.values[index] = Same(call(op, args, kwargs, ctx.net))
            finally:
                for listener in heard:
                    listener.times = 1


class Fold(Action):
    """A chain of operations, many steps at once, laid into the batch in pieces that stay in the cache."""

    how = "torch, many steps at once"

    @staticmethod
    def length(ops: list[Op]) -> int:
        """Return how many steps a piece of a chain has."""
        size = sum(op.val.numel() * op.val.element_size() for op in ops)
        return max(1, PIECE // max(1, size))

    def run(self, ctx: Context) -> None:
        """Compute the chain piece by piece; only the results of its end are kept."""
        ops = [ctx.steps[index] for index in self.indices]
        length = self.length(ops)
        places = range(-(-ctx.num_steps // length))
        given = {ref.index for op in ops for ref in op.references if isinstance(ref, Now)} - set(self.indices)
        given = {index: in_pieces(ctx.values[index], length, len(places)) for index in given}
        pieces = [
            self._piece(ctx, ops, min(length, ctx.num_steps - length * k), {i: v[k] for i, v in given.items()})
            for k in places
        ]
        joined = pieces[0] if len(pieces) == 1 else join(pieces)
        ctx.values[self.indices[-1]] = joined.unflatten(0, (ctx.num_steps, -1))

    def _piece(self, ctx: Context, ops: list[Op], num_steps: int, local: dict[int, Tensor | Same]) -> Tensor:
        for index, op in zip(self.indices, ops):

            def rows(ref, op=op):
                if isinstance(ref, Fixed):
                    return repeated(ctx.fixed[ref.node], op, num_steps)
                if not isinstance(ref, Now):
                    return ref
                value = local[ref.index]
                return repeated(value.value, op, num_steps) if isinstance(value, Same) else value

            args, kwargs = map_aggregate((op.args, op.kwargs), rows)
            local[index] = call_folded(op, args, kwargs, ctx.net)
        return local[self.indices[-1]]


def repeated(value: Any, op: Op, times: int) -> Any:
    """Repeat a value of one step so that it meets `times` steps laid into the batch."""
    if isinstance(value, Tensor) and fits_rows(value, op):
        return value.expand(times, *value.shape).flatten(0, 1)
    return value


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *pieces):
        ctx.lengths = [len(piece) for piece in pieces]
        return _joined(pieces)

    @staticmethod
    def backward(ctx, grad):
        return grad.split(ctx.lengths)


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx, whole, length):
        return whole.split(length)

    @staticmethod
    def backward(ctx, *grads):
        return _joined(grads), None


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    first, last = pieces[0], torch.channels_last
    if any(piece.dtype != torch.float32 or piece.device.type != "cpu" for piece in pieces):
        return torch.cat(pieces)
    shape = sum(map(len, pieces)), *first.shape[1:]
    if first.dim() == 4 and not first.is_contiguous() and first.is_contiguous(memory_format=last):
        return torch.cat(pieces, out=empty(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2))
    return torch.cat(pieces, out=empty(*shape))


def join(pieces: Sequence[Tensor]) -> Tensor:
    """Return pieces as one, on a CPU in memory that an earlier one used: fresh memory costs as much as the copy."""
    return _Join.apply(*pieces)


def split(whole: Tensor, length: int) -> Sequence[Tensor]:
    """Return pieces of so many rows, whose gradients are joined as by `join`."""
    return _Split.apply(whole, length)


def in_pieces(value: Tensor | Spikes | Same, length: int, count: int) -> list[Tensor | Same]:
    """Return pieces of `length` steps of a value over time, laid into the batch; spikes in bytes as floats."""
    if isinstance(value, Same):
        return [value] * count
    if count == 1:
        return [dense(value).flatten(0, 1)]
    if isinstance(value, Spikes):
        paths = [None] * count if value.path is None else value.path.split(length)
        return [Spikes(*pair).float().flatten(0, 1) for pair in zip(value.count.split(length), paths)]
    return [piece.flatten(0, 1) for piece in split(value, length)]


class Chain(Fold):
    """A chain of operations too large for pieces of many steps, among them one that is to be called once a step."""

    how = "torch, step by step"

    @staticmethod
    def length(ops: list[Op]) -> int:
        """Return one: a step of this chain stays together."""
        return 1


class EachStep(Action):
    """An operation that runs step after step."""

    how = "torch, step by step: it may depend on more than one recording, or on its own last call"

    def run(self, ctx: Context) -> None:
        """Call it once a step, in order."""
        (index,) = self.indices
        op, results = ctx.steps[index], []
        for step in range(ctx.num_steps):
            args, kwargs = ctx.resolve((op.args, op.kwargs), lambda ref, step=step: ctx.at_step(ref, step))
            results.append(call(op, args, kwargs, ctx.net))
        ctx.values[index] = layers.stack(results)


class Element(Action):
    """An element of a tuple that an operation returned."""

    how = "element of a result"

    def run(self, ctx: Context) -> None:
        """Take it, for all steps."""
        (index,) = self.indices
        source, place = ctx.steps[index].args
        value = ctx.values[source.index]
        ctx.values[index] = Same(value.value[place]) if isinstance(value, Same) else value[place]


class Dropout(Action):
    """Dropout, its masks those that the loop would draw."""

    how = "torch, masks drawn in the order of the loop"

    def run(self, ctx: Context) -> None:
        """Multiply by the masks."""
        (index,) = self.indices
        source = ctx.steps[index].args[0]
        value = ctx.over(source) if isinstance(source, Now) else ctx.fixed[source.node]
        ctx.values[index] = value * ctx.masks[index]


class Add(Action):
    """A sum of two values: of spikes in bytes it is one in bytes."""

    how = "sum, all steps at once"

    def run(self, ctx: Context) -> None:
        """Add them."""
        (index,) = self.indices
        first, second = (ctx.values[ref.index] for ref in ctx.steps[index].args)
        if isinstance(first, Spikes) and isinstance(second, Spikes):
            ctx.values[index] = first + second
        else:
            Fold([index]).run(ctx)


class Delayed(Action):
    """Spikes as they were some steps before."""

    how = "delays: all steps shifted at once"

    def run(self, ctx: Context) -> None:
        """Shift them."""
        (index,) = self.indices
        op = ctx.steps[index]
        value = ctx.values[op.args[0].index] if isinstance(op.args[0], Now) else Same(ctx.fixed[op.args[0].node])
        if isinstance(value, Same):
            value = value.value.expand(ctx.num_steps, *value.value.shape)
        delay = ctx.net.get_submodule(op.target)
        ctx.values[index] = delay.go_on(dense(value)) if ctx.goes_on else delay.over_time(value)


class PooledNorm(Action):
    """`NormOverTime` in training, or without running statistics: those over all steps and recordings."""

    how = "torch, statistics over time and batch"

    def run(self, ctx: Context) -> None:
        """Normalise all steps at once."""
        (index,) = self.indices
        op = ctx.steps[index]
        ctx.values[index] = ctx.net.get_submodule(op.target).over_time(ctx.over(op.args[0]))


@dataclass
class Neurons(Action):
    """A layer of neurons over all steps.

    Attributes
    ----------
    states : list
        What the network hands to the neurons beside the current in the first step; empty where they keep their state.
    places : list of int
        Which of their results is handed on in the place of each state.
    equation : bool
        Whether what is used of their results follows from the equation alone.
    spikes_alone : bool
        Whether nothing but their spikes is used: after currents as event-driven layers have them, these are bytes.
    """

    states: list[Any]
    places: list[int]
    equation: bool
    spikes_alone: bool

    def run(self, ctx: Context) -> None:
        """Run them, and tell those who listen."""
        (index,) = self.indices
        ref = ctx.steps[index].args[0]
        cur = (
            ctx.over(ref)
            if isinstance(ref, Now)
            else ctx.fixed[ref.node].expand(ctx.num_steps, *ctx.fixed[ref.node].shape)
        )
        states = ctx.resolve(self.states, lambda ref: ref)
        module = ctx.net.get_submodule(ctx.steps[index].target)
        if ctx.goes_on:
            ctx.values[index] = ctx.runner.go_on(module, cur, self.equation)
        elif self.spikes_alone and not states and (spikes := ctx.runner.fire(ctx.engine, module, cur)) is not None:
            ctx.values[index] = spikes
        else:
            ctx.values[index] = ctx.runner.neurons(module, cur, states, self.places, self.equation)


class StepByStep(Action):
    """Operations that depend on each other from step to step: a recurrence that is written out in the network."""

    how = "step by step: a recurrence"

    def run(self, ctx: Context) -> None:
        """Loop over the steps of these operations alone."""
        inside = set(self.indices)
        modules = [
            ctx.net.get_submodule(ctx.steps[i].target) for i in self.indices if ctx.steps[i].kind == "call_module"
        ]
        results: list[dict[int, Any]] = []
        with layers.from_zero([] if ctx.goes_on else filter(layers.keeps_state, modules)):
            for step in range(ctx.num_steps):
                now: dict[int, Any] = {}

                def take(ref, step=step, now=now):
                    if isinstance(ref, Before):
                        if step == 0:
                            return ctx.resolve(ref.first, lambda r: r)
                        return results[-1][ref.index] if ref.index in inside else ctx.at_step(ref, step - 1)
                    return now[ref.index] if ref.index in inside else ctx.at_step(ref, step)

                for index in self.indices:
                    op = ctx.steps[index]
                    args, kwargs = ctx.resolve((op.args, op.kwargs), take)
                    if index in ctx.masks:
                        now[index] = args[0] * ctx.masks[index][step]
                    elif is_neuron_op(op, ctx.net):
                        now[index] = layers.call_once(ctx.net.get_submodule(op.target), args, kwargs)
                    else:
                        now[index] = call(op, args, kwargs, ctx.net)
                results.append(now)
        for index in self.indices:
            ctx.values[index] = layers.stack([now[index] for now in results])
