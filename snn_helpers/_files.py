"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary name beside `path`, which becomes `path` where the block ends without an error.

    A block that fails, or a process that dies in it, leaves the file that was there before.
    """
    given = Path(path)
    try:
        path = given.resolve()  # a link stays one, and what it leads to is written
    except RuntimeError as err:  # until Python 3.12
        raise ValueError(f"{given} is a link that leads to itself. Choose another name.") from err
    if not os.path.isdir(path.parent):
        raise ValueError(f"{path.parent} is no folder, so that {path.name} cannot be written there. Make it first.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{path} is no ordinary file. Choose another name.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as err:
        if err.errno and err.filename is None:  # a full disk is told without the file that found no room
            raise OSError(err.errno, err.strerror, str(path)) from err
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def writable_folder(name: str, folder: Path) -> Path:
    """Return a folder, made if need be, into which a file could be written just now.

    Whoever writes at the end of long work asks at its beginning.

    Raises
    ------
    ValueError
        If no file can be written there; `name` is the flag or variable that chooses another one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        raise ValueError(f"`{name}`: cannot write to {folder} ({err.strerror}). Choose another folder.") from err
    return folder


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write a text file, UTF-8, line ends as they are, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def as_json(value: Any, indent: int | None = None) -> str:
    """Return JSON that every reader takes: numbers that are not finite, for which it has no word, become null.

    Examples
    --------
    >>> as_json({"loss": [0.5, float("nan")]})
    '{"loss": [0.5, null]}'
    """
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write plain values as a JSON file, whole or not at all; see `as_json`."""
    write_whole(path, as_json(value, indent=1) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
