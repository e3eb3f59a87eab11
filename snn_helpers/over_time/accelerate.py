"""`accelerate`: a network written as one time step, or with its loop over them, run over all of time at once."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from snn_helpers._checks import check_choice
from snn_helpers.engine import Spikes
from snn_helpers.neurons import refuse_export
from snn_helpers.over_time import layers
from snn_helpers.over_time.actions import Action, Context, Element, Neurons, Same, Series
from snn_helpers.over_time.event_actions import ConvLayer
from snn_helpers.over_time.fingerprint import NotRead, Snapshot
from snn_helpers.over_time.outside import Known, evaluate, in_all_steps, look_up, thawed
from snn_helpers.over_time.plan import plan
from snn_helpers.over_time.program import Fixed, Program, Stage, as_one_step, one_step, roll
from snn_helpers.over_time.runner import Runner, other_hooks
from snn_helpers.over_time.structure import Drive, drives, layer_name, sizes
from snn_helpers.over_time.trace import DRAWS, CannotTrace, Traced, tensors, trace

_PLANS = 64  # of one network as it is, and of networks that one was
ENGINES = ("auto", "snntorch", "reference", "cpu", "cuda")


@dataclass
class _Unplanned:
    """Why a network runs by its own loop; `loops` says whether its own method holds it, `told` whether to warn."""

    reason: str
    loops: bool
    told: bool = True


@dataclass
class _Planned:
    program: Program
    actions: list[list[Action]]  # of each loop

    @property
    def loops(self) -> bool:
        """Whether the network's own method holds the loop over time."""
        return not self.program.one_step


class OverTime(NotRead):
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
        self._plans: dict[tuple, dict[Any, _Planned | _Unplanned]] = {}  # by fingerprint and input
        self._snapshot: Snapshot | None = None
        self._now: dict[Any, _Planned | _Unplanned] = {}  # the plans for the network as it is
        self._hooked: str | None = None  # the first module with a hook that is to be called once a step
        self._warned: set[str] = set()
        self.last: _Planned | str | None = None
        self._goes_on = False

    def __getstate__(self):
        return {**vars(self), "_plans": {}, "_snapshot": None, "_now": {}, "last": None, "_goes_on": False}

    @property
    def engine(self) -> str:
        """What computes the network where its weights are now: "snntorch", "reference", "cpu" or "cuda"."""
        return self.runner.on(next(self.net.parameters()))

    @property
    def neurons(self) -> list[nn.Module]:
        """The layers of neurons."""
        return [module for module in self.net.modules() if layers.is_spiking(module)]

    @property
    def neurons_keep_state(self) -> bool:
        """Whether all neurons keep their own state from call to call (`init_hidden`)."""
        return all(neuron.init_hidden for neuron in self.neurons)

    @contextlib.contextmanager
    def continued(self) -> Iterator[list[nn.Module]]:
        """Let each run inside start where the one before has ended, the first from zero: parts of one recording.

        Yields
        ------
        list of nn.Module
            What keeps a state, which is given back afterwards what it has now; see `layers.state_of`.
        """
        modules = [module for module in self.net.modules() if layers.keeps_state(module)]
        self._goes_on = True
        try:
            with layers.from_zero(modules):
                yield modules
        finally:
            self._goes_on = False

    def run(self, *inputs: Any, **options: Any) -> Any:
        """Run the network on its input over time; anything else goes to its method as it is."""
        frames = next(iter(tensors(inputs[:1])), None)  # the first of several, where a loop takes a dict of them
        if frames is None or frames.dim() == 0 or len(frames) == 0:
            raise _no_frames(inputs)
        planned = self._planned(inputs, options)
        if self._goes_on and (isinstance(planned, _Unplanned) or planned.loops):
            self.continued_program(*inputs)  # refuses a network whose state is not known
        reason = self._why_loop(frames)
        if reason is None and isinstance(planned, _Planned):
            self.last = planned
            return self._carry_out(planned, inputs, options)
        self.last = reason or planned.reason
        if frames.numel() and (reason or planned.told):
            self._warn(self.last)
        return self._loop(inputs, options, planned.loops)

    def _why_loop(self, frames: Tensor) -> str | None:
        if self._hooked:
            return f"a hook on {self._hooked} must be called once a step"
        if frames.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            return "autocast is on, and the CPU's kernels compute in float32"
        if torch._C._functorch.maybe_current_level() is not None:
            return "kernels cannot follow the transforms of torch.func"
        return None if frames.numel() else "the input is empty"

    def _warn(self, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            warnings.warn(f"{type(self.net).__name__} runs by its own loop, step by step: {reason}.", stacklevel=5)

    def _planned(self, inputs: tuple, options: dict[str, Any]) -> _Planned | _Unplanned:
        first, *others = inputs
        step = _signature((first[0] if isinstance(first, Tensor) else first, others, options)), _is_repeated(first)
        plans, keys = self._look(), (step, (len(first), step))
        found = next((plans[key] for key in keys if key in plans), None)
        if found is None:
            _make_room(plans)
            found, of_any_length = self._make_plan(inputs, options)
            plans[keys[0] if of_any_length else keys[1]] = found
        return found

    def _look(self) -> dict[Any, _Planned | _Unplanned]:
        """Note the network as it is, and return the plans for it as it is."""
        if self._snapshot is None or not self._snapshot.holds(self.net):
            snapshot = Snapshot(self.net)
            # Hooks on the network itself are run by whoever calls it, unless its call is the step.
            modules = list(self.net.modules())
            self._hooked = other_hooks(modules if self.method == "forward" else modules[1:])
            if snapshot.fingerprint not in self._plans:
                _make_room(self._plans)
            self._now = self._plans.setdefault(snapshot.fingerprint, {})
            self._snapshot = snapshot  # last: whoever sees it finds its plans
        return self._now

    def _make_plan(self, inputs: tuple, options: dict[str, Any]) -> tuple[_Planned | _Unplanned, bool]:
        """Find out whether the method is one step or holds the loop, and plan what it does.

        It holds the loop if there are neurons that do not keep their state, or if a call sets states to zero, or if it
        calls a layer of neurons several times and these calls are steps that are alike. Where one step alone says that
        it is one, the plan is for any number of them, which is returned, too.
        """
        if not self.neurons or any(isinstance(module, Accelerated) for module in self.net.modules()):
            return _Unplanned("its neurons take all steps in one call", loops=True, told=False), True
        step = None
        if isinstance(inputs[0], Tensor) and self.neurons_keep_state:
            step = _try(lambda: trace(self.net, self.method, self.as_step(inputs[0][0]), *inputs[1:], **options))
            if isinstance(step, Traced) and step.calls == 1 and not step.resets and not step.indexed:
                return self._as_program(lambda: one_step(step), False, _is_repeated(inputs[0])), True
        return self._plan_of_whole(step, inputs, options), False

    def _plan_of_whole(
        self, step: Traced | CannotTrace | None, inputs: tuple, options: dict[str, Any]
    ) -> _Planned | _Unplanned:
        """Plan what a call does with all steps, or with one, which is `step`."""
        whole = _try(lambda: trace(self.net, self.method, *inputs, **options))
        one_step_only = not whole.resets and whole.calls < 2
        if one_step_only and not isinstance(inputs[0], Tensor) and self.neurons_keep_state:
            raise _no_frames(inputs)
        loops = step is None or step.resets or whole.resets or (step.calls != whole.calls and whole.calls > 0)
        if loops and isinstance(whole, Traced) and whole.calls == 1:
            if step is None or whole.resets or whole.indexed:
                return _Unplanned("there is one step only", loops=True, told=False)
            return _Unplanned("its neurons are called once, with all steps, and take them for one", loops=True)
        rolled = _Unplanned(str(whole), loops=True)
        if isinstance(whole, Traced):
            rolled = self._as_program(lambda: roll(whole, self._is_neuron), loops=True)
        if loops or (isinstance(rolled, _Planned) and _repeats_its_input(rolled.program)):
            return rolled
        if isinstance(step, Traced):
            return self._as_program(lambda: one_step(step), False, _is_repeated(inputs[0]))
        return _Unplanned(str(step), loops=False)

    def _as_program(self, make: Callable[[], Program], loops: bool, repeats: bool = False) -> _Planned | _Unplanned:
        try:
            program = make()
            drawn = next((op for op in program.steps if _name(op) in DRAWS), None)
            if drawn is not None:  # in each step anew
                raise CannotTrace(f"it draws random numbers (`{_name(drawn)}`){drawn.line}")
        except CannotTrace as err:
            return _Unplanned(str(err), loops)
        return _Planned(program, [plan(stage, self.net, repeats) for stage in program.stages])

    def _is_neuron(self, path: str) -> bool:
        return layers.is_spiking(self.net.get_submodule(path))

    def as_step(self, step: Tensor) -> Tensor:
        """Return frames in the type of the weights, where they are counts or flags."""
        return step if step.is_floating_point() or step.is_complex() else step.to(self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        kinds = (p.dtype for p in self.net.parameters() if p.is_floating_point())
        return next(kinds, torch.get_default_dtype())

    def _carry_out(self, planned: _Planned, inputs: tuple, options: dict[str, Any]) -> Any:
        program, frames = planned.program, tensors(inputs)[0]
        given = dict(zip(program.inputs, tensors((inputs, options)), strict=True))
        fixed = Known(self.net, program.constants, given)
        engine = self.runner.event_driven(torch.empty(0, dtype=self._dtype, device=frames.device))
        series = self._as_series(frames, engine) if program.one_step else None
        done: list[tuple[Stage, Context]] = []
        for stage, actions in zip(program.stages, planned.actions):
            evaluate(stage.before, fixed, done)
            ctx = Context(
                self._snapshot, stage.steps, stage.num_steps or len(frames), fixed, series, engine, self.runner
            )
            ctx.goes_on, ctx.values = self._goes_on, [None] * len(stage.steps)
            ctx.draw_masks(frames.device)
            for action in actions:
                action.run(ctx)
            done.append((stage, ctx))
        if program.one_step:
            return tree_map(lambda a: in_all_steps(ctx, a), thawed(program.output))
        evaluate(program.after, fixed, done)
        return tree_map(lambda a: look_up(a, fixed, done), thawed(program.output))

    def _as_series(self, frames: Tensor, engine: Any) -> Tensor | Spikes | Same:
        """Return the input over time as the layers take it: one step for all, counts that fit in a byte, or floats."""
        if _is_repeated(frames):
            return Same(self.as_step(frames[0]))
        if frames.is_floating_point() or frames.is_complex():
            return frames
        narrow = frames.dtype in (torch.bool, torch.uint8)
        if engine and (narrow or bool(((frames >= 0) & (frames < 256)).all())):
            return Spikes(frames.to(torch.uint8))
        return frames.to(self._dtype)

    def _loop(self, inputs: tuple, options: dict[str, Any], loops: bool) -> Any:
        """Run the network by its own loop: the definition of what it computes."""
        method = getattr(self.net, self.method) if self.method != "forward" else self.net
        with layers.from_zero([] if self._goes_on else filter(layers.keeps_state, self.net.modules())):
            if loops:
                return method(*inputs, **options)
            return layers.stack([method(self.as_step(step), *inputs[1:], **options) for step in inputs[0]])

    def loops(self, *inputs: Any) -> bool:
        """Whether the network's own method holds the loop over time: it is no single step."""
        return self._planned(inputs, {}).loops

    def step_program(self, *inputs: Any) -> Program:
        """Return the operations of one step, for input [T, B, ...] of any T >= 2.

        Raises
        ------
        ValueError
            If its step cannot be traced, or the loop over time that it holds is more than such steps.
        """
        planned, name = self._planned(inputs, {}), type(self.net).__name__
        if isinstance(planned, _Unplanned):
            raise ValueError(f"{name}: its step cannot be read: {planned.reason}.")
        try:
            return as_one_step(planned.program, self.net)
        except CannotTrace as err:
            raise ValueError(f"{name}: its loop over time cannot be read as steps that are alike: {err}.") from err

    def continued_program(self, *inputs: Any) -> Program:
        """Return the operations of one step of a network that can go on from the state it has; see `continued`.

        Raises
        ------
        ValueError
            If its step cannot be traced, or it holds its own loop over time, which begins anew in every call.
        """
        if self.loops(*inputs):
            raise ValueError(
                f"{type(self.net).__name__} holds its own loop over time. Take a network that computes one step, with "
                "neurons of `init_hidden=True`."
            )
        return self.step_program(*inputs)

    def drives(self, *inputs: Any) -> dict[str, Drive]:
        """Return what drives each layer of neurons, by its name; where a network cannot be traced, only the layers."""
        planned = self._planned(inputs, {})
        if isinstance(planned, _Planned):
            return drives(planned.program, self.net)
        paths = [path for path, module in self.net.named_modules() if layers.is_spiking(module)]
        return {layer_name(path): Drive(path) for path in paths}

    def sizes(self, *inputs: Any) -> tuple[int, int]:
        """Return how many currents and spikes one step computes; zeros for a network that cannot be traced."""
        planned = self._planned(inputs, {})
        return sizes(planned.program, self.net) if isinstance(planned, _Planned) else (0, 0)

    def explain(self) -> str:
        """Say for each layer what ran it in the last call, and what would make it faster."""
        if self.last is None:
            return "Not run yet: what runs a layer depends on the shape of its input. Call the network once."
        if isinstance(self.last, str):
            return f"All steps by the network's own loop: {self.last}."
        rows = []
        for stage, actions in zip(self.last.program.stages, self.last.actions):
            if not self.last.program.one_step:
                rows.append(f"The network's own loop of {stage.num_steps} steps:")
            for action in actions:
                if not isinstance(action, Series | Element):
                    names = " + ".join(_name(stage.steps[index]) for index in action.indices)
                    rows.append(f"{names:<40} {self._how(action, stage.steps)}")
        return "\n".join(rows)

    def _example(self) -> Tensor:
        """Return an empty tensor of the network's type, where it is."""
        device = next((p.device for p in self.net.parameters()), "cpu")
        return torch.empty(0, dtype=self._dtype, device=device)

    def _how(self, action: Action, steps) -> str:
        if not isinstance(action, Neurons | ConvLayer):
            return action.how
        module = self.net.get_submodule(steps[action.indices[-1]].target)
        neuron = self.runner.equation(module, self._example())
        if isinstance(neuron, str):
            return f"the module's own code, step by step: {neuron}"
        conv = self.net.get_submodule(steps[action.indices[0]].target)
        fused = isinstance(action, ConvLayer) and not self.runner.in_parts(module, conv)
        return action.how if fused else self.runner.how(neuron, self._example())


def _is_repeated(frames: Any) -> bool:
    """Whether an input is one step that all share in memory, as `expand` makes it, and no gradient is asked of it."""
    return (
        isinstance(frames, Tensor)
        and frames.layout is torch.strided
        and len(frames) > 1
        and frames.stride(0) == 0
        and not frames.requires_grad
    )


def _no_frames(inputs: tuple) -> ValueError:
    given = [tuple(item.shape) if isinstance(item, Tensor) else type(item).__name__ for item in inputs[:1]]
    return ValueError(
        f"the first input must be a tensor [T, B, ...] of one step or more; got {given[0] if given else 'none'}. Only "
        "a network with its own loop over time may take a dict or a list of tensors."
    )


def _name(op) -> str:
    owner = getattr(op.target, "__self__", None)
    target = owner if isinstance(owner, type) else op.target  # of an autograd.Function its name, not that of `apply`
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _make_room(plans: dict) -> None:
    """Let the oldest go, where there are many: of a network, or an input, that changes all the time."""
    if len(plans) == _PLANS:
        del plans[next(iter(plans))]


def _try(make: Callable[[], Traced]) -> Traced | CannotTrace:
    try:
        return make()
    except CannotTrace as err:
        return err


def _repeats_its_input(program: Program) -> bool:
    """Whether each step of a loop takes its part of an input, or the same input anew, as a loop over time does."""
    for op in program.steps:
        for item in (*op.args, *op.kwargs.values()):
            if isinstance(item, Fixed) and item.node.op != "get_attr":
                return True
    return False


def _signature(value: Any) -> Any:
    """Return what a trace depends on in an argument."""
    if isinstance(value, Tensor):
        return value.shape, value.dtype, value.device
    if isinstance(value, list | tuple):
        return type(value), *(_signature(item) for item in value)
    if isinstance(value, dict):
        return dict, *((name, _signature(item)) for name, item in value.items())
    return type(value), (value if isinstance(value, Hashable) else id(value))


class Accelerated(nn.Module):
    """A network over all of time; parameters, buffers and modules are the network's own. See `accelerate`."""

    training = property(
        lambda self: self._over_time.net.training, lambda self, mode: setattr(self._over_time.net, "training", mode)
    )

    def __init__(self, net: nn.Module, engine: str):
        object.__setattr__(self, "_over_time", OverTime(net, engine=engine))
        training = net.training
        super().__init__()  # sets it
        self.training = training
        for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            object.__setattr__(self, name, getattr(net, name))

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Run the network: frames [T, B, ...], or what its own loop over time takes."""
        if options:  # the frames come first, also where they are given by their name
            bound = inspect.signature(self._over_time.net.forward).bind(*inputs, **options)
            inputs, options = bound.args, bound.kwargs
        refuse_export()
        if torch.compiler.is_dynamo_compiling():
            from snn_helpers.over_time.uncompiled import run_uncompiled

            return run_uncompiled(self._over_time, *inputs, **options)
        return self._over_time.run(*inputs, **options)

    @property
    def over_time(self) -> OverTime:
        """What runs the network."""
        return self._over_time

    def explain(self) -> str:
        """Say for each layer what ran it in the last call, and what would make it faster."""
        return self._over_time.explain()


def over_time(net: nn.Module, engine: str = "auto") -> nn.Module:
    """Return a network that takes frames [T, B, ...]: accelerated if it is one step, else itself.

    It is one step if all its neurons keep their state, and it is not accelerated or one of ours.
    """
    neurons = [module for module in net.modules() if layers.is_spiking(module)]
    whole = any(layers.takes_all_time(module) or isinstance(module, Accelerated) for module in net.modules())
    takes_time = whole or isinstance(getattr(net, "over_time", None), OverTime)
    if takes_time or not neurons or not all(neuron.init_hidden for neuron in neurons):
        return net
    return accelerate(net, engine)


def _check_module(net: Any) -> None:
    if not isinstance(net, nn.Module):
        raise TypeError(f"`net` must be an nn.Module, a network and no class of one; got {net!r}.")


def runner_of(net: nn.Module) -> OverTime:
    """Return what runs, or could run, a network over time, for example to ask it for `drives` and `sizes`."""
    _check_module(net)
    net = over_time(net)
    return net.over_time if isinstance(getattr(net, "over_time", None), OverTime) else accelerate(net).over_time


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
    net = getattr(net, "_orig_mod", net)  # what torch.compile has wrapped
    if isinstance(net, Accelerated):
        return net
    _check_module(net)
    if not any(layers.is_spiking(module) or layers.takes_all_time(module) for module in net.modules()):
        raise ValueError(f"{type(net).__name__} has no spiking layer: neither neurons of snn_helpers nor of snnTorch.")
    return Accelerated(net, engine)
