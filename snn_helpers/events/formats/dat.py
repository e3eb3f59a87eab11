"""Prophesee's `.dat`: 8 bytes an event, as N-CARS and GEN1 are passed on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numba import njit

from snn_helpers._files import whole_file
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError
from snn_helpers.events.formats.base import (
    Format,
    Options,
    Reading,
    mapped,
    percent_header,
    read_percent_header,
    stated_size,
    stretches,
)
from snn_helpers.events.formats.evt2 import evt_version

_TYPES_2D = (0x00, 0x0C)
_RECORD = np.dtype([("t", "<u4"), ("pixel", "<u4")])
_LARGEST_PX = 2**14 - 1


def _fits(head: bytes, size: int, path: Path) -> bool:
    fields, start = percent_header(head)
    return bool(fields) and start < size and evt_version(head) is None


def _read(path: Path, options: Options) -> Reading:
    fields, head, start = read_percent_header(path)
    version = fields.get("version", "1")
    if version == "2":
        kind, record = head[start : start + 2] if len(head) >= start + 2 else (-1, 0)
        if kind not in _TYPES_2D or record != _RECORD.itemsize:
            raise RecordingError(f"{path}: events of type {kind}, {record} bytes each; only 2D events of 8 are read.")
        start += 2
    elif version != "1":
        raise RecordingError(f"{path}: a .dat file of version {version}; versions 1 and 2 are read.")
    records = mapped(path, _RECORD, start)
    return Reading(_blocks(records, options.block), stated_size(fields.get("width", ""), fields.get("height", "")))


def _blocks(records: np.ndarray, length: int) -> Iterator[np.ndarray]:
    clock = np.zeros(2, np.int64)
    for part in stretches(len(records), length, records):
        events = np.empty(part.stop - part.start, EVENT_DTYPE)
        _decode(records[part], clock, events)
        yield events


@njit(cache=True, nogil=True)
def _decode(records, clock, events):
    last, wraps = clock
    for i in range(records.size):
        now, pixel = np.int64(records[i].t), records[i].pixel
        if now + (1 << 31) < last:  # the clock of 32 bits began again
            wraps += 1
        last = now
        event = events[i]
        event.x, event.y = pixel & np.uint32(0x3FFF), (pixel >> np.uint32(14)) & np.uint32(0x3FFF)
        event.t, event.p = now + (wraps << 32), (pixel >> np.uint32(28)) & np.uint32(1)
    clock[0], clock[1] = last, wraps


def _write(path: Path, events: np.ndarray, sensor_size: tuple[int, int, int]) -> None:
    if len(events) and (max(events["x"].max(), events["y"].max()) > _LARGEST_PX or events["t"][-1] >= 2**32):
        raise RecordingError(f"{path}: .dat holds pixels to {_LARGEST_PX} and times below 2**32 µs (71 minutes).")
    records = np.empty(len(events), _RECORD)
    records["t"] = events["t"]
    x, y, p = (events[field].astype(np.uint32) for field in "xyp")
    records["pixel"] = x | y << 14 | p << 28
    width, height, _ = sensor_size
    with whole_file(path) as part, open(part, "wb") as file:
        file.write(f"% Data file containing CD events.\n% Version 2\n% Height {height}\n% Width {width}\n".encode())
        file.write(bytes([_TYPES_2D[1], _RECORD.itemsize]))
        file.write(records.tobytes())


FORMAT = Format("dat", "a Prophesee .dat file", (".dat",), _fits, _read, _write)
