"""MATLAB files up to version 7 (7.3 is HDF5): columns by name, or in one struct such as `TD`.

Read here: scipy's loadmat makes arrays as large as a file says, and ends the process on an element type that does not
exist.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from snn_helpers.events.convert import ALIASES
from snn_helpers.events.dtype import RecordingError
from snn_helpers.events.formats.base import Format, Options, Reading, check_unpacked, library, most_unpacked

_MARK = b"MATLAB 5.0 MAT-file"
_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_STRUCT, _NUMBERS = 2, range(6, 16)  # classes of arrays
_CLASS, _COMPLEX = 0xFF, 0x800


def _read(path: Path, options: Options) -> Reading:
    with library(path, "MATLAB"):
        variables = dict(_variables(path))
    structs = [value for value in variables.values() if isinstance(value, dict)]
    found = [columns for columns in (variables, *structs) if _has_events(columns, options)]
    if len(found) != 1:
        raise RecordingError(
            f"{path}: {len(found) or 'no'} sets of events in this MATLAB file; expected one x, y, t (or ts) and p (or "
            f"pol), alone or in a struct. It holds {', '.join(variables)[:300] or 'nothing'}."
        )
    columns = {name: values for name, values in found[0].items() if isinstance(values, np.ndarray)}
    return Reading(iter([columns]), None, options.unit, options.columns)


def _variables(path: Path) -> Iterator[tuple[str, Any]]:
    data, unpacked = memoryview(path.read_bytes()), 0
    order = "<" if data[126:128] == b"IM" else ">"
    for kind, content in _elements(data[_HEADER_BYTES:], order):
        if kind == _COMPRESSED:
            inner = zlib.decompressobj().decompress(content, most_unpacked(path) + 1 - unpacked)
            unpacked += len(inner)
            check_unpacked(path, unpacked)
            kind, content = next(_elements(memoryview(inner), order))
        if kind == _MATRIX:
            yield _array(content, order)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Give each element's type and content; content of up to 4 bytes stands in its mark, longer is padded to 8."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start, end = at + 8, at + 8 + size + (0 if kind == _COMPRESSED else -size % 8)
        if kind >> 16:
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        if start + size > min(end, len(data)):
            raise ValueError("an element is longer than what holds it")
        yield kind, data[start : start + size]
        at = end


def _array(content: memoryview, order: str, is_field: bool = False) -> tuple[str, Any]:
    """Return an array's name and its numbers, or the fields of a single struct; None for whatever holds no columns."""
    if not content:
        return "", None
    parts = _elements(content, order)
    (_, flags), (_, shape), (_, name) = (next(parts) for _ in range(3))
    flags, shape = (struct.unpack(f"{order}{len(part) // 4}I", part) for part in (flags, shape))
    name, kind = bytes(name).decode("latin-1"), flags[0] & _CLASS
    if kind in _NUMBERS and not flags[0] & _COMPLEX:
        kind, numbers = next(parts)
        values = np.frombuffer(numbers, order + _TYPES[kind]).reshape(shape, order="F")
        return name, np.atleast_1d(values.squeeze())
    if kind == _STRUCT and math.prod(shape) == 1 and not is_field:
        (_, width), (_, names) = next(parts), next(parts)
        (width,) = struct.unpack(f"{order}I", width)
        names = [bytes(names[at : at + width]).split(b"\0")[0].decode("latin-1") for at in range(0, len(names), width)]
        return name, {field: _array(part, order, True)[1] for field, (_, part) in zip(names, parts, strict=True)}
    return name, None


def _has_events(columns: dict, options: Options) -> bool:
    if options.columns is not None:
        return set(options.columns) <= set(columns)
    names = {str(name).lower() for name in columns}
    return all(names & set(known) for known in ALIASES.values())


FORMAT = Format("MATLAB", "a MATLAB file", (".mat",), lambda head, *_: head.startswith(_MARK), _read)
