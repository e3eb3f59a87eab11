"""One time step as a graph of torch.export or ONNX: frame and states in, spikes and states out, for any batch."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_leaves

from snn_helpers._files import whole_file
from snn_helpers._paths import user_path
from snn_helpers.engine import Neuron
from snn_helpers.exchange.reading import NUM_STEPS, existing_file, need, read_step, without_surrogate
from snn_helpers.neurons import as_neuron
from snn_helpers.over_time import evaluating, is_spiking, layer_name
from snn_helpers.over_time.fold import name_of
from snn_helpers.over_time.program import Fixed, Now, Op, Program

_BATCHES = (7, 11)  # for which the step is read: sizes that follow these two are the batch's
_BATCH = object()  # stands for the batch's size among what operations take


def export_step(
    net: nn.Module, sample_shape: Sequence[int], num_steps: int = NUM_STEPS
) -> tuple[torch.export.ExportedProgram, list[str]]:
    """Export one time step of a network by `torch.export`, its states as inputs and outputs, for any batch size.

    Parameters
    ----------
    net : nn.Module
        One time step, or a network that runs one over time, by its own loop or by ours; in eval mode, dropout left out.
    sample_shape : sequence of int
        Shape of one frame without the batch, [C, H, W].
    num_steps : int
        Steps of a recording, over which a loop of the network's own must do the same in each.

    Returns
    -------
    ExportedProgram
        Of (frame [B, ...], *states) to (spikes, membranes where the network returns them, *next states), float32. All
        states start as zeros; `torch.export.save` writes it, `.module()` runs it.
    list of str
        Names of the states.

    Raises
    ------
    ValueError
        If the step cannot be read, or a layer of neurons has no equation here.

    Examples
    --------
    >>> from snn_helpers import Leaky
    >>> program, names = export_step(nn.Sequential(nn.Linear(4, 3), Leaky(init_hidden=True, output=True)), (4,))
    >>> names
    ['1.spk', '1.mem']
    >>> spk, mem, *states = program.module()(torch.ones(5, 4), *[torch.zeros(5, 3) for _ in names])
    >>> spk.shape, len(states)
    (torch.Size([5, 3]), 2)
    """
    program, step = _export(net, sample_shape, num_steps)
    return program, step.names


def _export(net: nn.Module, sample_shape: Sequence[int], num_steps: int) -> tuple[torch.export.ExportedProgram, _Step]:
    (net, program), (_, other) = (read_step(net, sample_shape, batch, num_steps) for batch in _BATCHES)
    for name, value in net.state_dict().items():
        if not value.isfinite().all():
            raise ValueError(f"{name}: holds numbers that are not finite; a graph of them would answer nothing.")
    step = _Step(net, program, other)
    frame = torch.zeros(_BATCHES[0], *sample_shape)
    inputs = (frame, *step.zeros(frame))
    free = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    with evaluating(net), _quiet():
        exported = torch.export.export(
            step.eval(), inputs, dynamic_shapes={"frame": free[0], "states": free[1:]}, strict=False
        )
    return exported, step


def to_onnx(
    net: nn.Module, sample_shape: Sequence[int], path: str | os.PathLike, num_steps: int = NUM_STEPS
) -> list[str]:
    """Write one time step of a network to an ONNX file.

    Parameters
    ----------
    net : nn.Module
        One time step, or a network that runs one over time, by its own loop or by ours; in eval mode, dropout left out.
    sample_shape : sequence of int
        Shape of one frame without the batch, [C, H, W].
    path : path
        The file.
    num_steps : int
        Steps of a recording, over which a loop of the network's own must do the same in each.

    Returns
    -------
    list of str
        Names of the states. The graph takes "frame" [B, ...], float32, and these; it returns "spk", "mem" where the
        network returns membranes, and each state's next value, "next_" before its name. All states start as zeros; the
        graph says the shape of each. Any B goes.

    Raises
    ------
    ValueError
        If the step cannot be read, or a layer of neurons has no equation here.
    ImportError
        If the packages onnx and onnxscript are not installed.
    """
    for package in ("onnx", "onnxscript"):
        need(package, "ONNX")
    program, step = _export(net, sample_shape, num_steps)
    with _quiet():
        made = torch.onnx.export(
            program,
            input_names=["frame", *step.names],
            output_names=[*step.answers, *(f"next_{name}" for name in step.names)],
            dynamo=True,
            verbose=False,
        )
    with whole_file(user_path(path)) as part:
        made.save(str(part), external_data=False)
    return step.names


def run_onnx(path: str | os.PathLike, frames: Any) -> list[np.ndarray]:
    """Run a file of `to_onnx` over all steps in onnxruntime, from states of zero.

    Parameters
    ----------
    path : path
        The file.
    frames : Tensor or ndarray [T, B, ...]
        What its steps take.

    Returns
    -------
    list of ndarray [T, B, ...]
        Spikes and, where the graph gives them, membranes.

    Raises
    ------
    ValueError
        If there is no such file, it is no graph of a step, or the frames are of another shape.
    """
    runtime = need("onnxruntime", "Running ONNX")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    path = existing_file(path)
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as err:  # onnxruntime has a class of its own for each
        raise ValueError(f"{path}: this is no ONNX graph, or it is damaged ({str(err).splitlines()[0]}).") from err
    frames = np.asarray(frames, dtype=np.float32)
    shape = session.get_inputs()[0].shape[1:]
    if frames.ndim != len(shape) + 2 or list(frames.shape[2:]) != shape or not len(frames):
        raise ValueError(
            f"`frames` must be [T, B, {', '.join(map(str, shape))}] of one step or more; got {list(frames.shape)}."
        )
    given = {item.name: np.zeros((frames.shape[1], *item.shape[1:]), np.float32) for item in session.get_inputs()[1:]}
    answers = [item.name for item in session.get_outputs() if not item.name.startswith("next_")]
    steps = []
    for frame in frames:
        out = dict(zip([item.name for item in session.get_outputs()], session.run(None, {"frame": frame, **given})))
        given = {name: out[f"next_{name}"] for name in given}
        steps.append([out[name] for name in answers])
    return [np.stack(part) for part in zip(*steps)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what torch's exporter prints, and warns and logs of parts of its own."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


class _Step(nn.Module):
    """A step as a function of its states: the neurons by their equations, all else as the network has it."""

    def __init__(self, net: nn.Module, program: Program, other: Program):
        super().__init__()
        self.net = net
        self._steps, self._constants = program.steps, program.constants
        self._args = [_of_any_batch(*pair) for pair in zip(program.steps, other.steps, strict=True)]
        self._refuse_sized(program, other)
        self._output = program.output
        self._neurons: dict[int, Neuron] = {}
        self.names: list[str] = []
        for index, op in enumerate(self._steps):
            module = net.get_submodule(op.target) if op.kind == "call_module" else None
            if module is not None and is_spiking(module):
                self._neurons[index] = _plain(op.target, module)
                self.names += [f"{layer_name(op.target)}.{state}" for state in ("spk", *self._neurons[index].states)]
        leaves = [self._steps[leaf.index] for leaf in tree_leaves(program.output) if isinstance(leaf, Now)]
        kinds = [("membrane" if _is_membrane(op, self._steps) else "other") for op in leaves[:2]]
        if not kinds or kinds[0] == "membrane":
            raise ValueError(f"{type(net).__name__}: what it returns first are no spikes.")
        has_mem = isinstance(leaves[0].val, tuple) or kinds[1:] == ["membrane"]
        self.answers = ["spk", "mem"] if has_mem else ["spk"]

    def _refuse_sized(self, program: Program, other: Program) -> None:
        """Refuse a tensor that the call made for so many recordings."""
        for op, there in zip(program.steps, other.steps):
            made = [
                [one.constants[ref.node.target].shape for ref in op.references if _is_made(ref, one)]
                for one, op in ((program, op), (other, there))
            ]
            if made[0] != made[1]:
                raise ValueError(
                    f"`{name_of(op)}`{op.line}: takes a tensor whose shape follows from the batch's size, which a "
                    "graph for any batch cannot say."
                )

    def zeros(self, frame: Tensor) -> list[Tensor]:
        """Return states before the first step."""
        found = []
        for index, neuron in self._neurons.items():
            val = self._steps[index].val
            shape = (val[0] if isinstance(val, tuple) else val).shape
            found += [frame.new_zeros(shape) for _ in ("spk", *neuron.states)]
        return found

    def forward(self, frame: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Compute one step: return spikes, membranes where there are any, and the next states."""
        values: list[Any] = []
        waiting, after = list(states), []

        def now(item: Any) -> Any:
            if item is _BATCH:
                return frame.shape[0]
            if isinstance(item, Now):
                return values[item.index]
            if isinstance(item, Fixed):
                target = item.node.target
                return self._constants[target] if target in self._constants else _at(self.net, target)
            return item

        for index, op in enumerate(self._steps):
            args, kwargs = (map_aggregate(part, now) for part in self._args[index])
            neuron = self._neurons.get(index)
            if op.kind == "series":
                values.append(frame)
            elif neuron is not None:
                spk, *state = (waiting.pop(0) for _ in ("spk", *neuron.states))
                spk, state = neuron.step(args[0], spk, state, _numbers(neuron, args[0], spk))
                after += [spk, *state]
                mem = state[neuron.states.index("mem")]
                values.append((spk, *[None] * (len(op.val) - 2), mem) if isinstance(op.val, tuple) else spk)
            else:
                values.append(_call(self.net, op, args, kwargs))
        answer = [leaf for leaf in tree_leaves(map_aggregate(self._output, now)) if isinstance(leaf, Tensor)]
        return (*answer[: len(self.answers)], *after)


def _is_made(ref: Any, program: Program) -> bool:
    return isinstance(ref, Fixed) and ref.node.target in program.constants


def _is_membrane(op: Op, steps: list[Op]) -> bool:
    """Whether an operation takes another part of what neurons return than their spikes."""
    return name_of(op) == "getitem" and isinstance(steps[op.args[0].index].val, tuple) and op.args[1] != 0


def _plain(name: str, module: nn.Module) -> Neuron:
    """Return a layer of neurons that fires without a surrogate, of which ONNX knows nothing."""
    neuron = as_neuron(module)
    if isinstance(neuron, str):
        raise ValueError(f"{name}: cannot be said in ONNX: {neuron}.")
    return without_surrogate(neuron)


def _numbers(neuron: Neuron, cur: Tensor, spk: Tensor) -> dict[str, Tensor]:
    numbers = neuron.tensors(cur)
    if neuron.recurrence is not None:
        numbers["drive"] = nn.functional.linear(spk, neuron.recurrence.weight, neuron.recurrence.bias)
    return numbers


def _of_any_batch(op: Op, other: Op) -> tuple[Any, Any]:
    """Return what an operation takes, with `_BATCH` in place of the batch's size."""

    def sized(here: Any, there: Any) -> Any:
        if isinstance(here, slice):
            return slice(*(sized(*pair) for pair in zip(*((s.start, s.stop, s.step) for s in (here, there)))))
        if isinstance(here, tuple | list):
            return type(here)(sized(*pair) for pair in zip(here, there, strict=True))
        if isinstance(here, dict):
            return {key: sized(value, there[key]) for key, value in here.items()}
        if not isinstance(here, int | float | complex) or here == there:
            return here
        if (here, there) != _BATCHES or type(here) is not int:
            raise ValueError(
                f"`{name_of(op)}`{op.line}: takes a number that follows from the batch's size, which a graph for any "
                "batch cannot say."
            )
        return _BATCH

    return sized(op.args, other.args), sized(op.kwargs, other.kwargs)


def _call(net: nn.Module, op: Op, args: Any, kwargs: Any) -> Any:
    if op.kind == "call_module":
        return net.get_submodule(op.target)(*args, **kwargs)
    return getattr(args[0], op.target)(*args[1:], **kwargs) if op.kind == "call_method" else op.target(*args, **kwargs)


def _at(root: Any, path: str) -> Any:
    for name in path.split("."):
        root = getattr(root, name)
    return root
