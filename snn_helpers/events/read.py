"""Read and write recordings of any format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snn_helpers._checks import check_choice
from snn_helpers._paths import user_path
from snn_helpers.events.convert import (
    EPOCH_US,
    check_events,
    check_sensor_size,
    find_sensor_size,
    join_columns,
    to_events,
)
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError, join_events
from snn_helpers.events.formats import Foreign, Format, all_formats, recognise, suffix_format
from snn_helpers.events.formats.base import Options, Reading


@dataclass(frozen=True)
class Recording:
    """What a file holds.

    Attributes
    ----------
    events : structured array [N] with fields x, y, t (µs), p
    sensor_size : (W, H, P)
        Of the camera.
    sensor_from : {"stated", "file", "events"}
        Who says so: the caller, the file, or the events, whose smallest common sensor it is.
    format : str
        The file's format, by its content.
    """

    events: np.ndarray
    sensor_size: tuple[int, int, int]
    sensor_from: str
    format: str


def read_events(
    path: str | os.PathLike,
    *,
    columns: str | Sequence[str] | None = None,
    unit: str | None = None,
    sensor_size: Sequence[int] | None = None,
    sort: bool = False,
) -> np.ndarray:
    """Read the events of one recording; its format is found from its content.

    Parameters
    ----------
    path : path
        A file of N-MNIST's records (`.bin`, `.bs2`), AEDAT 2.0, 3.1 or 4.0, Prophesee EVT 2.0, 2.1, 3.0 or `.dat`,
        Event Stream, HDF5, NumPy, MATLAB, or text.
    columns : str or sequence of str, or None
        For files that do not say it: what their columns are, as `to_events` takes it.
    unit : {"us", "ms", "s", "ns"} or None
        For files that do not say it: the unit of their times.
    sensor_size : (W, H), or None
        Events outside are refused; None takes what the file says.
    sort : bool
        Sort by time; else a file whose times run backwards is refused.

    Returns
    -------
    ndarray [N] of `EVENT_DTYPE`
        x, y, t (µs) and p; times from 1970 are shifted so that the first is 0.

    Raises
    ------
    RecordingError
        If the file is empty, damaged, or of another kind, which is named.
    FileNotFoundError
        If there is no such file.
    ModuleNotFoundError
        If the format's reader is not installed.
    """
    return read_recording(path, columns=columns, unit=unit, sensor_size=sensor_size, sort=sort).events


def read_recording(
    path: str | os.PathLike,
    *,
    columns: str | Sequence[str] | None = None,
    unit: str | None = None,
    sensor_size: Sequence[int] | None = None,
    sort: bool = False,
) -> Recording:
    """Read a recording with its sensor's size and format; arguments and errors as `read_events` has them."""
    path = user_path(path)
    known, reading = _open(path, Options(columns, unit, _stated(sensor_size)))
    size = sensor_size if sensor_size is not None else reading.sensor_size
    blocks = [_joined(block, reading, str(path)) for block in reading.blocks]
    events = blocks[0] if len(blocks) == 1 else join_events([np.empty(0, EVENT_DTYPE), *blocks])
    unit = "us" if reading.unit else None  # unknown, and taken for µs: to_events looks whether it can be
    events = check_events(events, True, unit, size, sort, str(path))
    if not len(events):
        raise RecordingError(f"{path}: holds no events.")
    if size is not None:
        return Recording(events, check_sensor_size(size), "file" if sensor_size is None else "stated", known.name)
    found = find_sensor_size(int(events["x"].max()), int(events["y"].max()))
    return Recording(events, found, "events", known.name)


class RecordingBlocks:
    """The events of a file, some at a time, so that one longer than the memory can be read.

    Iterating gives structured arrays of at most about `block` events, one after the other in time.

    Attributes
    ----------
    sensor_size : (W, H, P) or None
        What the caller or the file says; None if neither does.
    format : str
        The file's format.
    """

    def __init__(self, path, block: int = 1 << 20, *, columns=None, unit=None, sensor_size=None, sort: bool = False):
        self._path = user_path(path)
        known, self._reading = _open(self._path, Options(columns, unit, _stated(sensor_size), block))
        self._sort = sort
        size = sensor_size if sensor_size is not None else self._reading.sensor_size
        self.sensor_size = None if size is None else check_sensor_size(size)
        self.sensor_from = "stated" if sensor_size is not None else "file" if size is not None else "events"
        self.format = known.name

    def __iter__(self) -> Iterator[np.ndarray]:
        name, unit, last, shift, count = str(self._path), self._reading.unit, None, 0, 0
        for block in self._reading.blocks:
            events = _joined(block, self._reading, name)
            if not len(events):
                continue
            if last is None and events["t"].min() >= EPOCH_US:
                shift = int(events["t"].min())
            if shift:
                events["t"] -= shift
            stated = "us" if unit or last is not None else None
            events = check_events(events, True, stated, self.sensor_size, self._sort, name)
            if last is not None and events["t"][0] < last:
                raise RecordingError(
                    f"{name}: time runs backwards at event {count} ({last} to {events['t'][0]} µs). Sorting it needs "
                    "more than a block of events; write a sorted copy with read_events(sort=True) and write_events."
                )
            last, count = int(events["t"][-1]), count + len(events)
            yield events


def write_events(
    path: str | os.PathLike, events, sensor_size: Sequence[int] | None = None, format: str | None = None
) -> None:
    """Write one recording, whole or not at all.

    Parameters
    ----------
    path : path
        The file; its suffix says the format: .bin, .npz, .npy, .csv, .h5, .es, .dat, .raw (EVT 2.0), .aedat (3.1).
    events : as `to_events` takes them
        Times in µs.
    sensor_size : (W, H), or None
        Of the camera, for formats that hold it; None takes the smallest common one.
    format : str or None
        Name of the format, where the suffix does not say it.

    Raises
    ------
    RecordingError
        If the events do not fit the format.
    ValueError
        If there is no such format.
    """
    path = user_path(path)
    events = to_events(events, unit="us", sensor_size=sensor_size, name=str(path))
    if format is not None:
        writable = {known.name: known for known in all_formats() if known.write is not None}
        known: Format | None = writable[check_choice("format", format, tuple(writable))]
    else:
        known = suffix_format(path)
    if known is None or known.write is None:
        endings = ", ".join(ending for known in all_formats() if known.write for ending in known.suffixes)
        raise ValueError(f"`path`: {path.name!r} names no format that can be written. Endings that do: {endings}.")
    if not len(events):
        raise RecordingError(f"{path}: there are no events to write.")
    size = sensor_size or find_sensor_size(int(events["x"].max()), int(events["y"].max()))
    known.write(path, events, check_sensor_size(size))


def _stated(sensor_size) -> tuple[int, int, int] | None:
    return None if sensor_size is None else check_sensor_size(sensor_size)


def _open(path: Path, options: Options) -> tuple[Format, Reading]:
    if os.path.isdir(path):
        raise RecordingError(
            f"{path}: is a folder, not a recording. Name a file in it, or import it: `snn-helpers import`."
        )
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe, or a device that may never end
        raise RecordingError(f"{path}: is no ordinary file. Copy what it gives into one.")
    try:
        known = recognise(path)
    except FileNotFoundError as err:
        link = f" (a link to {path.readlink()})" if path.is_symlink() else ""
        raise FileNotFoundError(f"{path}: there is no such file{link}.") from err
    except OSError as err:
        raise RecordingError(f"{path}: cannot be read ({err.strerror or err}).") from err
    if path.stat().st_size == 0:
        raise RecordingError(f"{path}: the file is empty, so it is no recording. Copy or unpack it again.")
    if isinstance(known, Foreign):
        raise RecordingError(f"{path}: this is {known.title}, no recording that is read. {known.advice}")
    if known is None:
        raise RecordingError(
            f"{path}: none of the formats that are read ({', '.join(each.name for each in all_formats())}), nor "
            "another known kind of file. Is it cut short? Else write its events with np.savez(x=, y=, t=, p=)."
        )
    try:
        reading = known.read(path, options)
    except OSError as err:
        raise RecordingError(f"{path}: cannot be read ({err.strerror or err}).") from err
    if reading.sensor_size is not None:
        try:
            check_sensor_size(reading.sensor_size, "sensor_size")
        except (ValueError, TypeError) as err:
            raise RecordingError(f"{path}: it gives its camera a size that cannot be. {err}") from err
    return known, reading


def _joined(block, reading: Reading, name: str) -> np.ndarray:
    try:
        return join_columns(block, reading.columns, reading.unit, name)
    except TypeError as err:  # for a file, other columns than x, y, t and p are a fault of the recording
        raise RecordingError(str(err)) from err
