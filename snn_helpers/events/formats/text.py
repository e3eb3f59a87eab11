"""Text, an event a line: separated by commas, semicolons, tabs or spaces, with a header of names or stated columns."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from snn_helpers._files import whole_file
from snn_helpers.events.convert import ALIASES
from snn_helpers.events.dtype import RecordingError
from snn_helpers.events.formats.base import Format, Options, Reading, library

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$", re.ASCII)
_LINES_A_BLOCK = 1 << 20
_BYTES_A_BLOCK = 1 << 23
_UNITS = {"t_us": "us", "time_us": "us", "timestamp_us": "us"}


def _fits(head: bytes, size: int, path: Path) -> bool:
    try:
        words = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return False
    return size > 0 and all(letter.isprintable() or letter in "\t\r\n" for letter in words)


def _split(line: str) -> list[str]:
    for mark in ",;\t":
        if mark in line:
            return [word.strip() for word in line.split(mark)]
    return line.split()


def _are_names(words: list[str], options: Options) -> bool:
    """Whether a comment names the four columns, and is no sentence of four words."""
    lower = {word.lower() for word in words}
    told = options.columns is not None and set(options.columns) <= set(words)
    return len(words) == 4 and (told or all(lower & set(known) for known in ALIASES.values()))


def _read(path: Path, options: Options) -> Reading:
    names, size, skip, comma, unit = None, None, 0, None, options.unit
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            words = _split(line.strip().lstrip("#").strip())
            if not line.strip() or (line.startswith("#") and not _are_names(words, options)):
                skip += 1
                continue
            if all(_NUMBER.match(word) for word in words):
                if len(words) == 2 and size is None:  # the first line of some sets: width and height
                    size = (*(int(np.clip(float(word), 0, 1e9)) for word in words), 2)
                    skip += 1
                    continue
                comma = next((mark for mark in ",;\t" if mark in line), None)
                break
            if names is not None:
                raise RecordingError(f"{path}: line {skip + 1} holds no numbers: {line.strip()[:60]!r}.")
            names, skip = words, skip + 1
        else:
            raise RecordingError(f"{path}: this text holds no events: no line of numbers in it.")
    if len(words) < 4:
        raise RecordingError(f"{path}: line {skip + 1} has {len(words)} numbers; an event needs x, y, t and p.")
    columns = options.columns
    if names is not None and len(names) != len(words):
        raise RecordingError(f"{path}: the header names {len(names)} columns, but line {skip + 1} has {len(words)}.")
    if names is not None and len(set(names)) < len(names):
        raise RecordingError(f"{path}: two columns have one name in the header: {', '.join(names)[:300]}.")
    if names is None and columns is None:
        raise RecordingError(
            f"{path}: nothing says which of its {len(words)} columns is x, y, t and p. Say the order, such as "
            'columns="txyp" (`--columns txyp`).'
        )
    if names is not None:
        unit = unit or next((_UNITS[name.lower()] for name in names if name.lower() in _UNITS), None)
    elif len(words) != 4:
        raise RecordingError(f"{path}: lines of {len(words)} numbers; without a header an event has four.")
    return Reading(_blocks(path, skip, comma, names, len(words), options.block), size, unit, columns)


def _blocks(path: Path, skip: int, comma: str | None, names, width: int, length: int) -> Iterator:
    lines = length or _LINES_A_BLOCK
    start = yield from _plain_blocks(path, skip, comma or " ", names, width, lines)
    if start is None:
        return
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        file.seek(start)
        for _ in range(0 if start else skip):
            file.readline()
        while text := "".join(line for _, line in zip(range(lines), file)):
            with library(path, "text"):  # which warns of a block of comments
                try:
                    # float64 holds whole µs up to 2**53, far beyond epoch times.
                    table = np.loadtxt(io.StringIO(text), delimiter=comma, ndmin=2, dtype=np.float64)
                except ValueError as err:
                    raise RecordingError(f"{path}: not a number where one is expected ({str(err)[:300]}).") from err
            if not len(table):
                continue
            if 2**53 <= np.abs(table).max() < 2**63:  # as times of ns since 1970: whole numbers stay exact
                try:
                    table = np.loadtxt(io.StringIO(text), delimiter=comma, ndmin=2, dtype=np.int64)
                except (ValueError, OverflowError) as err:
                    raise RecordingError(
                        f"{path}: numbers from 2**53 on are exact as whole numbers only. Subtract the first time, or "
                        "write whole numbers."
                    ) from err
            if table.shape[1] != width:
                raise RecordingError(f"{path}: lines of {table.shape[1]} numbers after one of {width}.")
            yield dict(zip(names, table.T)) if names else table


def _plain_blocks(path: Path, skip: int, mark: str, names, width: int, lines: int) -> Generator[Any, None, int | None]:
    """Yield blocks of lines as programs write them; return where others begin, which np.loadtxt may read, or None."""
    with open(path, "rb") as file:
        head = b"".join(file.readline() for _ in range(skip))
        if (
            b"\r" in head.replace(b"\r\n", b"")
            or head.startswith(codecs.BOM_UTF8)
            or file.peek(3)[:3] == codecs.BOM_UTF8
        ):
            return 0
        start, rest = file.tell(), b""
        while more := file.read(_BYTES_A_BLOCK):
            rest += more
            done = 0
            while True:
                table = np.empty((min(lines, (len(rest) - done) // (2 * width)), width))
                rows, used = _parse(np.frombuffer(rest, np.uint8)[done:], ord(mark), table)
                done += used
                if rows:
                    yield dict(zip(names, table[:rows].T)) if names else table[:rows]
                if rows < lines:
                    break
            start, rest = start + done, rest[done:]
            if b"\n" in rest:
                return start
        return start if rest else None


@njit(cache=True, nogil=True)
def _parse(data, mark, table):
    """Fill rows of `table` from whole lines of plain numbers; return how many, and their bytes.

    A number of less than 2**53 without its point, divided by a power of ten to 10**22, is rounded as strtod rounds it.
    """
    rows, used, at = 0, 0, 0
    column, value, digits, after, negative = 0, np.int64(0), 0, -1, False
    while rows < table.shape[0] and at < data.size:
        byte = data[at]
        at += 1
        if 48 <= byte <= 57:
            value, digits = 10 * value + byte - 48, digits + 1
            if after >= 0:
                after += 1
        elif byte == 46 and after < 0:
            after = 0
        elif byte == 45 and digits == 0 and after < 0 and not negative:
            negative = True
        elif byte == mark or byte == 10 or (byte == 13 and at < data.size and data[at] == 10):
            if digits == 0 or digits > 18 or value >= 1 << 53 or column == table.shape[1]:
                break
            number = float(value) if after <= 0 else float(value) / 10.0**after
            table[rows, column] = -number if negative else number
            column, value, digits, after, negative = column + 1, np.int64(0), 0, -1, False
            if byte != mark:
                if column < table.shape[1]:
                    break
                at += byte == 13
                rows, used, column = rows + 1, at, 0
        else:
            break
    return rows, used


def _write(path: Path, events: np.ndarray, sensor_size: tuple[int, int, int]) -> None:
    with whole_file(path) as part, open(part, "w", encoding="utf-8") as file:
        file.write("t,x,y,p\n")
        np.savetxt(file, np.stack([events[field] for field in "txyp"], axis=1).reshape(-1, 4), fmt="%d", delimiter=",")


FORMAT = Format("text", "a text file", (".csv", ".txt", ".tsv"), _fits, _read, _write, has_mark=False)
