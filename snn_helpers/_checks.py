"""Argument checks with one message format: the name, the value, what was expected, what to do."""

from __future__ import annotations

import difflib
import math
import numbers
import sys
from collections.abc import Callable, Collection
from typing import Any


class NotANumberError(ValueError):
    """Numbers within a computation are NaN, which is no fault of who called it."""


def check_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """Return `value` if it is one of `choices`, else raise with the nearest choice.

    Parameters
    ----------
    name : str
        What the caller calls the argument; flags include their dashes.
    value : object
        The value given.
    choices : collection of str
        Everything that is allowed.

    Raises
    ------
    ValueError
        If `value` is not among `choices`.

    Examples
    --------
    >>> check_choice("norm", "batch", ("batch", "none"))
    'batch'
    >>> check_choice("norm", "bacth", ("batch", "none"))
    Traceback (most recent call last):
    ...
    ValueError: `norm` must be one of 'batch', 'none'; got 'bacth'. Did you mean 'batch'?
    """
    if isinstance(value, str) and value in choices:
        return value
    expected = ", ".join(repr(choice) for choice in choices)
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"`{name}` must be one of {expected}; got {value!r}.{hint}")


def check_int(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return `value` as a plain int, after checking that it is whole and in [low, high].

    Examples
    --------
    >>> check_int("num_steps", 25, low=1)
    25
    >>> check_int("num_steps", 0, low=1)
    Traceback (most recent call last):
    ...
    ValueError: `num_steps` must be a whole number >= 1; got 0.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if whole and (low is None or value >= low) and (high is None or value <= high):
        return int(value)
    error = ValueError if whole else TypeError
    raise error(f"`{name}` must be a whole number{_range_text(low, high)}; got {value!r}.")


def check_float(
    name: str, value: Any, low: float | None = None, high: float | None = None, *, above: bool = False
) -> float:
    """Return `value` as a plain float, after checking that it is finite and in range.

    Parameters
    ----------
    name : str
        What the caller calls the argument.
    value : float
        The value given.
    low, high : float or None
        Inclusive bounds; None leaves a side open.
    above : bool
        The lower bound itself is refused too.

    Raises
    ------
    TypeError
        If `value` is not a number.
    ValueError
        If `value` is not finite or is out of range.

    Examples
    --------
    >>> check_float("beta", 1, low=0, high=1)
    1.0
    >>> check_float("beta", 1.5, low=0, high=1)
    Traceback (most recent call last):
    ...
    ValueError: `beta` must be a number in [0, 1]; got 1.5.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if real and math.isfinite(value):
        too_low = low is not None and (value <= low if above else value < low)
        too_high = high is not None and value > high
        if not too_low and not too_high:
            return float(value)
    error = ValueError if real else TypeError
    raise error(f"`{name}` must be a number{_range_text(low, high, above=above)}; got {value!r}.")


def check_labels(labels: Any, num_classes: int, name: str = "labels", count: int | None = None) -> Any:
    """Return labels, an array or tensor [B], after checking that they are whole numbers in 0..num_classes - 1.

    Parameters
    ----------
    labels : ndarray or Tensor [B]
        Class of each recording.
    num_classes : int
        Classes of the network, its output neurons.
    name : str
        What the caller calls them.
    count : int or None
        How many recordings there are.

    Raises
    ------
    TypeError, ValueError
        If they are of another type or shape, or one of them is no class.

    Examples
    --------
    >>> import numpy as np
    >>> check_labels(np.array([3, 10]), 10)
    Traceback (most recent call last):
    ...
    ValueError: `labels` must be in 0..9, the classes of the network; got 3..10.
    """
    if labels.ndim != 1 or (count is not None and len(labels) != count):
        expected = "one a recording" if count is None else f"one a recording, {count}"
        raise ValueError(f"`{name}` must be {expected}; got shape {list(labels.shape)}.")
    if "int" not in str(labels.dtype):
        raise TypeError(f"`{name}` must be whole numbers; got {labels.dtype}.")
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if low < 0 or high >= num_classes:
        raise ValueError(f"`{name}` must be in 0..{num_classes - 1}, the classes of the network; got {low}..{high}.")
    return labels


def _range_text(low: float | None, high: float | None, *, above: bool = False) -> str:
    if low is not None and high is not None:
        return f" in {'(' if above else '['}{low}, {high}]"
    if low is not None:
        return f" {'>' if above else '>='} {low}"
    return "" if high is None else f" <= {high}"


def register(table: dict[str, Any], name: str, entry: Any, source: Callable[[Any], Any] = lambda entry: entry) -> None:
    """Enter something under a name; the same definition, run again, takes the place of its former self.

    Parameters
    ----------
    table : dict of str to object
        Changed in place.
    name : str
        The name.
    entry : object
        What stands under it.
    source : callable
        Entry to the class or function that a user wrote, by whose module and name two definitions are told apart.

    Raises
    ------
    ValueError
        If the name belongs to something else, or is no identifier.
    """
    if not (isinstance(name, str) and name.isidentifier()):
        raise ValueError(f"a name must consist of letters, digits and underscores; got {name!r}.")
    sources = [source(one) for one in (entry, table.get(name, entry))]
    if len({(_file_of(one), one.__qualname__) for one in sources}) > 1:
        places = " and ".join(sorted(f"{one.__module__}.{one.__qualname__}" for one in sources))
        raise ValueError(f"two definitions are called {name!r}: {places}. Give yours another name.")
    table[name] = entry


def _file_of(definition: Any) -> str:
    """Return the file of a class or function: a plugin may be imported, too, and is then a module by another name."""
    module = sys.modules.get(definition.__module__)
    return getattr(module, "__file__", None) or definition.__module__
