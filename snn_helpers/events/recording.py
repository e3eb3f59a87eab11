"""Read and write recordings in N-MNIST's own file format, checked at the door."""

from __future__ import annotations

import os

import numpy as np
from numba import njit

from snn_helpers._files import whole_file
from snn_helpers._paths import user_path
from snn_helpers.events.convert import to_events
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError, make_events

SENSOR_SIZE = (34, 34, 2)
"""N-MNIST's field as (W, H, P): width, height, polarities. Frames are [T, B, P, H, W], the other way round."""
SACCADES_MS = ((0, 95), (105, 205), (222, 305))
"""The three camera movements of an N-MNIST recording, in ms (Orchard et al. 2015)."""

__all__ = ["EVENT_DTYPE", "SACCADES_MS", "SENSOR_SIZE", "RecordingError", "make_events", "read_bin", "write_bin"]

BYTES_PER_EVENT = 5
OVERFLOW_Y = 240
"""A record with this y is no event: it says that the 23-bit clock lost `OVERFLOW_US`."""
OVERFLOW_US = 2**13
_LARGEST_T = 2**23 - 1


def read_bin(path: str | os.PathLike, sensor_size: tuple[int, int, int] = SENSOR_SIZE) -> np.ndarray:
    """Read one recording of N-MNIST's `.bin` format.

    Parameters
    ----------
    path : path
        A file of 5-byte big-endian records: x (8 bits), y (8 bits), polarity (1 bit), time in µs (23 bits).
    sensor_size : (W, H, P)
        Events outside W x H are refused.

    Returns
    -------
    ndarray [N] of `EVENT_DTYPE`
        Events in the file's order, which is the order of time. Overflow records (y = 240) are taken out, and
        each adds 8,192 µs to the times that follow, as in the data set authors' reader.

    Raises
    ------
    RecordingError
        If the file is empty or of another format, its size is no multiple of 5, an event lies outside the sensor, or
        time runs backwards.
    FileNotFoundError
        If there is no such file.
    """
    with open(user_path(path), "rb", buffering=0) as file:
        raw = np.frombuffer(file.read(), dtype=np.uint8)
    if not raw.size:
        raise RecordingError(f"{path}: the file is empty, so it is no recording. Copy or unpack it again.")
    if raw.size % BYTES_PER_EVENT:
        _refuse_other_format(path)
        raise RecordingError(
            f"{path}: {raw.size} bytes is not a multiple of {BYTES_PER_EVENT}, so the file is truncated or is no "
            "N-MNIST recording. Copy or unpack it again."
        )
    return decode_bin(path, raw, sensor_size)[0]


def decode_bin(path, raw: np.ndarray, sensor_size: tuple[int, int, int], lost_us: int = 0) -> tuple[np.ndarray, int]:
    """Return the events of whole records, uint8 [5 N], of a file, and by how many µs its clock lags after them."""
    events = np.empty(raw.size // BYTES_PER_EVENT, EVENT_DTYPE)
    largest_x, largest_y, backwards = _decode(raw, events)
    if lost_us:
        events["t"] += lost_us
    if largest_y >= OVERFLOW_Y:
        lost_us += OVERFLOW_US * int(np.count_nonzero(events["y"] == OVERFLOW_Y))
        events = _take_out_overflows(events)
    if largest_x >= sensor_size[0] or largest_y >= sensor_size[1] or backwards:
        _refuse_faults(path, events, sensor_size)
    return events, lost_us


@njit(cache=True, nogil=True)
def _decode(raw, events):
    """Unpack 5-byte records into `events`; return the largest x and y and whether time ran backwards."""
    largest_x, largest_y, backwards, last = 0, 0, False, np.int64(-1)
    for i in range(events.size):
        x, y, high = raw[5 * i], raw[5 * i + 1], np.int64(raw[5 * i + 2])
        now = (high & 127) << 16 | np.int64(raw[5 * i + 3]) << 8 | np.int64(raw[5 * i + 4])
        event = events[i]
        event.x, event.y, event.t, event.p = x, y, now, high >> 7
        largest_x, largest_y = max(largest_x, x), max(largest_y, y)
        backwards |= now < last
        last = now
    return largest_x, largest_y, backwards


def _take_out_overflows(events: np.ndarray) -> np.ndarray:
    overflow = events["y"] == OVERFLOW_Y
    events["t"] += OVERFLOW_US * np.cumsum(overflow)
    return events[~overflow]


def _refuse_faults(path, events: np.ndarray, sensor_size: tuple[int, int, int]) -> None:
    """Name the first event that cannot be; return if there is none (an overflow record looked like one)."""
    _refuse_other_format(path)
    width, height, _ = sensor_size
    outside = np.flatnonzero((events["x"] >= width) | (events["y"] >= height))
    if outside.size:
        event = events[outside[0]]
        raise RecordingError(
            f"{path}: event {outside[0]} is at ({event['x']}, {event['y']}), outside the {width} x {height} sensor. "
            "Is this a recording of another camera, or damaged?"
        )
    backwards = np.flatnonzero(np.diff(events["t"]) < 0)
    if backwards.size:
        raise RecordingError(
            f"{path}: time runs backwards at event {backwards[0] + 1}. The file is damaged; copy or unpack it again."
        )


def _refuse_other_format(path) -> None:
    from snn_helpers.events.formats import recognise  # which reads this format, too

    found = recognise(path)
    if found is not None and found.name != "N-MNIST":
        raise RecordingError(f"{path}: this is {found.title}, not N-MNIST's .bin. Read it with read_events.")


def write_bin(path: str | os.PathLike, events: np.ndarray) -> None:
    """Write one recording in N-MNIST's `.bin` format, through a temporary file beside it.

    Times beyond the format's 23 bits (8.4 s) are carried by overflow records (y = 240), 8,192 µs each.

    Parameters
    ----------
    path : path
        The file to write; its folder must exist.
    events : structured array [N] with fields x, y, t, p
        As `to_events` takes them, with x in 0..255 and y in 0..239.

    Raises
    ------
    RecordingError
        If there are no events or they do not fit the format.
    """
    records = _encode(path, to_events(events, unit="us", name=str(path)))
    with whole_file(user_path(path)) as part:
        records.tofile(part)


def _encode(path, events: np.ndarray) -> np.ndarray:
    if not len(events):
        raise RecordingError(f"{path}: there are no events, and an empty file is no recording.")
    x, y, t, p = (events[field].astype(np.int64) for field in "xytp")
    for name, values, high in (("x", x, 255), ("y", y, OVERFLOW_Y - 1)):
        if values.max() > high:
            raise RecordingError(f"{path}: `{name}` must be in 0..{high}; got {values.max()}. Write .npz instead.")
    # An overflow record stands before the first event whose time does not fit, as often as it needs.
    markers_due = np.maximum(0, -(-(t - _LARGEST_T) // OVERFLOW_US))
    markers_before = np.diff(markers_due, prepend=0)
    rows = np.arange(t.size) + np.cumsum(markers_before)
    records = np.zeros((t.size + int(markers_before.sum()), BYTES_PER_EVENT), np.uint8)
    records[:, 1] = OVERFLOW_Y
    clock = t - markers_due * OVERFLOW_US
    records[rows] = np.stack([x, y, p << 7 | clock >> 16, clock >> 8 & 255, clock & 255], axis=1)
    return records
