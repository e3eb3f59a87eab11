"""What a trace of a network depends on beside its input: when this changes, the network is traced anew."""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np
from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_OF_TORCH = frozenset(vars(nn.Module())) - {"training"}
_LIBRARIES = ("torch", "snntorch")
_MISSING = object()
_SMALL = 4096  # bytes


class NotRead:
    """What a network may hold of which no trace depends, since it only carries the network out."""


def fingerprint(net: nn.Module) -> tuple:
    """Return what a trace depends on beside its input.

    These are the modules, their modes and attributes, shapes and types of their tensors, and the variables outside that
    their code reads: plain values, functions, tensors, and what lists, dicts and objects hold of them.
    """
    return tuple((path, *_of_module(module)) for path, module in net.named_modules(remove_duplicate=False))


def _of_module(module: nn.Module) -> tuple:
    cls = type(module)
    # A tensor that is an attribute itself is looked up in every run.
    own = ((k, v) for k, v in vars(module).items() if k not in _OF_TORCH and k != "hidden")
    attributes = tuple((k, None if isinstance(v, Tensor) else _value(v)) for k, v in own)
    tensors = tuple((k, _shape(p), p.dtype) for k, p in module._parameters.items() if p is not None)
    kept = tuple(
        (k, _shape(b), b.dtype)
        for k, b in module._buffers.items()
        if b is not None and k not in module._non_persistent_buffers_set
    )
    outside = tuple(_value(space.get(name, _MISSING)) for space, name in _outside(cls))
    return cls, module.training, attributes, tensors, kept, outside


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
    if isinstance(value, list | tuple):
        return tuple(_value(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return tuple((_value(k, depth - 1), _value(v, depth - 1)) for k, v in value.items())
    if isinstance(value, types.FunctionType | types.MethodType | type) or not hasattr(value, "__dict__"):
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
