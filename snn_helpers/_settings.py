"""Settings: fields of frozen dataclasses that carry their help, their range and their scope, each said once.

Flags, notebook parameters, checks, rules of resuming and checkpoints are made from what a field carries.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

from snn_helpers._checks import check_choice, check_float, check_int
from snn_helpers._paths import user_path

SCOPES: Mapping[str, str] = {
    "model": "another value is another network: a checkpoint is good for its own value only",
    "run": "how a network is trained: a run that goes on keeps it, and a test of its network tells it",
    "data": "what a run reads: a run that goes on keeps it; a test may read other recordings",
    "test": "what is tested: a run that goes on keeps it; a test may choose again",
    "kept": "how the work is done: a run that goes on keeps it unless it is asked for another",
    "here": "where this process finds things: of this call, whatever a checkpoint says",
    "call": "what this call does and writes: never taken from a checkpoint",
}

KINDS = {"bool": bool, "int": int, "float": float, "str": str}


def setting(
    default: Any,
    help_text: str,
    *,
    scope: str,
    low: float | None = None,
    high: float | None = None,
    above: bool = False,
    choices: Collection[str] | Callable[[], Collection[str]] | None = None,
    names: Collection[str] | None = None,
    path: bool = False,
    bare: str | None = None,
) -> Any:
    """Describe a field of a dataclass of settings.

    Parameters
    ----------
    default : bool, int, float, str or None
        None where the field may be left out.
    help_text : str
        What stands in `--help`.
    scope : str
        Who owns the value, one of `SCOPES`: decides what happens to it when a run is resumed or tested.
    low, high, above
        Range of numbers, as for `check_float`.
    choices : collection of str, or function that returns one
        All that is allowed; a function where more may be registered.
    names : collection of str or None
        The text is "none", or some of these joined by commas, and reaches a network as a tuple.
    path : bool
        The text is a path.
    bare : str or None
        What the flag means where it is given without a value.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Settings:
    ...     width: int = setting(16, "channels", scope="model", low=1)
    >>> check_settings(Settings(width=0))
    Traceback (most recent call last):
    ...
    ValueError: `width` must be a whole number >= 1; got 0.
    """
    check_choice("scope", scope, SCOPES)
    told = {"help": help_text, "scope": scope, "low": low, "high": high, "above": above, "choices": choices}
    return dataclasses.field(default=default, metadata={**told, "names": names, "path": path, "bare": bare})


def check_class(cls: type) -> type:
    """Return a class of settings, after checking that it is a frozen dataclass, every field of it a `setting`.

    Raises
    ------
    TypeError
        If it is not; the message names the field.
    """
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        raise TypeError(f"settings must be a class with @dataclass(frozen=True); got {cls!r}.")
    for item in dataclasses.fields(cls):
        where = f"`{item.name}` of {cls.__qualname__}"
        if "scope" not in item.metadata:
            raise TypeError(f"{where} has no scope: write it as `setting(default, help, scope=...)`.")
        if kind_of(item) not in KINDS:
            raise TypeError(f"{where} must be of type {', '.join(KINDS)}, or one of them or None; got {item.type}.")
    return cls


def kind_of(item: dataclasses.Field) -> str:
    """Return the name of a field's type, without "or None"."""
    return (item.type.__name__ if isinstance(item.type, type) else str(item.type)).split(" ")[0]


def names_of(cls: type, *scopes: str) -> list[str]:
    """Return the names of a class's settings, or of those of some scopes."""
    return [item.name for item in dataclasses.fields(cls) if not scopes or item.metadata["scope"] in scopes]


def choices_of(item: dataclasses.Field) -> Collection[str] | None:
    """Return what a field may be at present, or None where that is not a list."""
    choices = item.metadata["choices"]
    return choices() if callable(choices) else choices


def split_names(text: str) -> tuple[str, ...]:
    """Return the names in a text that joins them by commas; none for "none"."""
    return () if text == "none" else tuple(name.strip() for name in text.split(","))


def check_settings(settings: Any) -> None:
    """Check all fields of a frozen dataclass of settings, and put plain numbers and paths in their places.

    Raises
    ------
    TypeError, ValueError
        If a value is of the wrong type or out of range, or an unknown choice.
    """
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if value is not None or item.default is not None:
            object.__setattr__(settings, item.name, _checked(item, value))


def _checked(item: dataclasses.Field, value: Any) -> Any:
    name, kind, told = item.name, kind_of(item), item.metadata
    if told["path"]:
        if not isinstance(value, (str, os.PathLike)):
            raise TypeError(f"`{name}` must be a path; got {value!r}.")
        return str(user_path(value))
    if told["choices"]:
        return check_choice(name, value, choices_of(item) or ())
    if kind == "int":
        return check_int(name, value, told["low"], told["high"])
    if kind == "float":
        return check_float(name, value, told["low"], told["high"], above=told["above"])
    if not isinstance(value, KINDS[kind]):
        raise TypeError(f"`{name}` must be {'True or False' if kind == 'bool' else 'text'}; got {value!r}.")
    for part in split_names(str(value)) if told["names"] else ():
        check_choice(name, part, (*told["names"], "none"))
    return value
