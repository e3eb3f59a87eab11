"""`accelerate`: a network that is written as one time step, or with its loop over them, run over all of time at once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from snn_helpers._checks import check_choice
from snn_helpers.engine import Spikes
from snn_helpers.over_time import layers
from snn_helpers.over_time.actions import Action, ConvLayer, Context, Element, Neurons, Same, Series, dense
from snn_helpers.over_time.plan import plan
from snn_helpers.over_time.program import Fixed, Now, Program, is_stack, one_step, roll
from snn_helpers.over_time.runner import Runner, other_hooks
from snn_helpers.over_time.structure import Drive, drives, layer_name, sizes
from snn_helpers.over_time.trace import CannotTrace, trace

ENGINES = ("auto", "snntorch", "reference", "cpu", "cuda")
WHOLE = 256  # event counts of a byte are below


@dataclass
class _Planned:
    program: Program
    actions: list[Action]


class OverTime:
    """Runs one network over time: traces it once for each shape of input, plans, and carries the plan out.

    Parameters
    ----------
    net : nn.Module
        Left as it is.
    method : str
        Name of its method that is one step, or that loops over all steps.
    engine : {"auto", "snntorch", "reference", "cpu", "cuda"}
        What computes the layers of neurons.
    """

    def __init__(self, net: nn.Module, method: str = "forward", engine: str = "auto"):
        self.net, self.method = net, method
        self.runner = Runner(check_choice("engine", engine, ENGINES))
        self._plans: dict[Any, _Planned | CannotTrace] = {}
        self._warned: set[str] = set()
        self.last: _Planned | str | None = None

    def __getstate__(self):
        return {**vars(self), "_plans": {}, "last": None}

    @property
    def engine(self) -> str:
        """What computes the network where its weights are now: "snntorch", "reference", "cpu" or "cuda"."""
        return self.runner.on(next(self.net.parameters()))

    @property
    def neurons(self) -> list[nn.Module]:
        """The layers of neurons."""
        return [module for module in self.net.modules() if layers.is_spiking(module)]

    def run(self, *inputs: Any) -> Any:
        """Run the network on its input over time."""
        frames = inputs[0]
        reason = self._why_loop(frames)
        if reason is None:
            planned = self._planned(inputs)
            if isinstance(planned, _Planned):
                self.last = planned
                return self._carry_out(planned, inputs)
            reason = str(planned)
        self.last = reason
        self._warn(reason)
        return self._loop(inputs)

    def _why_loop(self, frames: Tensor) -> str | None:
        # Hooks on the network itself are run by whoever calls it, unless its call is the step.
        modules = list(self.net.modules())
        hooked = other_hooks(modules if self.method == "forward" else modules[1:])
        if hooked:
            return f"a hook on {hooked} must be called once a step"
        if frames.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            return "autocast is on, and the CPU's kernels compute in float32"
        return None

    def _warn(self, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            warnings.warn(f"{type(self.net).__name__} runs by its own loop, step by step: {reason}.", stacklevel=5)

    def _planned(self, inputs: tuple) -> _Planned | CannotTrace:
        key = (*((i.shape, i.dtype, i.device) if isinstance(i, Tensor) else i for i in inputs), _fingerprint(self.net))
        if key not in self._plans:
            try:
                self._plans[key] = self._make_plan(inputs)
            except CannotTrace as err:
                self._plans[key] = err
        return self._plans[key]

    def _make_plan(self, inputs: tuple) -> _Planned:
        program = None
        if not self.loops_itself:
            traced = trace(self.net, self.method, self._as_step(inputs[0][0]), *inputs[1:])
            program = None if traced.resets else one_step(traced)
        if program is None:
            program = roll(trace(self.net, self.method, *inputs), lambda path: layers.is_spiking(self.net.get_submodule(path)))
        return _Planned(program, plan(program, self.net))

    @property
    def loops_itself(self) -> bool:
        """Whether the network's own method must hold the loop, since its neurons do not keep their state."""
        return not all(neuron.init_hidden for neuron in self.neurons)

    def _as_step(self, step: Tensor) -> Tensor:
        """Return frames in the type of the weights, where they are counts or flags."""
        return step if step.is_floating_point() or step.is_complex() else step.to(self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        kinds = (p.dtype for p in self.net.parameters() if p.is_floating_point())
        return next(kinds, torch.get_default_dtype())

    def _carry_out(self, planned: _Planned, inputs: tuple) -> Any:
        program, frames = planned.program, inputs[0]
        fixed = {n: value for n, value in zip(program.inputs, (*inputs, *(n.args[0] for n in program.inputs[len(inputs) :])))}
        fixed = _Fixed(self.net, program.constants, fixed)
        for node in program.prologue:
            fixed[node] = _evaluate(node, fixed, self.net)
        engine = self.runner.event_driven(torch.empty(0, dtype=self._dtype, device=frames.device))
        num_steps = len(frames) if program.num_steps is None else program.num_steps
        series = frames
        if program.num_steps is None and not frames.is_floating_point():
            series = Spikes(frames.to(torch.uint8)) if engine else frames.to(self._dtype)
        ctx = Context(self.net, program.steps, num_steps, fixed, series, engine, self.runner)
        ctx.values = [None] * len(program.steps)
        ctx.draw_masks(frames.device)
        for action in planned.actions:
            action.run(ctx)
        if program.num_steps is None:
            return map_aggregate(program.output, lambda a: _whole(ctx, a))
        return _finish(program, ctx)

    def _loop(self, inputs: tuple) -> Any:
        """Run the network by its own loop: the definition of what it computes."""
        method = getattr(self.net, self.method) if self.method != "forward" else self.net
        with layers.from_zero(self.neurons):
            if self.loops_itself:
                return method(*inputs)
            return layers.stack([method(self._as_step(step), *inputs[1:]) for step in inputs[0]])

    def drives(self, *inputs: Any) -> dict[str, Drive]:
        """Return what drives each layer of neurons, by its name; of a network that cannot be traced nothing but them."""
        planned = self._planned(inputs)
        if isinstance(planned, _Planned):
            return drives(planned.program, self.net)
        paths = [path for path, module in self.net.named_modules() if layers.is_spiking(module)]
        return {layer_name(path): Drive(path) for path in paths}

    def sizes(self, *inputs: Any) -> tuple[int, int]:
        """Return how many currents and spikes one step computes; zeros for a network that cannot be traced."""
        planned = self._planned(inputs)
        return sizes(planned.program, self.net) if isinstance(planned, _Planned) else (0, 0)

    def explain(self) -> str:
        """Say for each layer what ran it in the last call, and what would make it faster."""
        if self.last is None:
            return "Not run yet: what runs a layer depends on the shape of its input. Call the network once."
        if isinstance(self.last, str):
            return f"All steps by the network's own loop: {self.last}."
        steps = self.last.program.steps
        rows = []
        for action in self.last.actions:
            if isinstance(action, Series | Element):
                continue
            names = " + ".join(_name(steps[index]) for index in action.indices)
            rows.append(f"{names:<40} {self._how(action, steps)}")
        return "\n".join(rows)

    def _how(self, action: Action, steps) -> str:
        if not isinstance(action, Neurons | ConvLayer):
            return action.how
        neuron = self.runner.equation(self.net.get_submodule(steps[action.indices[-1]].target))
        if isinstance(neuron, str):
            return f"the module's own code, step by step: {neuron}"
        return action.how if isinstance(action, ConvLayer) else f"all steps in one kernel ({neuron.kind})"


def _name(op) -> str:
    return op.target if isinstance(op.target, str) else getattr(op.target, "__name__", str(op.target))


class _Fixed(dict):
    """Values from before the loop: parameters, buffers and constants are looked up when they are asked for."""

    def __init__(self, net: nn.Module, constants: dict[str, Tensor], given: dict):
        super().__init__(given)
        self.net, self.constants = net, constants

    def __missing__(self, node: fx.Node):
        if node.target in self.constants:
            return self.constants[node.target]
        value = self.net
        for name in node.target.split("."):
            value = getattr(value, name)
        return value


def _evaluate(node: fx.Node, env, net: nn.Module) -> Any:
    args, kwargs = map_aggregate((node.args, node.kwargs), lambda a: env[a] if isinstance(a, fx.Node) else a)
    if node.op == "call_module":
        return net.get_submodule(node.target)(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    return node.target(*args, **kwargs)


def _whole(ctx: Context, item: Any) -> Any:
    """Return what a step returns, over all steps."""
    if isinstance(item, Now):
        return ctx.over(item)
    if isinstance(item, Fixed):
        value = ctx.fixed[item.node]
        return value.expand(ctx.num_steps, *value.shape)
    return item


def _finish(program: Program, ctx: Context) -> Any:
    """Carry out what a network makes of all its steps, and return what it returns."""

    def look_up(node):
        if not isinstance(node, fx.Node):
            return node
        if node in program.place:
            step, index = program.place[node]
            value = ctx.values[index]
            return value.value if isinstance(value, Same) else map_aggregate(value, lambda v: dense(v)[step])
        return ctx.fixed[node]

    for node in program.epilogue:
        index = _stacked(node, program)
        if index is not None:
            dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
            over = ctx.over(Now(index))
            ctx.fixed[node] = over.movedim(0, dim % over.dim())
            continue
        args, kwargs = map_aggregate((node.args, node.kwargs), look_up)
        values = {"call_module": lambda n=node: ctx.net.get_submodule(n.target)(*args, **kwargs),
                  "call_method": lambda n=node: getattr(args[0], n.target)(*args[1:], **kwargs),
                  "call_function": lambda n=node: n.target(*args, **kwargs)}  # fmt: skip
        ctx.fixed[node] = values[node.op]()
    return map_aggregate(program.output, look_up)


def _stacked(node: fx.Node, program: Program) -> int | None:
    """Return the operation whose results of all steps a node stacks in their order, or None."""
    if not is_stack(node) or not node.args or not isinstance(node.args[0], list | tuple):
        return None
    places = [program.place.get(part) if isinstance(part, fx.Node) else None for part in node.args[0]]
    if None in places or [step for step, _ in places] != list(range(program.num_steps)):
        return None
    indices = {index for _, index in places}
    return indices.pop() if len(indices) == 1 else None


def _fingerprint(net: nn.Module) -> tuple:
    """Return what a trace depends on beside its input: the modules, their modes and plain attributes."""
    return tuple(
        (id(module), *(value for value in vars(module).values() if isinstance(value, bool | int | float | str)))
        for module in net.modules()
    )


class Accelerated(nn.Module):
    """A network over all of time; parameters, buffers and modules are the network's own. See `accelerate`."""

    training = property(
        lambda self: self._over_time.net.training, lambda self, mode: setattr(self._over_time.net, "training", mode)
    )

    def __init__(self, net: nn.Module, engine: str):
        object.__setattr__(self, "_over_time", OverTime(net, engine=engine))
        super().__init__()
        for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            object.__setattr__(self, name, getattr(net, name))

    @torch.compiler.disable
    def forward(self, *inputs: Any) -> Any:
        """Run the network: frames [T, B, ...], or what its own loop over time takes."""
        return self._over_time.run(*inputs)

    @property
    def over_time(self) -> OverTime:
        """What runs the network."""
        return self._over_time

    def explain(self) -> str:
        """Say for each layer what ran it in the last call, and what would make it faster."""
        return self._over_time.explain()


def over_time(net: nn.Module) -> nn.Module:
    """Return a network that takes all time at once: itself if it does, else accelerated.

    A network takes all time at once if it is accelerated or one of ours, or holds its own loop.
    """
    if isinstance(getattr(net, "over_time", None), OverTime):
        return net
    return accelerate(net)


def accelerate(net: nn.Module, engine: str = "auto") -> Accelerated:
    """Return a module that runs a network over all of time, spike for spike what its own loop computes.

    Parameters
    ----------
    net : nn.Module
        One time step of torch layers and neurons that keep their own state (`init_hidden=True`), or a module whose
        `forward` holds the loop over time and hands the membranes on. It is left as it is, and stays usable.
    engine : {"auto", "snntorch", "reference", "cpu", "cuda"}
        What computes the layers of neurons; "auto" takes the fastest for the device.

    Returns
    -------
    Accelerated
        Takes frames [T, B, ...] and returns what one step returns, over time: [T, B, ...] each. Of a network with a
        loop of its own it takes and returns what the network does. Every call starts from states of zero.

    Raises
    ------
    ValueError
        If there is no spiking layer in the network.

    Notes
    -----
    A step has no loop through time but the neurons' own state, so that every layer can be computed for all steps before
    the next. What cannot be traced runs by the network's own loop, with one warning that names the line.

    Examples
    --------
    >>> import snntorch as snn
    >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True, output=True))
    >>> spk_rec, mem_rec = accelerate(net)(torch.rand(5, 2, 4))
    >>> tuple(spk_rec.shape)
    (5, 2, 3)
    """
    if isinstance(net, Accelerated):
        return net
    if not any(layers.is_spiking(module) for module in net.modules()):
        raise ValueError(f"{type(net).__name__} has no spiking layer: neither neurons of snn_helpers nor of snnTorch.")
    return Accelerated(net, engine)
