"""A guess made before a result is shown, held against it."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any


def reveal(what: str, guess: float | str | None, truth: float | str, unit: str = "") -> None:
    """Show the truth and, if something was guessed, how far the guess is from it.

    Parameters
    ----------
    what : str
        What was to be predicted, for example "Events lost at 10 ms".
    guess : number, str or None
        What the reader wrote; None for no guess. A guess of another type than the truth gets a message, not an error.
    truth : number or str
        What came out; a str for a choice.
    unit : str
        Of a number.

    Examples
    --------
    >>> reveal("Events lost at 10 ms", None, 21.5, "%")
    Events lost at 10 ms: 21.5 %.
    >>> reveal("Events lost at 10 ms", 15, 21.5, "%")
    Events lost at 10 ms: 21.5 %. You said 15 %: 6.5 too low.
    >>> reveal("Which layer is silent", "conv1", "conv2")
    Which layer is silent: conv2. You said conv1.
    """
    truth = truth.item() if hasattr(truth, "item") else truth
    print(f"{what}: {_text(truth, unit)}.{_verdict(guess, truth, unit)}")


def _verdict(guess: Any, truth: float | str, unit: str) -> str:
    if guess is None:
        return ""
    if isinstance(truth, str):
        if not isinstance(guess, str):
            return f' Your guess must be words in quotes, such as "{truth}"; got {guess!r}.'
        same = guess.strip().lower() == truth.lower()
        return f" You said {guess.strip()}" + (", and that is right." if same else ".")
    if isinstance(guess, bool) or not isinstance(guess, Real) or not math.isfinite(guess):
        return f" Your guess must be a number, such as {_text(truth)}; got {guess!r}."
    gap = float(guess) - truth
    if _text(guess) == _text(truth):
        return f" You said {_text(guess, unit)}, and that is right."
    return f" You said {_text(guess, unit)}: {_text(abs(gap))} too {'high' if gap > 0 else 'low'}."


def _text(value: float | str, unit: str = "") -> str:
    """Write whole numbers in full and others to three figures, with the unit."""
    if not isinstance(value, str):
        whole = float(value).is_integer() or abs(value) >= 1000
        value = f"{value:,.0f}" if whole else f"{value:.3g}"
    return f"{value} {unit}".rstrip()
