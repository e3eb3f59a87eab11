"""The one door through which events come in: whatever people hold them in becomes one checked, structured array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit

from snn_helpers._checks import check_choice, check_int
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError, make_events

ALIASES = {
    "x": ("x", "xs", "x_pos", "col", "column", "addr_x"),
    "y": ("y", "ys", "y_pos", "row", "addr_y"),
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps", "t_us", "time_us", "timestamp_us"),
    "p": ("p", "ps", "pol", "pols", "polarity", "polarities", "on", "addr_p"),
}
"""Names under which x, y, t and p are found, whatever their case."""

UNITS_US = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
EPOCH_US = 10**14
"""Times from here on (3 years) count from 1970 or a camera's clock, and are shifted so that the first is 0."""

COMMON_SENSORS = ((34, 34), (128, 128), (240, 180), (304, 240), (320, 240), (346, 260), (640, 480), (1280, 720))
"""Width and height of cameras that people have, from small to large."""

_LARGEST_PX = int(np.iinfo(np.int16).max)
# A pixel's mean rate in recordings is far below this; a thousandfold of a usual one is above it.
_SUSPECT_RATE_HZ = 2_000
_BURST = 2
_LARGEST_MAP = 1 << 24  # pixels of which a map is made
_LEAST_EVENTS_TO_SUSPECT = 1_000
_LEAST_TO_COMPILE = 10_000  # fewer are joined sooner by NumPy than by a kernel that has to be loaded first


def to_events(
    events: Any = None,
    *,
    x: Any = None,
    y: Any = None,
    t: Any = None,
    p: Any = None,
    columns: str | Sequence[str] | None = None,
    unit: str | None = None,
    sensor_size: Sequence[int] | None = None,
    sort: bool = False,
    name: str = "events",
) -> np.ndarray:
    """Turn events, however they are held, into a checked structured array; never into another recording.

    Parameters
    ----------
    events : structured array, mapping, data frame, array [N, 4] or sequence of four arrays [N]
        Fields or columns are found by their names (`ALIASES`), in any order. Without names, say `columns`.
    x, y, t, p : arrays [N]
        The events' columns, instead of `events`.
    columns : str or sequence of str, or None
        Order of the columns of a plain array, such as "txyp"; or names that stand for x, y, t and p in that order
        where the events' own names are others: ("px", "py", "stamp", "sign").
    unit : {"us", "ms", "s", "ns"} or None
        Unit of the times. None takes µs, and refuses times that do not look like it. Times between two µs are
        rounded down.
    sensor_size : (W, H) or (W, H, P), or None
        Events outside are refused. None takes every pixel that an int16 can name.
    sort : bool
        Sort by time, events of one time in their order; else times that run backwards are refused.
    name : str
        What messages call the events: an argument or a file.

    Returns
    -------
    ndarray [N] of `EVENT_DTYPE`
        x, y, t (µs, sorted) and p (1 = ON, 0 = OFF). Times beyond 10^14 µs, from 1970 for example, are shifted so
        that the first is 0. Events that are so already are returned as they are, not copied.

    Raises
    ------
    TypeError
        If there are no such columns or they hold no numbers.
    RecordingError
        If times, coordinates or polarities cannot be what they are said to be; the message says which and what to do.

    Examples
    --------
    >>> to_events({"ts": [0.5, 0.75], "pol": [-1, 1], "x": [3, 4], "y": [0, 9]}, unit="s").tolist()
    [(3, 0, 500000, 0), (4, 9, 750000, 1)]
    """
    if any(values is not None for values in (x, y, t, p)):
        if events is not None:
            raise TypeError(f"`{name}`: give either `events` or x, y, t and p, not both.")
        events = {field: values for field, values in zip("xytp", (x, y, t, p)) if values is not None}
    joined = join_columns(events, columns, unit, name)
    return check_events(joined, joined is not events, unit, sensor_size, sort, name)


def join_columns(events: Any, columns, unit: str | None, name: str) -> np.ndarray:
    """Convert as `to_events` does, but leave it to the caller to check the order, the sensor and the first time."""
    if unit is not None:
        check_choice("unit", unit, tuple(UNITS_US))
    if isinstance(events, np.ndarray) and events.dtype == EVENT_DTYPE and unit in (None, "us") and columns is None:
        return events
    found = _columns(events, columns, name)
    if (
        unit in (None, "us")
        and len(found["t"]) >= _LEAST_TO_COMPILE
        and all(values.dtype.isnative and values.dtype.kind in "iub" for values in found.values())
    ):
        joined = np.empty(len(found["t"]), EVENT_DTYPE)
        if fill_events(found["x"], found["y"], found["t"], found["p"], joined):
            return joined
    x, y = (_coordinate(field, found[field], name) for field in "xy")
    return make_events(x, y, convert_times(found["t"], unit, name), _polarity(found["p"], name))


@njit(cache=True, nogil=True)
def fill_events(x, y, t, p, events):
    """Fill `events`; return whether all values are as they must be, polarities 0 and 1 among them."""
    fine = True
    for i in range(events.size):
        event = events[i]
        column, row, polarity = np.int64(x[i]), np.int64(y[i]), np.int64(p[i])
        fine &= 0 <= column < 32768 and 0 <= row < 32768 and 0 <= polarity <= 1 and t[i] < 1 << 62
        event.x, event.y, event.t, event.p = column, row, t[i], polarity
    return fine


def check_sensor_size(sensor_size: Sequence[int], name: str = "sensor_size") -> tuple[int, int, int]:
    """Return (W, H, 2) after checking a width and a height, and the number of polarities where it is given."""
    size = tuple(sensor_size) if isinstance(sensor_size, Sequence | np.ndarray) else ()
    if len(size) not in (2, 3) or (len(size) == 3 and size[2] != 2):
        raise ValueError(f"`{name}` must be (width, height) in pixels; got {sensor_size!r}.")
    width, height = (check_int(f"{name}[{i}]", size[i], 1, _LARGEST_PX + 1) for i in range(2))
    return width, height, 2


def find_sensor_size(largest_x: int, largest_y: int) -> tuple[int, int, int]:
    """Return the smallest common sensor that has this pixel, else the smallest one at all, as (W, H, 2).

    Examples
    --------
    >>> find_sensor_size(127, 40), find_sensor_size(1500, 40)
    ((128, 128, 2), (1501, 41, 2))
    """
    for width, height in COMMON_SENSORS:
        if largest_x < width and largest_y < height:
            return width, height, 2
    return largest_x + 1, largest_y + 1, 2


def _columns(events, columns, name: str) -> dict[str, np.ndarray]:
    found = _found_columns(events, columns, name)
    arrays = {field: np.asarray(values) for field, values in found.items()}
    shapes = {field: values.shape for field, values in arrays.items()}
    if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) != 1:
        told = ", ".join(f"{field} {list(shape)}" for field, shape in shapes.items())
        raise RecordingError(f"`{name}`: x, y, t and p must be of one length, shape [N] each; got {told}.")
    return arrays


def _found_columns(events, columns, name: str) -> dict[str, Any]:
    if isinstance(events, np.ndarray) and events.dtype.names:
        names = events.dtype.names
    elif isinstance(events, Mapping):
        names = tuple(events)
    elif hasattr(events, "columns") and hasattr(events, "__getitem__"):  # a data frame, whoever's
        names = tuple(events.columns)
    else:
        return _plain_columns(events, columns, name)
    if columns is not None:
        wanted = tuple(columns)
        unknown = [column for column in wanted if column not in names]
        if unknown or len(wanted) != 4:
            raise TypeError(
                f"`{name}`: `columns` must name x, y, t and p among {', '.join(map(str, names))}; got {columns!r}."
            )
        by_field = dict(zip("xytp", wanted)) if set(wanted) != set("xytp") else {field: field for field in "xytp"}
        return {field: events[column] for field, column in by_field.items()}
    return {field: events[_named(field, names, name)] for field in "xytp"}


def _named(field: str, names: Sequence[Any], name: str) -> Any:
    fits = [known for known in names if str(known).strip().lower() in ALIASES[field]]
    if len(fits) == 1:
        return fits[0]
    problem = f"{len(fits)} columns could be `{field}` ({', '.join(map(str, fits))})" if fits else f"no `{field}`"
    raise TypeError(
        f"`{name}`: {problem} among {', '.join(map(str, names)) or 'no columns'}. Name them: "
        'columns=("its x", "its y", "its t", "its p").'
    )


def _plain_columns(events, columns, name: str) -> dict[str, np.ndarray]:
    order = tuple(columns) if columns is not None else ()
    if sorted(order) != sorted("xytp"):
        got = "nothing says" if columns is None else f"`columns` {columns!r} does not say"
        raise TypeError(
            f"`{name}`: {got} which column is x, y, t and p. Give a structured array, a dict or a data frame, or say "
            'the order: columns="txyp".'
        )
    if isinstance(events, Sequence) and len(events) == 4 and all(np.ndim(values) == 1 for values in events):
        lengths = {len(values) for values in events}
        if lengths != {4}:  # four arrays of four events could be either
            return dict(zip(order, events))
    table = np.asarray(events)
    if table.ndim != 2 or table.shape[1] != 4:
        raise TypeError(f"`{name}` must have the shape [N, 4] with columns={columns!r}; got {list(table.shape)}.")
    return dict(zip(order, table.T))


def _numbers(field: str, values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind == "O":  # a data frame's column of Python numbers, for example
        values = np.array(values.tolist())
    if values.size == 0 and values.dtype.kind not in "biuf":
        return values.astype(np.int64)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"`{name}`: `{field}` must hold numbers; got {values.dtype}.")
    if values.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise RecordingError(f"`{name}`: `{field}` of event {bad[0]} is {values[bad[0]]}. Leave such events out.")
    return values


def _coordinate(field: str, values: np.ndarray, name: str) -> np.ndarray:
    values = _numbers(field, values, name)
    if not values.size:
        return values
    low, high = values.min(), values.max()
    if low < 0 or high > _LARGEST_PX:
        place = int(np.argmin(values) if low < 0 else np.argmax(values))
        raise RecordingError(
            f"`{name}`: event {place} has {field} = {values[place]}; pixels are counted from 0, to at most "
            f"{_LARGEST_PX}."
        )
    if values.dtype.kind == "f":
        bad = np.flatnonzero(values != np.floor(values))
        if bad.size:
            raise RecordingError(
                f"`{name}`: event {bad[0]} has {field} = {values[bad[0]]}, between two pixels. Round undistorted or "
                "normalised coordinates to pixels first."
            )
    return values


def _polarity(values: np.ndarray, name: str) -> np.ndarray:
    values = _numbers("p", values, name)
    if values.dtype == bool or not values.size:
        return values
    off, on = np.count_nonzero((values == 0) | (values == -1)), np.count_nonzero(values == 1)
    mixed = on < values.size and values.min() == -1 and (values == 0).any()
    if off + on < values.size or mixed:
        got = np.unique(values[:: max(1, values.size // 1_000_000)])[:5]
        raise RecordingError(
            f"`{name}`: polarities must be 0 and 1, -1 and 1, or False and True (1 = ON); got "
            f"{', '.join(map(str, got.tolist()))}. Say which of them means ON by converting p to 0 and 1 first."
        )
    return values == 1


@np.errstate(over="ignore", invalid="ignore")  # what overflows is beyond any clock
def convert_times(values: np.ndarray, unit: str | None, name: str) -> np.ndarray:
    """Return times in whole µs, int64 [N]."""
    if values.dtype.kind in "mM":
        if np.isnat(values).any():
            raise RecordingError(f"`{name}`: a time is missing (NaT). Leave such events out.")
        kind = "timedelta64[us]" if values.dtype.kind == "m" else "datetime64[us]"
        return values.astype(kind).astype(np.int64)
    values = _numbers("t", values, name)
    if not values.size:
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        if unit is None and np.any(values != np.floor(values)):
            span = float(values.max() - values.min())
            guess = "s" if span < 1_000 else "ms"
            raise RecordingError(
                f"`{name}`: times must be whole µs; got {values[np.flatnonzero(values != np.floor(values))[0]]} in a "
                f"span of {span:g}. {'Seconds' if guess == 's' else 'Milliseconds'}? Say unit={guess!r}."
            )
        scaled = values.astype(np.float64) * UNITS_US[unit or "us"]
        if np.abs(scaled).max() >= 2.0**62:
            raise RecordingError(f"`{name}`: times reach {values.max():g} {unit or 'us'}, beyond any clock.")
        # 0.29 s is 289999.99999999994 µs in float64; nearest where that is meant, else down.
        nearest = np.rint(scaled)
        return np.where(np.abs(scaled - nearest) < 1e-3, nearest, np.floor(scaled)).astype(np.int64)
    factor = UNITS_US[unit or "us"]
    if int(values.max()) * max(factor, 1) >= 2**62 or int(values.min()) < -(2**62):
        raise RecordingError(f"`{name}`: times reach {values.max()} {unit or 'us'}, beyond any clock.")
    whole = values.astype(np.int64)
    return whole // 1_000 if unit == "ns" else whole * int(factor)


def check_events(events: np.ndarray, is_ours: bool, unit: str | None, sensor_size, sort: bool, name: str) -> np.ndarray:
    """Check events of our own layout, as `to_events` does; only those that are `ours` may be changed in place."""
    largest_x, largest_y, smallest, has_other_p, backwards = _extremes(events)
    if has_other_p:  # -1 and 1, in our own layout
        events = make_events(events["x"], events["y"], events["t"], _polarity(events["p"], name))
    if smallest < 0:
        place = int(np.flatnonzero((events["x"] < 0) | (events["y"] < 0))[0])
        event = events[place]
        raise RecordingError(f"`{name}`: event {place} is at ({event['x']}, {event['y']}); pixels are counted from 0.")
    if sensor_size is not None:
        width, height, _ = check_sensor_size(sensor_size)
        if largest_x >= width or largest_y >= height:
            place = int(np.flatnonzero((events["x"] >= width) | (events["y"] >= height))[0])
            event = events[place]
            raise RecordingError(
                f"`{name}`: event {place} is at ({event['x']}, {event['y']}), outside the {width} x {height} sensor. "
                "Is this a recording of another camera, x and y swapped, or damaged?"
            )
    if backwards >= 0:
        if not sort:
            raise RecordingError(
                f"`{name}`: time runs backwards at event {backwards} ({events['t'][backwards - 1]} to "
                f"{events['t'][backwards]} µs). Say sort=True if the events are whole but out of order."
            )
        events, is_ours = events[np.argsort(events["t"], kind="stable")], True
    if not len(events):
        return events
    if events["t"][-1] >= 2**62:
        raise RecordingError(f"`{name}`: times reach {events['t'][-1]} µs, beyond any clock.")
    if unit is None:
        _suspect_unit(events, largest_x, largest_y, name)
    return _from_zero(events, is_ours, name)


@njit(cache=True, nogil=True)
def _extremes(events):
    """Return the largest x and y, the smallest of both, whether some p is not 0 or 1, and the first step back."""
    largest_x, largest_y, smallest, has_other_p, backwards = -1, -1, 0, False, -1
    last, ordered = events[0].t if events.size else np.int64(0), True
    for i in range(events.size):  # branch-free, hence fast: where time runs backwards is looked for only if it does
        event = events[i]
        largest_x, largest_y = max(largest_x, np.int64(event.x)), max(largest_y, np.int64(event.y))
        smallest = min(smallest, np.int64(event.x), np.int64(event.y))
        has_other_p |= (event.p & ~1) != 0
        ordered &= event.t >= last
        last = event.t
    if not ordered:
        backwards = 1
        while events[backwards].t >= events[backwards - 1].t:
            backwards += 1
    return largest_x, largest_y, smallest, has_other_p, backwards


def _suspect_unit(events: np.ndarray, largest_x: int, largest_y: int, name: str) -> None:
    """Refuse times that would have every pixel fire thousands of times a second, or that lie 30,000 years ahead."""
    if events["t"][0] > 1_000 * EPOCH_US:
        raise RecordingError(f"`{name}`: the first time is {events['t'][0]} µs. Nanoseconds? Say unit='ns'.")
    if len(events) < _LEAST_EVENTS_TO_SUSPECT:
        return
    span_us = int(events["t"][-1] - events["t"][0]) + 1
    if len(events) * 1e6 / span_us < _SUSPECT_RATE_HZ:  # all of them together
        return
    if (largest_y + 1) * (largest_x + 1) <= _LARGEST_MAP:
        active = _active_pixels(events, np.zeros((largest_y + 1, largest_x + 1), np.bool_))
    else:
        active = len(np.unique(events["y"].astype(np.int32) << 15 | events["x"]))
    rate_hz = len(events) * 1e6 / span_us / active
    # In a burst, in which most pixels fire once, it says nothing.
    if len(events) > _BURST * active and rate_hz > _SUSPECT_RATE_HZ:
        guess = "s" if rate_hz > 1_000 * _SUSPECT_RATE_HZ else "ms"
        raise RecordingError(
            f"`{name}`: {len(events):,} events in {span_us:,} µs are {rate_hz:,.0f} a second at each pixel, more than "
            f"a camera gives. {'Seconds' if guess == 's' else 'Milliseconds'}? Say unit={guess!r}; or unit='us' if "
            "this is so."
        )


@njit(cache=True, nogil=True)
def _active_pixels(events, active):
    count = 0
    for event in events:
        count += not active[event.y, event.x]
        active[event.y, event.x] = True
    return count


def _from_zero(events: np.ndarray, is_ours: bool, name: str) -> np.ndarray:
    first = int(events["t"][0])
    if first < 0:
        raise RecordingError(f"`{name}`: the first time is {first} µs; times must be 0 or later. Subtract the first.")
    if first < EPOCH_US:
        return events
    if not is_ours:
        events = events.copy()
    _shift(events, first)
    return events


@njit(cache=True, nogil=True)
def _shift(events, first):
    for event in events:
        event.t -= first
