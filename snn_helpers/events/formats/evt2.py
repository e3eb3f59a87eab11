"""Prophesee EVT 2.0: a 32-bit word an event, the upper bits of the time in words of their own."""

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

TIME_HIGH = 0x8
_LARGEST_T = 2**34 - 1
_LARGEST_PX = 2**11 - 1
# Cameras whose files do not always give their geometry, by what their plugin is called.
_SENSORS = {"gen31": (640, 480), "gen3": (640, 480), "gen41": (1280, 720), "gen4": (1280, 720), "imx636": (1280, 720),
            "genx320": (320, 320)}  # fmt: skip


def evt_version(head: bytes) -> str | None:
    r"""Return "2.0", "2.1" or "3.0" if this is the head of a Prophesee raw file, else None.

    Examples
    --------
    >>> evt_version(b"% evt 2.0\n% end\n"), evt_version(b"% format EVT21;height=720;width=1280\n% end\n")
    ('2.0', '2.1')
    """
    fields, _ = percent_header(head)
    name = fields.get("format", "").partition(";")[0].upper()
    return {"EVT2": "2.0", "EVT21": "2.1", "EVT3": "3.0"}.get(name) or fields.get("evt")


def raw_header(path: Path) -> tuple[tuple[int, int, int] | None, int]:
    """Return the sensor's size as a raw file's header gives it, and where its events begin."""
    fields, _, start = read_percent_header(path)
    pairs = dict(pair.split("=", 1) for pair in fields.get("format", "").split(";") if "=" in pair)
    order = pairs.get("endianness", fields.get("endianness", "little"))
    if order not in ("little", "legacy"):
        raise RecordingError(f"{path}: its words are {order}-endian; little-endian ones are read.")
    width, _, height = fields.get("geometry", "").partition("x")
    width, height = pairs.get("width", width), pairs.get("height", height)
    if stated := stated_size(width, height):
        return stated, start
    told = f"{fields.get('plugin_name', '')} {fields.get('sensor_name', '')}".lower()
    size = next((size for name, size in _SENSORS.items() if name in told), None)
    return (*size, 2) if size else None, start


def _read(path: Path, options: Options) -> Reading:
    size, start = raw_header(path)
    words = mapped(path, "<u4", start)
    return Reading(_blocks(words, options.block), size)


def _blocks(words: np.ndarray, length: int) -> Iterator[np.ndarray]:
    state = np.array([-1, 0], np.int64)
    for part in stretches(len(words), length, words):
        events = np.empty(part.stop - part.start, EVENT_DTYPE)
        yield events[: _decode(words[part], state, events)]


@njit(cache=True, nogil=True)
def _decode(words, state, events):
    """Decode words into `events` and return how many there are; `state` is (time base or -1, wraps of the clock)."""
    base, wraps, count = state[0], state[1], 0
    for word in words:
        kind = word >> np.uint32(28)
        if kind <= 1:
            if base >= 0:  # before the first time base an event's time is not known
                event = events[count]
                event.x = (word >> np.uint32(11)) & np.uint32(2047)
                event.y = word & np.uint32(2047)
                event.t = base + ((word >> np.uint32(22)) & np.uint32(63))
                event.p = kind
                count += 1
        elif kind == 8:
            now = (np.int64(word & np.uint32(0xFFFFFFF)) << 6) + (wraps << 34)
            if now + (1 << 33) < base:  # the clock of 34 bits began again
                wraps += 1
                now += 1 << 34
            base = now
    state[0], state[1] = base, wraps
    return count


def _write(path: Path, events: np.ndarray, sensor_size: tuple[int, int, int]) -> None:
    if len(events) and (max(events["x"].max(), events["y"].max()) > _LARGEST_PX or events["t"][-1] > _LARGEST_T):
        raise RecordingError(f"{path}: EVT 2.0 holds pixels to {_LARGEST_PX} and times to {_LARGEST_T} µs.")
    t = events["t"]
    high = t >> 6
    begins = np.flatnonzero(np.diff(high, prepend=-1))
    words = (
        events["p"].astype(np.uint32) << 28
        | (t & 63).astype(np.uint32) << 22
        | events["x"].astype(np.uint32) << 11
        | events["y"].astype(np.uint32)
    )
    words = np.insert(words, begins, (TIME_HIGH << 28 | high[begins]).astype(np.uint32))
    width, height, _ = sensor_size
    with whole_file(path) as part, open(part, "wb") as file:
        file.write(
            f"% evt 2.0\n% format EVT2;height={height};width={width}\n% geometry {width}x{height}\n% end\n".encode()
        )
        file.write(words.astype("<u4").tobytes())


FORMAT = Format(
    "EVT 2.0", "Prophesee EVT 2.0", (".raw",), lambda head, *_: evt_version(head) == "2.0", _read, _write
)  # fmt: skip
