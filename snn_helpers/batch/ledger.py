"""The ledger of a sweep: `runs.jsonl`, one row a run, appended by many processes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from snn_helpers._files import as_json

LEDGER = "runs.jsonl"


class LedgerError(RuntimeError):
    """A ledger with a line that is no row; the message says which."""


def append_row(folder: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """Append a row unless the ledger has one of the same `id` and `attempt`; return the row that it has then.

    A worker that was believed lost may end after all: whichever comes first with its row is the one that counts.
    """
    path = Path(folder) / LEDGER
    line = as_json(row).encode() + b"\n"
    with _lock(path), open(path, "a+b") as file:
        _mend(file, path)
        present = _find(file, row["id"], row["attempt"])
        if present is not None:
            return present
        file.seek(0, os.SEEK_END)
        file.write(line)  # in one piece, and on the disk before the lock is let go
        file.flush()
        os.fsync(file.fileno())
    return dict(row)


def find_row(folder: Path, run_id: str, attempt: int) -> dict[str, Any] | None:
    """Return the row of an attempt at a run, or None if it has not ended yet."""
    path = Path(folder) / LEDGER
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return _find(file, run_id, attempt)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return all rows in the order in which they ended; a row that is being written is left out.

    Raises
    ------
    LedgerError
        If a line other than the last is no row.
    """
    path = Path(folder) / LEDGER
    if not path.is_file():
        return []
    rows = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                rows.append(_row(line, number, path))
    return rows


def latest(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return {id: row} of the last attempt at each run."""
    last: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["id"] not in last or row["attempt"] >= last[row["id"]]["attempt"]:
            last[row["id"]] = dict(row)
    return last


def repair(folder: Path) -> str | None:
    """Take a row that was cut in half off the end of the ledger; return a message if there was one.

    What was cut off is kept beside it, in `runs.jsonl.cut`. Its run counts as missing, and is run again.
    """
    path = Path(folder) / LEDGER
    if not path.is_file():
        return None
    with _lock(path), open(path, "a+b") as file:
        return _mend(file, path)


def _lock(path: Path) -> FileLock:
    return FileLock(path.with_name(f".{path.name}.lock"))


def _mend(file, path: Path) -> str | None:
    """Make an open ledger end with a whole row."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return None
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return None
    file.seek(0)
    content = file.read()
    whole, cut = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
    with open(path.with_name(f"{path.name}.cut"), "ab") as kept:
        kept.write(cut + b"\n")
    file.truncate(len(whole))
    return f"{path}: the last row was cut off after {len(cut)} bytes, and is taken out; its run is run again."


def _find(file, run_id: str, attempt: int) -> dict[str, Any] | None:
    file.seek(0)
    needle = json.dumps(run_id).encode()
    for number, line in enumerate(file, 1):
        if needle in line and line.endswith(b"\n"):
            row = _row(line, number, Path(file.name))
            if row["id"] == run_id and row["attempt"] == attempt:
                return row
    return None


def _row(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
        row["id"], row["attempt"], row["status"]
    except (ValueError, KeyError, TypeError) as err:
        raise LedgerError(f"{path}, line {number}: this is no row of a ledger. Mend it or take it out.") from err
    return row
