"""Plugins: Python files of one's own that register a network, a neuron or a surrogate, run once a process."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path

VARIABLE = "SNN_PLUGINS"


def load_plugins(files: str | None) -> str | None:
    """Run plugin files that were not run yet, or were changed since.

    Parameters
    ----------
    files : str or None
        Paths joined by commas; None or an empty text takes those of the environment variable SNN_PLUGINS.

    Returns
    -------
    str or None
        The files as absolute paths, joined by commas; None where there are none.

    Raises
    ------
    TypeError, ValueError
        If a file is missing or fails: the message names the file and the line.
    """
    files = files or os.environ.get(VARIABLE)
    if not files:
        return None
    if not isinstance(files, str | os.PathLike):
        raise TypeError(f"`plugins` must be paths joined by commas; got {files!r}.")
    paths = [Path(part.strip()).expanduser().absolute() for part in os.fspath(files).split(",") if part.strip()]
    for path in paths:
        _load(path)
    return ",".join(map(str, paths))


def join_plugins(*lists: str | None) -> str | None:
    """Join lists of plugin files; of two files of one name, which is one that was moved, the later counts."""
    by_name = {Path(part.strip()).name: part.strip() for files in lists if files for part in files.split(",")}
    return ",".join(by_name.values()) or None


def _load(path: Path) -> None:
    try:
        text = path.read_bytes()
    except (OSError, ValueError) as err:  # a ValueError: of a null character in it
        why = getattr(err, "strerror", err)
        raise ValueError(
            f"`plugins`: {path} cannot be read ({why}). Name where it is: --plugins FILE, or the variable {VARIABLE}."
        ) from err
    name = f"snn_plugin_{path.stem}"
    before = sys.modules.get(name)
    if before is not None and before.source_text == text:
        return
    if before is not None and before.__file__ and Path(before.__file__) != path and Path(before.__file__).exists():
        raise ValueError(f"`plugins`: {path} and {before.__file__} have the same name. Give one of them another.")
    loader = SourceFileLoader(name, str(path))
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    vars(module)["source_text"] = text
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        exec(compile(text, path, "exec"), module.__dict__)
    except Exception as err:
        del sys.modules[name]
        raise ValueError(f"`plugins`: {path}, line {_line(err, path)}: {type(err).__name__}: {err}") from err


def _line(err: Exception, path: Path) -> int | str:
    """Return the line of a file at which an error arose."""
    if isinstance(err, SyntaxError) and err.filename == str(path):
        return err.lineno or "?"
    lines = [frame.lineno for frame in traceback.extract_tb(err.__traceback__) if frame.filename == str(path)]
    return lines[-1] or "?" if lines else "?"
