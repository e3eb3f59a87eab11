"""Event Stream (`.es`), versions 2: the time since the last event in the first byte, then x and y.

y counts upwards in the file; here it counts from the top, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numba import njit

from snn_helpers._files import whole_file
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError
from snn_helpers.events.formats.base import Format, Options, Reading, mapped, stretches

_MARK = b"Event Stream"
_HEADER_BYTES = 20
_DVS = 1


def _fits(head: bytes, size: int, path: Path) -> bool:
    return head.startswith(_MARK) and head[12:13] == b"\x02" and head[15:16] == bytes([_DVS]) and size >= _HEADER_BYTES


def _read(path: Path, options: Options) -> Reading:
    with open(path, "rb") as file:
        width, height = np.frombuffer(file.read(_HEADER_BYTES)[16:], "<u2").tolist()
    if not 0 < width <= 2**15 or not 0 < height <= 2**15:
        raise RecordingError(f"{path}: its header gives a sensor of {width} x {height}; the file is damaged.")
    return Reading(_blocks(path, mapped(path, "u1", _HEADER_BYTES), height, options.block), (width, height, 2))


def _blocks(path: Path, data: np.ndarray, height: int, length: int) -> Iterator[np.ndarray]:
    state = np.zeros(4, np.int64)  # t, bytes read of an event, its first byte, its pixel so far
    for part in stretches(len(data), length * 5, data):
        events = np.empty((part.stop - part.start) // 5 + 1, EVENT_DTYPE)
        yield events[: _decode(data[part], height - 1, state, events)]
    if state[1]:
        raise RecordingError(f"{path}: the last event is cut short. Copy the file again.")


@njit(cache=True, nogil=True)
def _decode(data, top, state, events):
    t, have, first, pixel = state
    count, i = 0, 0
    while i < data.size:
        if have == 0 and i + 5 <= data.size and data[i] < 0xFE:  # a whole event at once
            event = events[count]
            t += data[i] >> 1
            x = np.int64(data[i + 1]) | np.int64(data[i + 2]) << 8
            y = np.int64(data[i + 3]) | np.int64(data[i + 4]) << 8
            # Beyond an int16 is outside every sensor; -1 is refused as such.
            event.x, event.y = x if x < 32768 else -1, top - y if y < 32768 else -1
            event.t, event.p = t, data[i] & 1
            count += 1
            i += 5
            continue
        byte = np.int64(data[i])
        i += 1
        if have:
            pixel |= byte << (8 * (have - 1))
            have += 1
            if have == 5:
                event = events[count]
                x, y = pixel & 0xFFFF, pixel >> 16
                event.x, event.y = x if x < 32768 else -1, top - y if y < 32768 else -1
                event.t, event.p = t, first & 1
                count += 1
                have, pixel = 0, 0
        elif byte == 0xFF:
            t += 127
        elif byte < 0xFE:  # 0xFE is a reset, which carries nothing
            t += byte >> 1
            first, have = byte, 1
    state[0], state[1], state[2], state[3] = t, have, first, pixel
    return count


def _write(path: Path, events: np.ndarray, sensor_size: tuple[int, int, int]) -> None:
    gaps = np.diff(events["t"], prepend=0)
    ahead, rest = np.divmod(gaps, 127)  # bytes 0xFF in front of an event, and what is left for its own
    starts = np.cumsum(ahead + 5) - 5
    data = np.full(int((ahead + 5).sum()), 0xFF, np.uint8)
    x, y = events["x"].astype(np.int64), sensor_size[1] - 1 - events["y"].astype(np.int64)
    for place, values in enumerate((rest << 1 | events["p"], x & 255, x >> 8, y & 255, y >> 8)):
        data[starts + place] = values
    with whole_file(path) as part, open(part, "wb") as file:
        file.write(_MARK + bytes([2, 0, 0, _DVS]) + np.array(sensor_size[:2], "<u2").tobytes())
        file.write(data.tobytes())


FORMAT = Format("Event Stream", "an Event Stream of DVS events", (".es",), _fits, _read, _write)
