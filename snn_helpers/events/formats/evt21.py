"""Prophesee EVT 2.1: a 64-bit word for up to 32 neighbours in a row that fire at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numba import njit

from snn_helpers.events.dtype import EVENT_DTYPE
from snn_helpers.events.formats.base import Format, Options, Reading, mapped, read_head, stretches
from snn_helpers.events.formats.evt2 import evt_version, raw_header


def _read(path: Path, options: Options) -> Reading:
    size, start = raw_header(path)
    halves_swapped = b"endianness=legacy" in read_head(path)[0][:start]  # as the IMX636 sends its words
    return Reading(_blocks(mapped(path, "<u8", start), halves_swapped, options.block), size)


def _blocks(words: np.ndarray, halves_swapped: bool, length: int) -> Iterator[np.ndarray]:
    state = np.array([-1, 0], np.int64)
    for part in stretches(len(words), length, words):
        some = words[part]
        if halves_swapped:
            some = some << np.uint64(32) | some >> np.uint64(32)
        events = np.empty(_count(some), EVENT_DTYPE)
        yield events[: _decode(some, state, events)]


@njit(cache=True, nogil=True)
def _count(words):
    total = 0
    for word in words:
        if word >> np.uint64(60) <= 1:
            valid = word & np.uint64(0xFFFFFFFF)
            while valid:
                valid &= valid - np.uint64(1)
                total += 1
    return total


@njit(cache=True, nogil=True)
def _decode(words, state, events):
    base, wraps, count = state[0], state[1], 0
    for word in words:
        kind = word >> np.uint64(60)
        if kind <= 1 and base >= 0:
            t = base + np.int64((word >> np.uint64(54)) & np.uint64(63))
            x, y = (word >> np.uint64(43)) & np.uint64(2047), (word >> np.uint64(32)) & np.uint64(2047)
            for bit in range(32):
                if (word >> np.uint64(bit)) & np.uint64(1):
                    event = events[count]
                    event.x, event.y, event.t, event.p = np.int64(x) + bit, y, t, kind
                    count += 1
        elif kind == 8:
            now = (np.int64((word >> np.uint64(32)) & np.uint64(0xFFFFFFF)) << 6) + (wraps << 34)
            if now + (1 << 33) < base:
                wraps += 1
                now += 1 << 34
            base = now
    state[0], state[1] = base, wraps
    return count


FORMAT = Format("EVT 2.1", "Prophesee EVT 2.1", (".raw",), lambda head, *_: evt_version(head) == "2.1", _read)
