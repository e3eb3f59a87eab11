"""What the ways out have in common: one step of a network as operations, norms folded, packages that may be missing."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snn_helpers._checks import check_int
from snn_helpers._paths import user_path
from snn_helpers.engine import Neuron
from snn_helpers.neurons import Delay
from snn_helpers.over_time import OverTime, device_of, evaluating, runner_of
from snn_helpers.over_time.fold import is_dropout, name_of
from snn_helpers.over_time.layers import DROPOUT_FUNCTIONS, DROPOUTS
from snn_helpers.over_time.program import Fixed, Now, Op, Program, is_neuron_op
from snn_helpers.over_time.runner import other_hooks

NUM_STEPS = 32  # of a network's own loop over time that are held against each other, unless another number is given
_FEW = 3  # steps that are enough to read one; that later ones are as they are is to be seen


def need(package: str, what: str) -> ModuleType:
    """Return a package of the extra `exchange`, loaded on first use, or say how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as err:
        raise ImportError(f"{what} needs the package {package}. Run `pip install 'snn_helpers[exchange]'`.") from err


def existing_file(path: str | os.PathLike, error: type[ValueError] = ValueError) -> Path:
    """Return the path of a file that is there, `~` replaced; raise the error where there is none."""
    path = user_path(path)
    if not path.is_file():
        raise error(f"{path}: {'is a folder; name a file in it' if path.is_dir() else 'there is no such file'}.")
    return path


def read_step(
    net: nn.Module, sample_shape: Sequence[int], batch: int = 1, num_steps: int = NUM_STEPS
) -> tuple[nn.Module, Program]:
    """Return the network of one step behind `net`, and its operations in eval mode.

    Parameters
    ----------
    net : nn.Module
        Any that `accelerate` runs as one time step, or as its own loop over frames, which does the same in all steps.
    sample_shape : sequence of int
        Shape of one frame without the batch, [C, H, W].
    batch : int
        Recordings B for which it is traced; sizes of this number in the operations are B's.
    num_steps : int
        Steps of a recording, T. A network's own loop is read over all of them, and over one more.

    Raises
    ------
    TypeError, ValueError
        If the shape is none, the step cannot be read, a later one is another, or it does what no copy of its layers
        would do: a layer of neurons takes two steps in one, spikes are dropped at random in eval mode, too, or a hook
        may change values.
    """
    if not isinstance(sample_shape, Sequence | torch.Size) or not len(sample_shape):
        raise TypeError(f"`sample_shape` must be the shape of one frame, such as (2, 34, 34); got {sample_shape!r}.")
    shape = [check_int(f"sample_shape[{place}]", size, low=1) for place, size in enumerate(sample_shape)]
    num_steps = max(2, check_int("num_steps", num_steps, low=1))
    runner = runner_of(net)
    net, hooked = runner.net, other_hooks(runner.net.modules())
    if hooked:
        raise ValueError(f"{type(net).__name__}: a hook on {hooked} may change what it computes. Remove it first.")
    with evaluating(net):
        frame = torch.zeros((), device=device_of(net)).expand(1, batch, *shape)
        try:
            program = _step_of(runner, frame, num_steps)
        except ValueError as err:
            if "cannot be read: RuntimeError" not in str(err):
                raise
            reason = str(err).partition("RuntimeError: ")[2].rstrip(".")
            raise ValueError(
                f"`sample_shape` {tuple(shape)}: {type(net).__name__} does not run on such a frame ({reason}). Give "
                "the shape of the frames that it was built for, without the batch."
            ) from err
        called = [op.target for op in program.steps if is_neuron_op(op, net)]
        twice = next((name for name in called if called.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice}: is called twice in one step, so that its neurons take two.")
        if any(is_dropout(op, net) for op in program.steps):
            raise ValueError(f"{type(net).__name__}: drops values at random in eval mode, too; say `training=`.")
    delay = next((name for name, module in net.named_modules() if isinstance(module, Delay)), None)
    if delay is not None:
        raise ValueError(f"{delay}: delays spikes by steps (Delay), for which no format here has a word.")
    return net, program


def _step_of(runner: OverTime, frame: Tensor, num_steps: int) -> Program:
    """Return the step of a network; its own loop over time does the same in all `num_steps`, and does so in one more.

    Traces are compared, not spikes: an input that makes no spikes would hide a step that differs.
    """

    def read(steps: int) -> Program:
        return runner.step_program(frame.expand(steps, *frame.shape[1:]))

    def is_read(steps: int) -> bool:
        with contextlib.suppress(ValueError):
            return bool(read(steps))
        return False

    name, longer = type(runner.net).__name__, num_steps + 1
    if not runner.loops(frame.expand(_FEW, *frame.shape[1:])):
        return read(_FEW)
    try:
        program, other = read(num_steps), read(longer)
    except ValueError as err:
        alike, unlike = _FEW, longer
        if not is_read(alike):
            raise
        while unlike - alike > 1:
            middle = (alike + unlike) // 2
            alike, unlike = (middle, unlike) if is_read(middle) else (alike, middle)
        raise ValueError(
            f"{name}: step {unlike} of its own loop over time does not do what the steps before do."
        ) from err
    for op in program.steps:
        for ref in op.references if op.kind != "series" else ():
            if isinstance(ref, Fixed) and ref.node.op != "get_attr":
                before = "what was computed before the loop over time"
                what = "the input of all steps" if ref.node.op == "placeholder" else before
                raise ValueError(f"`{name_of(op)}`{op.line}: takes {what}.")
    # A loop of a number of steps of its own cannot be read from few.
    for steps, one in ((longer, other), *([(_FEW, read(_FEW))] if is_read(_FEW) else [])):
        if _content(program) != _content(one):
            raise ValueError(
                f"{name}: what a step of its own loop over time does depends on their number: of {num_steps} it does "
                f"something else than of {steps}."
            )
    return program


def _content(program: Program) -> list:
    """Return what a program does, to be compared with another's: tensors that the call made by their numbers."""

    def told(ref: Any) -> Any:
        if not isinstance(ref, Fixed):
            return ref
        made = program.constants.get(ref.node.target)
        return ref.node.target if made is None else (made.dtype, made.shape, tuple(made.flatten().tolist()))

    def content(item: Any) -> Any:
        if isinstance(item, list | tuple):
            return type(item).__name__, *map(content, item)
        if isinstance(item, dict):
            return {key: content(value) for key, value in item.items()}
        return told(item)

    return [(op.kind, op.target, content(op.args), content(op.kwargs)) for op in program.steps] + [program.output]


def role_of(op: Op, steps: list[Op], net: nn.Module) -> str | None:
    """Return what an operation without numbers of its own does to what it takes.

    Returns
    -------
    str or None
        "spikes": the first that neurons return; "sum": of two values of one shape; "flat": [B, ...] to [B, N]; "same":
        nothing, in eval mode; None: something else.
    """
    taken, name = [steps[item.index].val for item in op.args if isinstance(item, Now)], name_of(op)
    if op.kind == "call_module":
        return "same" if isinstance(net.get_submodule(op.target), (nn.Identity, *DROPOUTS)) else None
    if name == "getitem" and isinstance(taken[0], tuple):
        return "spikes" if op.args[1] == 0 else None
    if not taken or not all(isinstance(value, Tensor) for value in taken):
        return None
    if name in ("add", "iadd") and not op.kwargs:
        return "sum" if len(taken) == 2 and taken[0].shape == taken[1].shape else None
    if name in ("flatten", "view", "reshape") and len(taken) == 1:
        return "flat" if op.val.shape == (len(taken[0]), taken[0][0].numel()) else None
    return "same" if name in (*DROPOUT_FUNCTIONS, "contiguous", "clone", "detach", "float") else None


def users(program: Program) -> list[list[Op]]:
    """Return for each operation of a step those that take its result."""
    found: list[list[Op]] = [[] for _ in program.steps]
    for op in program.steps:
        for ref in op.references:
            if isinstance(ref, Now):
                found[ref.index].append(op)
    return found


def affine_of(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return scale and shift [C] of a normalisation in eval mode, float64: it computes cur scale + shift.

    Raises
    ------
    ValueError
        If it has no running statistics.
    """
    if norm.running_mean is None:
        raise ValueError("it has no running statistics, so that what it computes depends on the batch")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.detach().double()


def folded(weights: nn.Module, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution or linear layer with the normalisation after it, in eval mode, in them.

    Computed in float64 and rounded once, so that currents differ from the two layers' by rounding.

    Raises
    ------
    ValueError
        If the normalisation has no running statistics.
    """
    scale, shift = affine_of(norm)
    weight, bias = weights.weight.detach(), 0 if weights.bias is None else weights.bias.detach().double()
    scaled = weight.double() * by_output(scale, weight.dim())
    return scaled.to(weight.dtype), (bias * scale + shift).to(weight.dtype)


def by_output(values: Tensor, axes: int) -> Tensor:
    """Return values [outputs] as [outputs, 1, ...] of so many axes, to meet weights."""
    return values.view(-1, *[1] * (axes - 1))


def without_surrogate(neuron: Neuron) -> Neuron:
    """Return neurons that fire by a plain comparison, for what computes no gradients."""
    return dataclasses.replace(neuron, surrogate=_above_zero, slope=None)


def _above_zero(excess: Tensor) -> Tensor:
    return (excess > 0).to(excess.dtype)
