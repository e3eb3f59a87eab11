"""What a notebook's parameters are, and whether values are good for them: asked before anything runs."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from snn_helpers._checks import check_choice, check_float, check_int
from snn_helpers._paths import user_path

_WORDS = {"true": True, "false": False}


class _Unknown:
    """A default that is no literal: any value is good for it."""

    def __repr__(self) -> str:
        return "(computed)"


COMPUTED = _Unknown()


@dataclass(frozen=True)
class Rules:
    """What is known of parameters beyond the notebook that has them; given from outside, as `batch` knows no models.

    Attributes
    ----------
    kinds : dict of str to type
        Type of a parameter by name, for those whose default `None` does not tell it.
    check : callable
        Called with all values of a run, defaults included; raises TypeError or ValueError if one is out of range.
    data : callable
        Called with the same; returns a text that changes with the data that the run reads.
    private : tuple of str
        Parameters that would make runs of a sweep write into one place: a sweep refuses them.
    """

    kinds: Mapping[str, type] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], object] = lambda values: None
    data: Callable[[Mapping[str, Any]], str] = lambda values: ""
    private: tuple[str, ...] = ()


def read_parameters(notebook: Path) -> dict[str, Any]:
    """Return {name: default} of a notebook's cell tagged `parameters`, in order.

    The cell is read as Python, since papermill's own inspection misses annotated lines and lines with two `=`. A
    default that is no literal is `COMPUTED`.

    Raises
    ------
    ValueError
        If the file is missing or is no notebook.
    """
    import nbformat

    notebook = user_path(notebook)
    if not notebook.is_file():
        raise ValueError(f"{notebook}: there is no such notebook.")
    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except (nbformat.reader.NotJSONError, AttributeError, KeyError, UnicodeDecodeError) as err:
        raise ValueError(f"{notebook}: this is no notebook ({type(err).__name__}).") from err
    tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    found: dict[str, Any] = {}
    for statement in ast.parse(tagged[0]).body if tagged else []:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if len(targets) == 1 and isinstance(targets[0], ast.Name) and statement.value is not None:
            found[targets[0].id] = _literal(statement.value)
    return found


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return COMPUTED


def plain(value: Any) -> Any:
    """Return a value as papermill passes it on unchanged: NumPy numbers, arrays, paths and tuples become plain.

    Examples
    --------
    >>> plain(np.float32(0.5)), plain(Path("a") / "b"), plain((1, np.int64(2)))
    (0.5, 'a/b', [1, 2])
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | np.ndarray):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a parameter must be a number, a text, a path or a list; got {type(value).__name__} {value!r}.")


def typed(name: str, value: Any, default: Any, kind: type | None = None) -> Any:
    """Return `value` in the type that parameter `name` has; a text, as from a command line, is read as that type.

    Parameters
    ----------
    name : str
        Of the parameter.
    value : object
        What was given.
    default : object
        The notebook's own; None allows None.
    kind : type or None
        The parameter's type where `default` is None.

    Raises
    ------
    TypeError
        If the value is of another type.

    Examples
    --------
    >>> typed("beta", "0.95", 0.9), typed("epochs", "3", None), typed("epochs", "None", None)
    (0.95, 3, None)
    >>> typed("seed", "many", 0)
    Traceback (most recent call last):
    ...
    TypeError: `seed` must be a whole number; got 'many'.
    """
    value = plain(value)
    if kind is None and default is not None and default is not COMPUTED:
        kind = type(default)
    if default is None and value in (None, "None"):
        return None
    if isinstance(value, str) and kind is not str:
        value = _read_text(value)
    if kind is bool and not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False; got {value!r}.")
    if kind is int:
        return check_int(name, value)
    if kind is float:
        return check_float(name, value)
    if kind is not None and not isinstance(value, kind):
        words = {str: "text", list: "a list", dict: "a dict", tuple: "a list"}
        if not (kind is tuple and isinstance(value, list)):
            raise TypeError(f"`{name}` must be {words.get(kind, kind.__name__)}; got {value!r}.")
    return value


def _read_text(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def check_values(
    notebook: Path, defaults: Mapping[str, Any], given: Mapping[str, Any], rules: Rules | None = None
) -> dict[str, Any]:
    """Return the given values of a notebook's parameters, typed and checked; nothing else of the notebook is read.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown (the message has the near one), or a value of the wrong type or out of range.
    """
    rules = rules or Rules()
    values = {}
    for name, value in given.items():
        check_choice(f"parameter of {Path(notebook).name}", name, list(defaults))
        values[name] = typed(name, value, defaults[name], rules.kinds.get(name))
    rules.check({**defaults, **values})
    return values
