"""Decide how each operation of a step is computed over all time: the one place where this is decided."""

from __future__ import annotations

import operator
from typing import Any

from torch import Tensor, nn

from snn_helpers.neurons import Delay
from snn_helpers.over_time import actions, event_actions
from snn_helpers.over_time.actions import Action
from snn_helpers.over_time.fold import folds, is_dropout, kind_of, name_of
from snn_helpers.over_time.layers import keeps_state
from snn_helpers.over_time.norm import NormOverTime
from snn_helpers.over_time.program import Before, Fixed, Now, Op, Stage, is_neuron_op


def plan(stage: Stage, net: nn.Module, repeats: bool = False) -> list[Action]:
    """Return the actions that compute a loop's steps over all time, in an order in which they can run.

    Where a call is one step, `repeats` says whether its input is the same in all of them.
    """
    return _Planner(stage.steps, net, repeats).plan(stage.output)


class _Planner:
    def __init__(self, steps: list[Op], net: nn.Module, repeats: bool):
        self.steps, self.net, self.repeats = steps, net, repeats
        self.users: list[list[int]] = [[] for _ in steps]
        for index, op in enumerate(steps):
            for ref in op.references:
                if isinstance(ref, Now | Before):
                    self.users[ref.index].append(index)

    def plan(self, output: Any) -> list[Action]:
        kept = Op("output", None, (output,), {}, None).references
        self.kept = {ref.index for ref in kept if isinstance(ref, Now)}
        self.own_state = {k for k, op in enumerate(self.steps) if self._is_neuron(op) and self._keeps_own_state(k)}
        groups = self._recurrences()
        self.group_of = {index: sorted(group) for group in groups for index in group}
        self.changing = self._changing()
        claimed = {index: layer for layer in self._joined_layers() for index in layer.indices}
        found: list[Action] = []
        done: set[int] = set()
        for index in self._order():
            action = claimed.get(index)
            if index in done or (action is not None and index != action.indices[-1]):
                continue
            action = self._action(index) if action is None else action
            done.update(action.indices)
            self._append(found, action)
        return [self._with_events(action) for action in found]

    def _append(self, found: list[Action], action: Action) -> None:
        """Add an action; a folded operation continues the chain that alone feeds it.

        So does a normalisation that is called once a step, where the chain's steps come one by one anyway.
        """
        op = self.steps[action.indices[0]]
        if type(action) is actions.Fold or (type(action) is actions.EachStep and self._counts_calls(op)):
            chains = {a.indices[-1]: a for a in found if isinstance(a, actions.Fold)}
            for ref in op.references:
                if isinstance(ref, Now) and ref.index in chains and self._feeds_only(ref.index, action.indices[0]):
                    chain = chains[ref.index]
                    kind = actions.Chain if isinstance(action, actions.EachStep) else type(chain)
                    if kind is type(chain) or chain.length([self.steps[k] for k in chain.indices]) == 1:
                        found.remove(chain)
                        action = kind([*chain.indices, *action.indices])
                    break
        found.append(action)

    def _feeds_only(self, index: int, user: int) -> bool:
        return self.users[index] == [user] and index not in self.kept

    def _is_neuron(self, op: Op) -> bool:
        return is_neuron_op(op, self.net)

    def _elements(self, index: int) -> dict[int, int]:
        """Return the operations that take an element of a result, and which."""
        found = {}
        for user in self.users[index]:
            op = self.steps[user]
            if op.target is operator.getitem and op.args[0] == Now(index) and isinstance(op.args[1], int):
                found[user] = op.args[1]
        return found

    def _keeps_own_state(self, index: int) -> bool:
        """Whether neurons keep their state, or get back exactly what they handed out in the step before."""
        op = self.steps[index]
        elements = self._elements(index)
        states = (*op.args[1:], *op.kwargs.values())
        return all(isinstance(state, Before) and state.index in elements for state in states)

    def _recurrences(self) -> list[set[int]]:
        """Return the sets of operations that depend on themselves from step to step, other than by a neuron's state."""
        now, back = [], self._shared_state()
        for index, op in enumerate(self.steps):
            for ref in op.references:
                if isinstance(ref, Now):
                    now.append((ref.index, index))
                elif isinstance(ref, Before) and index not in self.own_state:
                    back.append((ref.index, index))
        if not back:  # each needs only what comes before it
            return []
        import networkx

        graph = networkx.DiGraph(now + back)
        groups = map(set, networkx.strongly_connected_components(graph))
        return [group for group in groups if len(group) > 1 or graph.has_edge(min(group), min(group))]

    def _shared_state(self) -> list[tuple[int, int]]:
        """Return edges both ways between calls of one module that keeps something from call to call."""
        calls: dict[str, list[int]] = {}
        for index, op in enumerate(self.steps):
            if op.kind != "call_module":
                continue
            module = self.net.get_submodule(op.target)
            if keeps_state(module) or (isinstance(module, nn.modules.batchnorm._NormBase) and module.training):
                calls.setdefault(op.target, []).append(index)
        return [(a, b) for same in calls.values() for a in same for b in same if a != b]

    def _changing(self) -> set[int]:
        """Return the operations whose results differ from step to step."""
        changing = set(self.group_of)
        for index, op in enumerate(self.steps):
            is_new = op.kind == "series" and not (self.repeats and op.args[0] is None)
            moving = is_new or self._keeps_state(op) or is_dropout(op, self.net) or self._counts_calls(op)
            values = [ref for ref in op.references if not isinstance(ref, Fixed)]
            if moving or any(isinstance(ref, Before) or ref.index in changing for ref in values):
                changing.add(index)
        return changing

    def _keeps_state(self, op: Op) -> bool:
        return op.kind == "call_module" and keeps_state(self.net.get_submodule(op.target))

    def _counts_calls(self, op: Op) -> bool:
        """Whether a module changes with each call, so that it must be called once a step."""
        if op.kind != "call_module":
            return False
        module = self.net.get_submodule(op.target)
        return isinstance(module, nn.modules.batchnorm._NormBase) and module.training

    def _order(self) -> list[int]:
        """Return the operations so that each comes after what it needs; a recurrence comes as a whole."""
        order: list[int] = []
        begun: set[int] = set()
        stack = [(index, False) for index in reversed(range(len(self.steps)))]
        while stack:
            index, ready = stack.pop()
            members = self.group_of.get(index, [index])
            if ready:
                order += members
                continue
            if members[0] in begun:
                continue
            begun.add(members[0])
            stack.append((index, True))
            for member in members:
                values = [ref.index for ref in self.steps[member].references if isinstance(ref, Now | Before)]
                stack += [(need, False) for need in values if need not in members and not self._is_own(member, need)]
        return order

    def _is_own(self, neuron: int, element: int) -> bool:
        """Whether an operation is an element of these neurons' results, which they get back as their state."""
        return neuron in self.own_state and element in self._elements(neuron)

    def _joined_layers(self) -> list[Action]:
        """Return what is computed in one pass: convolutions with their neurons, fully connected layers after spikes."""
        found: list[Action] = []
        for index, op in enumerate(self.steps):
            if index in self.group_of:
                continue
            if index in self.own_state:
                found += self._conv_layer(index)
            elif op.kind == "call_module" and kind_of(self._module(index)) is nn.Linear:
                found += self._linear(index)
        claimed = {index for layer in found for index in layer.indices}
        for index in range(len(self.steps)):
            if index not in claimed and index not in self.group_of and self._is(index, nn.BatchNorm2d):
                found += self._conv_norm(index)
        return found

    def _conv_layer(self, neuron: int) -> list[Action]:
        """Return a layer that ends in these neurons, if the event-driven engine has it; stride 1 with a max-pool."""
        if self._used(neuron) - {0}:
            return []
        chain, norm, pool = [neuron], None, 1
        at = self._source(neuron)
        if at is not None and _is_max_pool(self.steps[at], self.net):
            chain, pool, at = [at, *chain], 2, self._source(at)
        if at is not None and self._normalises(at):
            chain, norm, at = [at, *chain], at, self._source(at)
        if at is None or not self._is_layers_conv(at, pool):
            return []
        return [event_actions.ConvLayer([at, *chain], self._apart([at, *chain]), norm, pool)]

    def _conv_norm(self, norm: int) -> list[Action]:
        """Return a convolution and its normalisation in each step, of what goes elsewhere than into neurons."""
        at = self._source(norm) if event_actions.normalises_each_step(self._module(norm)) else None
        if at is None or not self._normalises(norm) or not self._is_layers_conv(at, 1):
            return []
        return [event_actions.ConvNorm([at, norm], self._apart([at, norm]))]

    def _is_layers_conv(self, index: int, pool: int) -> bool:
        """Whether an operation is a convolution that event-driven layers have."""
        op = self.steps[index]
        return (
            self._is(index, nn.Conv2d)
            and _is_plain_conv(self._module(index), any_stride=pool == 1)
            and isinstance(op.args[0], Now)
            and index in self.changing
            and op.val.dim() == 4
        )

    def _apart(self, indices: list[int]) -> list[Action]:
        """Return the actions that compute the operations of a layer one after the other."""
        apart: list[Action] = []
        for index in indices:
            self._append(apart, self._action(index))
        return [self._with_events(action) for action in apart]

    def _module(self, index: int) -> nn.Module | None:
        op = self.steps[index]
        return self.net.get_submodule(op.target) if op.kind == "call_module" else None

    def _with_events(self, action: Action) -> Action:
        """Let a chain that begins with a convolution, or with pools of counts and one, look for events."""
        if type(action) in (actions.Fold, actions.Chain):
            for place, index in enumerate(action.indices):
                if _is_any_conv(self.steps[index], self.net):
                    return event_actions.Conv(action.indices, action, place)
                if not _keeps_counts(self.steps[index], self.net):
                    break
            if len(action.indices) == 1 and _is_max_pool(self.steps[action.indices[0]], self.net):
                return event_actions.SpikePool(action.indices)
        return action

    def _linear(self, index: int) -> list[Action]:
        # Rows [B, n] alone: of more axes, features are the last of many.
        if not _takes_first(self.steps[index]) or index not in self.changing or self.steps[index].val.dim() != 2:
            return []
        flat = self._source(index)
        op = None if flat is None else self.steps[flat]
        if op is None or not _is_flatten(op, self.net) or not isinstance(op.args[0], Now) or flat not in self.changing:
            return (
                [event_actions.Linear([index])] if folds(self.steps[index], self.steps, self.net, self.changing) else []
            )
        if not all(folds(self.steps[k], self.steps, self.net, self.changing) for k in (flat, index)):
            return []
        return [event_actions.Linear([flat, index])]

    def _source(self, index: int) -> int | None:
        """Return the operation that alone feeds this one, and feeds nothing else."""
        ref = self.steps[index].args[0] if self.steps[index].args else None
        usable = isinstance(ref, Now) and ref.index not in self.group_of and self._feeds_only(ref.index, index)
        return ref.index if usable else None

    def _is(self, index: int, kind: type) -> bool:
        return isinstance(self._module(index), kind)

    def _normalises(self, index: int) -> bool:
        """Whether an operation is a normalisation that a layer can have: by running or by the batch's statistics."""
        if not self._is(index, nn.modules.batchnorm._BatchNorm):
            return False
        module = self.net.get_submodule(self.steps[index].target)
        if module.training:
            return isinstance(module, NormOverTime) or type(module) is nn.BatchNorm2d
        return isinstance(module, NormOverTime) or module.running_mean is not None

    def _used(self, neuron: int) -> set[int]:
        """Return which of these neurons' results are used, other than by themselves; spikes alone count as 0."""
        elements = self._elements(neuron)
        used = {place for user, place in elements.items() if user in self.kept or set(self.users[user]) - {neuron}}
        whole = neuron in self.kept or bool(set(self.users[neuron]) - elements.keys() - {neuron})
        if whole:
            value = self.steps[neuron].val
            used |= set(range(len(value))) if isinstance(value, tuple) else {0}
        return used

    def _action(self, index: int) -> Action:
        op = self.steps[index]
        if index in self.group_of:
            return actions.StepByStep(self.group_of[index])
        if op.kind == "series":
            return actions.Series([index])
        if self._takes_the_step_before(index):
            return actions.StepByStep(sorted({index, *self._elements(index)}) if self._is_neuron(op) else [index])
        if self._is(index, Delay):
            return actions.Delayed([index])
        if index not in self.changing:
            return actions.Once([index])
        if index in self.own_state:
            return self._neurons(index)
        if self._is_neuron(op):
            return actions.StepByStep([index])
        if (
            op.target is operator.getitem
            and isinstance(op.args[0], Now)
            and isinstance(self.steps[op.args[0].index].val, tuple)
        ):
            return actions.Element([index])
        if is_dropout(op, self.net):
            return actions.Dropout([index])
        if self._is(index, NormOverTime):
            norm = self.net.get_submodule(op.target)
            if norm.training or norm.running_mean is None:
                return actions.PooledNorm([index])
        if folds(op, self.steps, self.net, self.changing):
            return actions.Add([index]) if self._adds_spikes(op) else actions.Fold([index])
        return actions.EachStep([index])

    def _takes_the_step_before(self, index: int) -> bool:
        """Whether an operation takes a result of the step before that is not the state of its own neurons."""
        op = self.steps[index]
        args = op.args[:1] if index in self.own_state else (op.args, op.kwargs)
        return any(isinstance(ref, Before) for ref in Op(op.kind, op.target, args, {}, None).references)

    def _adds_spikes(self, op: Op) -> bool:
        """Whether both summands may be spikes in bytes: of neurons, or sums of them."""
        if name_of(op) not in ("add", "iadd") or op.kwargs or len(op.args) != 2 or op.args[0] == op.args[1]:
            return False
        return all(isinstance(ref, Now) and self._may_be_spikes(self.steps[ref.index]) for ref in op.args)

    def _may_be_spikes(self, op: Op) -> bool:
        return op.kind == "series" or self._is_neuron(op) or self._adds_spikes(op)

    def _neurons(self, index: int) -> Action:
        op, elements = self.steps[index], self._elements(index)
        states = (*op.args[1:], *op.kwargs.values())
        places = [elements[state.index] for state in states]
        width = len(op.val) if isinstance(op.val, tuple) else 1
        used = self._used(index)
        return actions.Neurons([index], [s.first for s in states], places, used <= {0, width - 1}, used <= {0})


def _is_max_pool(op: Op, net: nn.Module) -> bool:
    """Whether an operation is a 2 x 2 max-pool, without padding."""
    if op.kind == "call_module":
        module = net.get_submodule(op.target)
        if type(module) is not nn.MaxPool2d:
            return False
        options = tuple(getattr(module, name) for name in _POOL_DEFAULTS)
    elif name_of(op) == "max_pool2d":
        given = dict(zip(_POOL_DEFAULTS, op.args[1:])) | op.kwargs
        options = tuple(given.get(name, default) for name, default in _POOL_DEFAULTS.items())
    else:
        return False
    kernel, stride, padding, dilation, *modes = options
    stride = kernel if stride is None else stride
    return all(_pair(v) == (n, n) for v, n in ((kernel, 2), (stride, 2), (padding, 0), (dilation, 1))) and not any(
        modes
    )


_POOL_DEFAULTS = {
    "kernel_size": None,
    "stride": None,
    "padding": 0,
    "dilation": 1,
    "ceil_mode": False,
    "return_indices": False,
}


def _is_plain_conv(conv: nn.Conv2d, any_stride: bool) -> bool:
    """Whether a convolution has a square window of at most 7 x 7, moves alike both ways, and has fewer zeros around."""
    side, padding, stride = conv.kernel_size[0], conv.padding[0], conv.stride[0] if any_stride else 1
    sizes = ((conv.kernel_size, side), (conv.padding, padding), (conv.stride, stride), (conv.dilation, 1))
    plain = not isinstance(conv.padding, str) and all(_pair(value) == (n, n) for value, n in sizes)
    return (
        plain
        and side <= 7
        and padding < side
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        and kind_of(conv) is nn.Conv2d
    )


def _is_any_conv(op: Op, net: nn.Module) -> bool:
    """Whether an operation is a convolution that the engine has on its own: any window of at most 7 a side."""
    if op.kind != "call_module" or not _takes_first(op):
        return False
    conv = net.get_submodule(op.target)
    if kind_of(conv) not in (nn.Conv1d, nn.Conv2d) or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    return max(conv.kernel_size) <= 7


def _keeps_counts(op: Op, net: nn.Module) -> bool:
    """Whether an operation is a pool that makes counts of counts: the largest, or, but for a scale, their mean."""
    if not _takes_first(op):
        return False
    if op.kind == "call_module":
        is_max = type(net.get_submodule(op.target)) in (nn.MaxPool1d, nn.MaxPool2d)
        return is_max or event_actions.pixels_of_mean(op, net) is not None
    return name_of(op) in ("max_pool1d", "max_pool2d")


def _takes_first(op: Op) -> bool:
    """Whether a result of the same step is the first argument, given by its place."""
    return bool(op.args) and isinstance(op.args[0], Now)


def _is_flatten(op: Op, net: nn.Module) -> bool:
    """Whether an operation lays all but the first axis into one."""
    if op.kind == "call_module":
        module = net.get_submodule(op.target)
        return type(module) is nn.Flatten and module.start_dim == 1 and module.end_dim == -1
    return name_of(op) in ("flatten", "view", "reshape") and isinstance(op.val, Tensor) and op.val.dim() == 2


def _pair(value: Any) -> tuple:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)
