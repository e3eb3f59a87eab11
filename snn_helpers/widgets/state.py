"""What a person can choose in a widget: names, ranges, defaults; plain values that a notebook parameter can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn_helpers._checks import check_choice, check_float, check_int


@dataclass(frozen=True)
class Number:
    """A number in [low, high]; `whole` asks for an int."""

    default: float
    low: float
    high: float
    whole: bool = False

    def check(self, name: str, value: Any) -> float:
        """Return the value, checked."""
        if self.whole:
            return check_int(name, value, int(self.low), int(self.high))
        return check_float(name, value, self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    default: Any
    choices: Sequence

    def check(self, name: str, value: Any) -> Any:
        """Return the value, checked; a number may come as int or float."""
        if all(isinstance(choice, str) for choice in self.choices):
            return check_choice(name, value, self.choices)
        for choice in self.choices:
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return choice
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, self.choices))}; got {value!r}.")


@dataclass(frozen=True)
class Flag:
    """Yes or no."""

    default: bool

    def check(self, name: str, value: Any) -> bool:
        """Return the value, checked."""
        if not isinstance(value, bool):
            raise TypeError(f"`{name}` must be True or False; got {value!r}.")
        return value


@dataclass(frozen=True)
class Numbers:
    """A list of numbers in [low, high], at most `most` of them."""

    default: Sequence[float]
    low: float
    high: float
    most: int
    whole: bool = False

    def check(self, name: str, value: Any) -> list:
        """Return the values as a list, checked."""
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > self.most:
            raise ValueError(f"`{name}` must be a list of at most {self.most} numbers; got {value!r}.")
        one = Number(0, self.low, self.high, self.whole)
        return [one.check(f"{name}[{place}]", item) for place, item in enumerate(value)]


@dataclass(frozen=True)
class Text:
    """A text of at most `most` signs."""

    default: str
    most: int = 200

    def check(self, name: str, value: Any) -> str:
        """Return the value, checked."""
        if not isinstance(value, str):
            raise TypeError(f"`{name}` must be a text; got {value!r}.")
        if len(value) > self.most:
            raise ValueError(f"`{name}` must have at most {self.most} signs; got {len(value)}.")
        return value


Field = Number | Choice | Flag | Numbers | Text


def check_state(state: Mapping[str, Any] | None, fields: Mapping[str, Field]) -> dict[str, Any]:
    """Return a whole state: what is given, checked, and defaults for the rest.

    Parameters
    ----------
    state : dict or None
        A widget's `.state`, or a part of one.
    fields : dict of str to Field
        What can be chosen.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, or a value is of the wrong type or out of range.

    Examples
    --------
    >>> check_state({"speed": 1}, {"speed": Choice(0.1, (1.0, 0.1)), "time_ms": Number(0.0, 0, 300)})
    {'speed': 1.0, 'time_ms': 0.0}
    >>> check_state({"sped": 1}, {"speed": Choice(0.1, (1.0, 0.1))})
    Traceback (most recent call last):
    ...
    ValueError: `state` must be one of 'speed'; got 'sped'. Did you mean 'speed'?
    """
    if state is not None and not isinstance(state, Mapping):
        raise TypeError(f"`state` must be a dict, as a widget's `.state` gives it; got {state!r}.")
    for name in state or {}:
        check_choice("state", name, list(fields))
    given = {**{name: field.default for name, field in fields.items()}, **(state or {})}
    return {name: field.check(f"state['{name}']", given[name]) for name, field in fields.items()}
