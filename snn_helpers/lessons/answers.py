"""What every check of an exercise shares: how it asks, how it refuses, and how it praises.

A check is a function of the reader's function, written as::

    @exercise
    def check_double(double):
        \"\"\"Check that `double` doubles.\"\"\"
        answer = ask(double, 3)
        refuse_if(answer == 9, "this squares")
        refuse_if(answer != 6, f"twice 3 is 6, not {answer}")
        return "twice 3 is 6"

On a stub that returns None it prints "Not solved yet" and returns False. On a wrong answer it raises `WrongAnswer`. On
a right one it prints "Right:" with what was shown, and returns True.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np


class WrongAnswer(AssertionError):
    """An answer that fails a check; the message names the likely mistake. Notebooks show it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"Not right yet: {self}"]


class _NotSolvedYet(Exception):
    """The function returned None: it is still a stub."""


def exercise(check: Callable[[Callable], str]) -> Callable[[Callable], bool]:
    """Make a check of a function that asks, refuses, and returns what a right answer has shown."""

    @functools.wraps(check)
    def checked(answer: Callable) -> bool:
        if not callable(answer):
            raise WrongAnswer(f"hand over the function itself, without calling it; got {answer!r}.")
        try:
            shown = check(answer)
        except _NotSolvedYet:
            print(f"Not solved yet: replace the ... in `{answer.__name__}`, then run this cell again.")
            return False
        print(f"Right: {shown}.")
        return True

    return checked


def ask(function: Callable, *arguments: Any) -> Any:
    """Call the reader's function on copies, so that it cannot change what it is compared with."""
    answer = function(*copy.deepcopy(arguments))
    if answer is None:
        raise _NotSolvedYet
    return answer


def refuse_if(fault: bool, message: str) -> None:
    """Raise `WrongAnswer` with a message if there is a fault."""
    if fault:
        raise WrongAnswer(message)


def as_numbers(name: str, answer: Any, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Return an answer as an array of float64, or refuse it: it must be numbers in that shape.

    Parameters
    ----------
    name : str
        What the message calls it.
    answer : number, sequence, ndarray or Tensor
        What the reader's function returned.
    shape : tuple of int
        What it must have; () for one number.
    """
    answer = answer.detach() if hasattr(answer, "detach") else answer
    try:
        numbers = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        raise WrongAnswer(f"{name} must be numbers; got {type(answer).__name__}.") from None
    wanted = _shape_text(shape)
    refuse_if(numbers.shape != shape, f"{name} must be {wanted}; got {_shape_text(numbers.shape)}.")
    return numbers


def as_parts(answer: Any, names: tuple[str, ...]) -> tuple:
    """Return an answer of several parts as a tuple, or refuse it: it must have one part for each name."""
    parts = answer if isinstance(answer, tuple | list) else (answer,)
    refuse_if(len(parts) != len(names), f"return {len(names)} things, {', '.join(names)}; got {len(parts)}.")
    return tuple(parts)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"of shape {list(shape)}" if shape else "one number"
