"""Bin events into frames for a whole batch, straight from flat arrays, with augmentation in the same pass."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from snn_helpers._checks import check_choice, check_float, check_int
from snn_helpers.events.convert import check_sensor_size
from snn_helpers.events.dtype import RecordingError
from snn_helpers.events.pixel import hash_bits

WINDOWS = ("recording", "tonic")
ORIGINS = ("first", "zero")


class EventsLostWarning(UserWarning):
    """Frames leave events out; the message says which share they keep."""


@dataclass(frozen=True)
class Augment:
    """Random changes made to a recording while it is binned.

    Parameters
    ----------
    max_shift : int, pixels
        The recording is moved by a whole number of pixels in [-max_shift, max_shift] along x and y; what
        leaves the field is lost.
    drop : float in [0, 1]
        Each event is left out with this probability.
    warp : float in [0, 0.5]
        The recording is stretched, turned and sheared about the middle of the field: each entry of the 2 x 2 matrix
        differs from the identity's by up to this. 0.15 turns by up to 9 degrees and stretches by up to 15 %. Events
        land between pixels and go to a neighbour at random, the nearer the likelier, so that no stripes appear.

    Raises
    ------
    TypeError, ValueError
        If a value is of the wrong type or out of range.
    """

    max_shift: int = 0
    drop: float = 0.0
    warp: float = 0.0

    def __post_init__(self):
        check_int("max_shift", self.max_shift, low=0)
        check_float("drop", self.drop, low=0, high=1)
        check_float("warp", self.warp, low=0, high=0.5)


@dataclass(frozen=True)
class FrameSpec:
    """How recordings become frames.

    Parameters
    ----------
    num_steps : int
        Frames a recording, T.
    window : {"recording", "tonic"}
        "recording": T bins of equal length over the recording, every event kept. "tonic": exactly as
        `tonic.transforms.ToFrame(n_time_bins=T)`, whose bin width is floored to whole µs, so that the last
        events fall out.
    window_us : int or None
        Bins of this fixed length instead; events after T bins are left out, with a warning.
    origin : {"first", "zero"}
        Where the first bin begins: at a recording's first event, or at time 0 of its clock, which keeps streams of
        one clock in step.
    size : (W, H), int or None
        Pool the pixels to this many, all that fall on one added up; None keeps the sensor's own.

    Raises
    ------
    TypeError, ValueError
        If a value is of the wrong type or out of range, or values do not go together.
    """

    num_steps: int = 25
    window: str = "recording"
    window_us: int | None = None
    origin: str = "first"
    size: tuple[int, int] | None = None

    def __post_init__(self):
        check_int("num_steps", self.num_steps, low=1)
        check_choice("window", self.window, WINDOWS)
        check_choice("origin", self.origin, ORIGINS)
        if self.size is not None:
            size = self.size if isinstance(self.size, Sequence) else (self.size, self.size)
            object.__setattr__(self, "size", check_sensor_size(size, "size")[:2])
        if self.window == "tonic" and self.origin != "first":
            raise ValueError("`origin`: tonic's bins begin at the first event; leave `window` or `origin` out.")
        if self.window_us is not None:
            check_int("window_us", self.window_us, low=1)
            if self.window != "recording":
                raise ValueError(f"`window_us` sets the bins itself; leave `window` out (got {self.window!r}).")


def bin_frames(
    events: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    offsets: np.ndarray,
    indices: np.ndarray,
    sensor_size: tuple[int, int, int],
    spec: FrameSpec,
    augment: Augment | None = None,
    seed: int = 0,
    draws: np.ndarray | None = None,
    checked: bool = False,
) -> np.ndarray:
    """Count events in bins of time, polarity and pixel for a batch of recordings.

    Parameters
    ----------
    events : four flat arrays x, y, t (whole µs), p
        The events of all recordings, one after the other, each recording sorted by t. A polarity of -1 counts as 0,
        OFF.
    offsets : int64 [N + 1]
        Recording i is events[offsets[i]:offsets[i + 1]].
    indices : int64 [B]
        Which recordings, in the order of the batch.
    sensor_size : (W, H, P)
        The frames' last three axes, reversed.
    spec : FrameSpec
        Number of steps and rule of the bins.
    augment : Augment or None
        Shift, event drop and warp.
    seed : int
        Seed of the augmentation. What happens to a recording depends on (seed, its draw) only, not on the batch.
    draws : int64 [B] or None
        Number of each one's draw of the augmentation, so that a recording that comes twice can be changed in two
        ways; None takes its index.
    checked : bool
        The events were checked before, as those of a store are.

    Returns
    -------
    uint8 [T, B, P, H, W]
        Event counts; a count beyond 255 stays at 255. A recording without events gives zeros.

    Raises
    ------
    IndexError
        If an index is outside the recordings.
    TypeError
        If the columns are no whole numbers.
    RecordingError
        If an event lies outside the sensor, has no polarity in {0, 1, -1}, or lies before the one in front of it.

    Warns
    -----
    EventsLostWarning
        If fixed bins end before the recordings, or tonic's bins are shorter than a µs.
    """
    indices = np.asarray(indices, dtype=np.int64)
    total = len(offsets) - 1
    if indices.size and (indices.min() < 0 or indices.max() >= total):
        raise IndexError(f"`indices` must be in 0..{total - 1}; got {indices.min()}..{indices.max()}.")
    if not checked:
        _check_columns(events, offsets, indices, sensor_size)
    width, height, polarities = sensor_size
    wide, high = spec.size or (width, height)
    shape = spec.num_steps, indices.size, polarities, high, wide
    try:
        frames = np.zeros(shape, np.uint8)
    except (MemoryError, ValueError) as err:  # more than there is, or than can be counted
        size = f"{math.prod(shape) / 2**30:,.1f} GiB"
        raise MemoryError(f"frames {list(shape)} need {size} of memory, which are not free. Take fewer steps.") from err
    augment = augment or Augment()
    width_us = spec.window_us or (-1 if spec.window == "tonic" else 0)
    drop_below = np.uint64(int(augment.drop * 2**64)) if augment.drop < 1 else np.uint64(2**64 - 1)
    key = np.uint64(int(seed) % 2**64)
    draws = indices if draws is None else np.asarray(draws, dtype=np.int64)
    bins = (width_us, spec.origin == "zero", width, height)
    changes = (augment.max_shift, float(augment.warp), drop_below, key)
    kept = _count(*events, offsets, indices, draws, bins, changes, frames)
    if spec.window_us is not None or not kept:
        _warn_of_loss(kept, int(np.sum(np.asarray(offsets)[indices + 1] - np.asarray(offsets)[indices])), spec)
    return frames


def _check_columns(events, offsets, indices, sensor_size) -> None:
    for name, values in zip("xytp", events):
        if values.dtype.kind not in "iub":
            raise TypeError(
                f"`{name}` must hold whole numbers, times in µs; got {values.dtype}. Pass the events through "
                "to_events, with the unit of their times."
            )
    width, height, _ = sensor_size
    for index in indices:
        start, stop = offsets[index : index + 2]
        wrong = _first_fault(*events, start, stop, width, height)  # type: ignore[call-arg]
        if wrong >= 0:
            x, y, t, p = (int(values[wrong]) for values in events)
            raise RecordingError(
                f"`events`: event {wrong} (x={x}, y={y}, t={t} µs, p={p}) lies outside the {width} x {height} sensor, "
                "has no polarity of 0 or 1, or comes before its predecessor. Pass the events through to_events first."
            )


def _warn_of_loss(kept: int, total: int, spec: FrameSpec) -> None:
    if kept == total:
        return
    rule, advice = (
        f"{spec.num_steps} bins of {spec.window_us or 0:,} µs",
        "Is `window_us` in µs, and are the bins enough?",
    )
    if spec.window_us is None:
        rule, advice = "tonic's bins of whole µs", 'The recording is too short for them; window="recording" keeps all.'
    warnings.warn(
        f"{rule} keep {kept:,} of {total:,} events ({kept / total:.2%}). {advice}", EventsLostWarning, stacklevel=3
    )


@njit(cache=True, nogil=True)
def _edge(number, num_steps, width_us, first, last):
    """Return the time at which bin `number` begins, in µs; bin `num_steps` ends everything.

    `width_us` > 0: fixed bins; -1: tonic's floored width; 0: equal bins that keep every event. In the last, event
    t falls in bin (t - first) * T // (last - first + 1), so that an edge is that fraction rounded up.
    """
    if width_us > 0:
        return first + number * width_us
    if width_us < 0:
        return first + number * ((last - first) // num_steps)
    span = last - first + 1
    return first + (number * span + num_steps - 1) // num_steps


@njit(cache=True, nogil=True)
def _uniform(key, number):
    """Return draw `number` of the recording with this key, in [0, 1)."""
    return (hash_bits(key ^ hash_bits(number, 1), 1) >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def _first_fault(x, y, t, p, start, stop, width, height):
    """Return the first event outside the sensor, of no polarity or out of order, else -1."""
    largest_x, largest_y, smallest, low_p, high_p, ordered = 0, 0, 0, 0, 0, True
    for i in range(start, stop):  # branch-free, hence fast: faults are looked for one by one only if there are any
        largest_x, largest_y = max(largest_x, np.int64(x[i])), max(largest_y, np.int64(y[i]))
        smallest = min(smallest, min(np.int64(x[i]), np.int64(y[i])))
        low_p, high_p = min(low_p, np.int64(p[i])), max(high_p, np.int64(p[i]))
    for i in range(start + 1, stop):
        ordered &= np.int64(t[i - 1]) <= np.int64(t[i])
    if largest_x < width and largest_y < height and smallest >= 0 and low_p >= -1 and high_p <= 1 and ordered:
        return -1
    for i in range(start, stop):
        inside = 0 <= np.int64(x[i]) < width and 0 <= np.int64(y[i]) < height
        if not inside or abs(np.int64(p[i])) > 1 or (i > start and np.int64(t[i]) < np.int64(t[i - 1])):
            return i
    return -1


@njit(cache=True, nogil=True)
def _count(x, y, t, p, offsets, indices, draws, bins, changes, frames):
    """Fill `frames`; return how many events lie in one of its bins."""
    width_us, from_zero, width, height = bins
    max_shift, warp, drop_below, seed = changes
    num_steps, _, _, high, wide = frames.shape
    pooled = high != height or wide != width
    kept = 0
    for b in range(indices.size):
        start, stop = offsets[indices[b]], offsets[indices[b] + 1]
        if start == stop:
            continue
        key = hash_bits(seed ^ hash_bits(np.uint64(draws[b]), 1), 1)
        span = np.uint64(2 * max_shift + 1)
        dx = np.int64(hash_bits(key ^ np.uint64(1), 1) % span) - max_shift
        dy = np.int64(hash_bits(key ^ np.uint64(2), 1) % span) - max_shift
        matrix = [warp * (2.0 * _uniform(key, np.uint64(number)) - 1.0) for number in range(4)]
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        first, last = np.int64(t[start]), np.int64(t[stop - 1])
        if from_zero:
            first = np.int64(0)
        step = -1
        next_edge = _edge(0, num_steps, width_us, first, last)
        kept += stop - start
        for i in range(start, stop):
            while np.int64(t[i]) >= next_edge:
                step += 1
                if step == num_steps:
                    break
                next_edge = _edge(step + 1, num_steps, width_us, first, last)
            if step == num_steps:
                kept -= stop - i
                break
            if drop_below > 0 and hash_bits(key + np.uint64(i - start + 3), 1) < drop_below:
                continue
            column, row = np.int64(x[i]) + dx, np.int64(y[i]) + dy
            if warp > 0:
                from_x, from_y = x[i] - middle_x, y[i] - middle_y
                draw = np.uint64(2 * (i - start) + 4)
                column += np.int64(np.floor(matrix[0] * from_x + matrix[1] * from_y + _uniform(key, draw)))
                draw += np.uint64(1)
                row += np.int64(np.floor(matrix[2] * from_x + matrix[3] * from_y + _uniform(key, draw)))
            if 0 <= column < width and 0 <= row < height:
                if pooled:
                    column, row = column * wide // width, row * high // height
                channel = 1 if p[i] > 0 else 0  # -1 is OFF, too
                if frames[step, b, channel, row, column] < 255:
                    frames[step, b, channel, row, column] += 1
    return kept
