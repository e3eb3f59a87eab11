"""Exercises: what every check shares, and `solved`, which decides whose function a notebook goes on with.

The exercises of a notebook stand in `checks_<number>.py`: each solution, and below it its check, which asks the
reader's function and refuses what is wrong::

    def double(number):
        return 2 * number

    @exercise(double)
    def check_double(answer):
        \"\"\"Check that `double` doubles.\"\"\"
        found = ask(answer, 3)
        refuse_if(found == 9, "this squares")
        refuse_if(found != 6, f"twice 3 is 6, not {found}")
        return "twice 3 is 6"

In the notebook the reader completes `def double`, and `double = lessons.solved("double", double)` follows. The same
solution stands in the notebook as text, in `<details>`; a test compares the two.
"""

from __future__ import annotations

import copy
import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np

_SOLUTIONS: dict[str, tuple[Callable, Callable[[Callable], str]]] = {}  # name: solution, check


class WrongAnswer(AssertionError):
    """An answer that fails a check; the message names the likely mistake."""


class _NotSolvedYet(Exception):
    """The function returned None: it is still a stub."""


def exercise(solution: Callable) -> Callable[[Callable[[Callable], str]], Callable[[Callable], str]]:
    """Register the check it decorates, under the name of `solution`, as the exercise of that name.

    The check takes a function, raises `WrongAnswer` where it is wrong, and returns what a right one has shown.
    """

    def register(check: Callable[[Callable], str]) -> Callable[[Callable], str]:
        @functools.wraps(check)
        def checked(answer: Callable) -> str:
            if not callable(answer):
                raise WrongAnswer(f"hand over the function itself, without calling it; got {answer!r}.")
            return check(answer)

        name, module = solution.__name__, solution.__module__
        if name in _SOLUTIONS and _SOLUTIONS[name][0].__module__ != module:
            other = _SOLUTIONS[name][0].__module__
            raise ValueError(f"two exercises are named {name!r}: in {other} and in {module}; rename one of them.")
        _SOLUTIONS[name] = (solution, checked)
        return checked

    return register


def exercises() -> dict[str, tuple[Callable, Callable[[Callable], str]]]:
    """Return {name: (solution, check)} of all exercises of the series."""
    from snn_helpers import lessons

    for module in pkgutil.iter_modules(lessons.__path__):
        if module.name.startswith("checks_"):
            importlib.import_module(f"{lessons.__name__}.{module.name}")
    return dict(_SOLUTIONS)


def solved(name: str, answer: Callable) -> Callable:
    """Check the reader's function; return it if it is right, else the package's, with which the notebook goes on.

    Parameters
    ----------
    name : str
        Of the exercise, which is the name of the function.
    answer : callable
        What the reader wrote. A stub that returns None gets "Not solved yet", a wrong one a message that names the
        likely mistake; an exception of its own is shown in one line.

    Returns
    -------
    callable
        `answer` where it passes the check, else the package's solution.

    Raises
    ------
    ValueError
        If there is no exercise of that name.
    """
    known = exercises()
    if name not in known:
        raise ValueError(f"there is no exercise {name!r}; there are {', '.join(sorted(known))}.")
    solution, check = known[name]
    try:
        print(f"Right: {check(answer)}. The notebook goes on with your `{name}`.")
    except _NotSolvedYet:
        print(f"Not solved yet: replace the ... in `{name}` and run this cell again. Until then the package's runs.")
        return solution
    except WrongAnswer as mistake:
        print(f"Not right yet: {str(mistake).rstrip('.')}. Until it is, the package's `{name}` runs.")
        return solution
    except Exception as error:  # whatever the reader's code raises
        words = f"{type(error).__name__}: {error}".rstrip(".")
        print(f"Not right yet: `{name}` raised {words}. Until it is, the package's runs.")
        return solution
    return answer


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
