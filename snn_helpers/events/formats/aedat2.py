"""AEDAT 2.0 of jAER's recordings: an address and a time an event; what the address means depends on the camera.

x counts from the left and y from the top, as the camera saw it: both run the other way in jAER's addresses of a DAVIS,
and x in those of a DVS128.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numba import njit

from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError
from snn_helpers.events.formats.base import Format, Options, Reading, mapped, stretches

_RECORD = np.dtype([("address", ">u4"), ("t", ">u4")])
_LONGEST_HEADER = 1 << 16
_CHIPS = {"dvs128": (128, 128), "davis240": (240, 180), "davis346": (346, 260), "davis640": (640, 480)}


def _header(path: Path) -> tuple[str, int]:
    """Return the header's words and its length: lines that begin with #."""
    with open(path, "rb") as file:
        head = file.read(_LONGEST_HEADER)
    at = 0
    while head[at : at + 1] == b"#":
        stop = head.find(b"\n", at)
        if stop < 0:
            raise RecordingError(f"{path}: its AEDAT 2 header does not end; the file is damaged.")
        at = stop + 1
    return head[:at].decode("latin-1").lower(), at


def _read(path: Path, options: Options) -> Reading:
    words, start = _header(path)
    size = options.sensor_size[:2] if options.sensor_size else None
    size = size or next((size for chip, size in _CHIPS.items() if re.search(rf"\b{chip}|{chip}", words)), None)
    records = mapped(path, _RECORD, start)
    if size is None and len(records) and int(records["address"].max()) < 1 << 15:
        size = _CHIPS["dvs128"]  # a DAVIS's addresses are longer
    if size is None:
        raise RecordingError(
            f"{path}: nothing in this AEDAT 2 file says which camera made it. Give its sensor_size, such as (346, 260)."
        )
    return Reading(_blocks(records, size, options.block), (*size, 2))


def _blocks(records: np.ndarray, size: tuple[int, int], length: int) -> Iterator[np.ndarray]:
    clock = np.array([-1, 0], np.int64)
    for part in stretches(len(records), length, records):
        some = records[part]
        address, t = some["address"].astype(np.uint32), some["t"].astype(np.uint32)
        events = np.empty(len(address), EVENT_DTYPE)
        yield events[: _decode(address, t, *size, clock, events)]


@njit(cache=True, nogil=True)
def _decode(addresses, times, width, height, clock, events):
    last, wraps = clock
    is_dvs128 = width == 128 and height == 128
    count = 0
    for i in range(addresses.size):
        address, now = np.int64(addresses[i]), np.int64(times[i])
        if now + (1 << 31) < last:
            wraps += 1
        last = now
        event = events[count]
        if is_dvs128:
            if address >> 15:  # a sync pulse
                continue
            event.x, event.y, event.p = 127 - ((address >> 1) & 127), 127 - ((address >> 8) & 127), 1 - (address & 1)
        else:
            if address >> 31 or (address >> 10) & 1:  # a sample of a frame, or of another sensor
                continue
            event.x, event.y = width - 1 - ((address >> 12) & 1023), height - 1 - ((address >> 22) & 511)
            event.p = (address >> 11) & 1
        event.t = now + (wraps << 32)
        count += 1
    clock[0], clock[1] = last, wraps
    return count


FORMAT = Format("AEDAT 2.0", "AEDAT 2.0", (".aedat",), lambda head, *_: head.startswith(b"#!AER-DAT2."), _read)
