"""AEDAT 3.1 of caer's recordings, DVS Gesture's among them: packets of several kinds of events."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numba import njit

from snn_helpers._files import whole_file
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError, join_events
from snn_helpers.events.formats.base import Format, Options, Reading, let_go, mapped, stretches

_END = b"#!END-HEADER\r\n"
_PACKET = struct.Struct("<hhiiiiii")  # type, source, size, where the time is, overflows, capacity, number, valid
_POLARITY = 1
_RECORD = np.dtype([("pixel", "<u4"), ("t", "<u4")])
_LONGEST_HEADER = 1 << 16


def _read(path: Path, options: Options) -> Reading:
    with open(path, "rb") as file:
        end = file.read(_LONGEST_HEADER).find(_END)
    if end < 0:
        raise RecordingError(f"{path}: its AEDAT 3 header does not end; the file is damaged.")
    return Reading(_blocks(path, mapped(path, "u1", end + len(_END)), options.block))


def _blocks(path: Path, data: np.ndarray, length: int) -> Iterator[np.ndarray]:
    at, waiting, some = 0, [], 0
    while at < len(data):
        if at + _PACKET.size > len(data):
            raise RecordingError(f"{path}: the last packet is cut short. Copy the file again.")
        kind, _, size, _, overflows, _, number, _ = _PACKET.unpack(data[at : at + _PACKET.size].tobytes())
        at += _PACKET.size
        if size < 1 or number < 0 or overflows < 0 or at + size * number > len(data):
            raise RecordingError(f"{path}: a packet of {number} events of {size} bytes is cut short or damaged.")
        if kind == _POLARITY:
            if size != _RECORD.itemsize:
                raise RecordingError(f"{path}: polarity events of {size} bytes; 8 are read.")
            records = data[at : at + size * number].view(_RECORD)
            for part in stretches(number, length):  # a packet may be as long as its file
                events = np.empty(part.stop - part.start, EVENT_DTYPE)
                waiting.append(events[: _decode(records[part], overflows << 31, events)])
                some += len(events)
                if length and some >= length:
                    yield join_events(waiting)
                    waiting, some = [], 0
                    let_go(data)
        at += size * number
    if waiting:
        yield join_events(waiting)


@njit(cache=True, nogil=True)
def _decode(records, base, events):
    count = 0
    for record in records:
        pixel = record.pixel
        if pixel & np.uint32(1):  # the others were marked as not valid
            event = events[count]
            event.x, event.y = pixel >> np.uint32(17), (pixel >> np.uint32(2)) & np.uint32(0x7FFF)
            event.t, event.p = base + np.int64(record.t & np.uint32(0x7FFFFFFF)), (pixel >> np.uint32(1)) & np.uint32(1)
            count += 1
    return count


def _write(path: Path, events: np.ndarray, sensor_size: tuple[int, int, int]) -> None:
    x, y, p = (events[field].astype(np.uint32) for field in "xyp")
    records = np.empty(len(events), _RECORD)
    records["pixel"], records["t"] = x << 17 | y << 2 | p << 1 | 1, events["t"] & 0x7FFFFFFF
    overflows = events["t"] >> 31
    cuts = [0, *(np.flatnonzero(np.diff(overflows)) + 1).tolist(), len(events)]
    with whole_file(path) as part, open(part, "wb") as file:
        file.write(b"#!AER-DAT3.1\r\n#Format: RAW\r\n" + _END)
        for start, stop in pairwise(cuts):
            if stop > start:
                number = stop - start
                over = int(overflows[start])
                file.write(_PACKET.pack(_POLARITY, 1, _RECORD.itemsize, 4, over, number, number, number))
                file.write(records[start:stop].tobytes())


FORMAT = Format(
    "AEDAT 3.1", "AEDAT 3.1", (".aedat",), lambda head, *_: head.startswith(b"#!AER-DAT3."), _read, _write
)  # fmt: skip
