"""Prophesee EVT 3.0: 16-bit words that change the decoder's row, time or base column, or list neighbours that fire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numba import njit

from snn_helpers.events.dtype import EVENT_DTYPE
from snn_helpers.events.formats.base import Format, Options, Reading, mapped, stretches
from snn_helpers.events.formats.evt2 import evt_version, raw_header

_STATE = 7  # row, base column, polarity, time low, time high, wraps, whether a time is known


def _read(path: Path, options: Options) -> Reading:
    size, start = raw_header(path)
    return Reading(_blocks(mapped(path, "<u2", start), options.block), size)


def _blocks(words: np.ndarray, length: int) -> Iterator[np.ndarray]:
    state = np.zeros(_STATE, np.int64)
    for part in stretches(len(words), length, words):
        events = np.empty(_count(words[part]) + 1, EVENT_DTYPE)
        yield events[: _decode(words[part], state, events)]


@njit(cache=True, nogil=True)
def _count(words):
    total = 0
    for word in words:
        kind = word >> np.uint16(12)
        if kind == 2:
            total += 1
        elif kind == 4 or kind == 5:
            valid = word & np.uint16(0xFFF if kind == 4 else 0xFF)
            while valid:
                valid &= valid - np.uint16(1)
                total += 1
    return total


@njit(cache=True, nogil=True)
def _decode(words, state, events):
    y, base, polarity, low, high, wraps, known = state
    count = 0
    t = (wraps << 24) + (high << 12) + low
    for word in words:
        kind, value = word >> np.uint16(12), np.int64(word & np.uint16(0xFFF))
        if kind == 2:
            if known:
                event = events[count]
                event.x, event.y, event.t, event.p = value & 2047, y, t, value >> 11
                count += 1
        elif kind == 4 or kind == 5:
            width = 12 if kind == 4 else 8
            valid = value & ((1 << width) - 1)
            if known:
                # Without branches, hence fast: each pixel is written, and left in place if it fired. The last one that
                # did not is written behind all events.
                for bit in range(width):
                    event = events[count]
                    event.x, event.y, event.t, event.p = base + bit, y, t, polarity
                    count += (valid >> bit) & 1
            base += width
        elif kind == 0:
            y = value & 2047
        elif kind == 3:
            base, polarity = value & 2047, value >> 11
        elif kind == 6:
            low = value
            t = (wraps << 24) + (high << 12) + low
        elif kind == 8:
            if known and value + 2048 < high:  # the clock of 24 bits began again
                wraps += 1
            if not known or value != high:
                low = 0
            high, known = value, 1
            t = (wraps << 24) + (high << 12) + low
        if base > 4096:  # no real file does this; it keeps the column within its type
            base = 4096
    state[0], state[1], state[2], state[3], state[4], state[5], state[6] = y, base, polarity, low, high, wraps, known
    return count


FORMAT = Format("EVT 3.0", "Prophesee EVT 3.0", (".raw",), lambda head, *_: evt_version(head) == "3.0", _read)
