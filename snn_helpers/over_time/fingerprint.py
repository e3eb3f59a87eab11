"""What a trace of a network depends on beside its input: when this changes, the network is traced anew."""

from __future__ import annotations

import functools
import operator
import types
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from snn_helpers.neurons import HiddenState

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_OF_TORCH = frozenset(vars(nn.Module())) - {"training"}
_BY_IDENTITY = (types.FunctionType, types.MethodType, type)
HOOKS = ("forward", "forward_pre", "backward", "backward_pre")
_LIBRARIES = ("torch", "snntorch")
_MISSING = object()
_SMALL = 4096  # bytes


class Modules(Protocol):
    """What knows modules by their paths: a network, or its snapshot."""

    def get_submodule(self, target: str, /) -> nn.Module:
        """Return the module at a path."""
        ...


class NotRead:
    """What a network may hold of which no trace depends, since it only carries the network out."""


def fingerprint(net: nn.Module) -> tuple:
    """Return what a trace depends on beside its input.

    These are the modules, their modes and attributes, shapes and types of their tensors, and the variables outside that
    their code reads: plain values, functions, tensors, and what lists, dicts and objects hold of them.
    """
    modules = tuple((path, *_of_module(module)) for path, module in net.named_modules(remove_duplicate=False))
    classes = dict.fromkeys(type(module) for module in net.modules())
    return modules, tuple(_value(space.get(name, _MISSING)) for cls in classes for space, name in _outside(cls))


def _of_module(module: nn.Module) -> tuple:
    attributes = tuple((k, _value(v)) for k, v in _own(module))
    tensors = tuple((k, *_kind(p)) for k, p in module._parameters.items() if p is not None)
    kept = tuple(
        (k, *_kind(b))
        for k, b in module._buffers.items()
        if b is not None and k not in module._non_persistent_buffers_set
    )
    return type(module), module.training, attributes, tensors, kept


def _own(module: nn.Module) -> list[tuple[str, Any]]:
    """Return a module's attributes of its own; a tensor among them is None, since it is looked up in every run."""
    kept = ("hidden",) if isinstance(module, HiddenState) else ()
    own = ((k, v) for k, v in vars(module).items() if k not in _OF_TORCH and k not in kept)
    return [(k, None if isinstance(v, Tensor) else v) for k, v in own]


class Snapshot:
    """A network as it was: whether it still is as it was is seen much faster than its fingerprint is taken.

    Everything is compared by identity; only what can change and stay the same object is read anew. So a network that
    is said to be as it was has the same fingerprint, the same modules and the same hooks; the reverse does not hold.

    Attributes
    ----------
    fingerprint : tuple
        See `fingerprint`.
    get_submodule : callable
        As `nn.Module.get_submodule`.
    """

    def __init__(self, net: nn.Module):
        self.fingerprint = fingerprint(net)
        self.get_submodule = dict(net.named_modules(remove_duplicate=False)).__getitem__
        self._modules = list(net.modules())
        self._parts = [_parts(module) for module in self._modules]
        self._global_hooks = _global_hooks()
        tensors = [t for module in self._modules for t in (*module._parameters.values(), *module._buffers.values())]
        self._tensors = [(tensor, _kind(tensor)) for tensor in tensors if tensor is not None]
        classes = dict.fromkeys(map(type, self._modules))
        read = [(space, name, space.get(name, _MISSING)) for cls in classes for space, name in _outside(cls)]
        self._outside = read
        values = [value for module in self._modules for _, value in _own(module)] + [value for *_, value in read]
        self._changeable = [(value, _value(value)) for value in values if not _is_settled(value)]

    def holds(self, net: nn.Module) -> bool:
        """Whether a network is the one that it was."""
        return (
            net is self._modules[0]
            and all(_same(_parts(module), parts) for module, parts in zip(self._modules, self._parts))
            and _same(_global_hooks(), self._global_hooks)
            and all(_kind(tensor) == kind for tensor, kind in self._tensors)
            and all(space.get(name, _MISSING) is value for space, name, value in self._outside)
            and all(_value(value) == read for value, read in self._changeable)
        )


def _parts(module: nn.Module) -> tuple:
    """Return all objects that a module consists of, but for what neurons keep of their last call."""
    own = module.__dict__
    if isinstance(module, HiddenState):
        own = {**own, "hidden": None}
    parameters, buffers, modules = own["_parameters"], own["_buffers"], own["_modules"]
    return (
        type(module), *own, *own.values(), *own["_non_persistent_buffers_set"],
        *parameters, *parameters.values(), *buffers, *buffers.values(), *modules, *modules.values(),
        *own["_forward_hooks"].values(), *own["_forward_pre_hooks"].values(),
        *own["_backward_hooks"].values(), *own["_backward_pre_hooks"].values(),
    )  # fmt: skip


def _global_hooks() -> tuple:
    return tuple(hook for kind in HOOKS for hook in getattr(nn.modules.module, f"_global_{kind}_hooks").values())


def _same(now: tuple, then: tuple) -> bool:
    return len(now) == len(then) and all(map(operator.is_, now, then))


def _kind(tensor: Tensor) -> tuple:
    return _shape(tensor), tensor.dtype


def _is_settled(value: Any) -> bool:
    """Whether a value of which `_value` tells anything stays as it is while it is the same object."""
    if isinstance(value, tuple):
        return all(map(_is_settled, value))
    if isinstance(value, Tensor | np.ndarray | list | dict | set | frozenset):
        return False
    return isinstance(value, (*_PLAIN, nn.Module, NotRead, *_BY_IDENTITY)) or not hasattr(value, "__dict__")


def _shape(tensor: Tensor) -> Any:
    """Return a tensor's shape; None before the first call of a lazy layer."""
    return None if isinstance(tensor, nn.parameter.UninitializedTensorMixin) else tensor.shape


def _value(value: Any, depth: int = 3) -> Any:
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, Tensor):
        return id(value), None if value.is_inference() else value._version
    if isinstance(value, nn.Module):
        return id(value)
    if depth == 0 or isinstance(value, NotRead):
        return None
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.nbytes <= _SMALL else id(value)
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(_value(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return tuple((_value(k, depth - 1), _value(v, depth - 1)) for k, v in value.items())
    if isinstance(value, _BY_IDENTITY) or not hasattr(value, "__dict__"):
        return id(value) if callable(value) else None
    return id(value), _value(vars(value), depth - 1)


@functools.cache
def _outside(cls: type) -> tuple[tuple[dict, str], ...]:
    """Return the variables of their modules, and of the class itself, that the code of a class reads."""
    found: dict[tuple[int, str], tuple[dict, str]] = {}
    seen: set[types.CodeType] = set()
    for base in cls.__mro__:
        if base is object or base.__module__.partition(".")[0] in _LIBRARIES:
            continue
        for name, member in vars(base).items():
            if isinstance(member, types.FunctionType):
                _read(member, found, seen)
            elif isinstance(member, _PLAIN) and not name.startswith("__"):
                found[id(base), name] = (_ClassSpace(base), name)
    return tuple(found.values())


def _read(function: types.FunctionType, found: dict, seen: set) -> None:
    """Note what a function reads outside of itself, and the functions of the same module that it calls."""
    if function.__code__ in seen:
        return
    seen.add(function.__code__)
    space = function.__globals__
    for cell, name in zip(function.__closure__ or (), function.__code__.co_freevars):
        found[id(cell), name] = (_CellSpace(cell), name)
    for name in _names(function.__code__):
        if name in space and not isinstance(space[name], types.ModuleType | type):
            found[id(space), name] = (space, name)
            called = space[name]
            if isinstance(called, types.FunctionType) and called.__globals__ is space:
                _read(called, found, seen)


def _names(code: types.CodeType) -> set[str]:
    inner = (_names(const) for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*inner)


class _ClassSpace:
    """The attributes of a class, looked up when they are asked for."""

    def __init__(self, cls: type):
        self.cls = cls

    def get(self, name: str, default: Any) -> Any:
        return self.cls.__dict__.get(name, default)


class _CellSpace:
    """A variable of the function around."""

    def __init__(self, cell: types.CellType):
        self.cell = cell

    def get(self, name: str, default: Any) -> Any:
        try:
            return self.cell.cell_contents
        except ValueError:  # not set yet
            return default
