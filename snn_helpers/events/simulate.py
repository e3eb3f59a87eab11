"""A simulated event camera in front of which a dark digit on bright ground makes N-MNIST's three saccades.

Only integers decide an event, and every random number is a hash of (seed, recording, pixel, purpose), so that every
machine and every number of threads makes the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import njit

from snn_helpers._checks import check_int
from snn_helpers.events.camera import (
    DIGIT_PX,
    FIELD_PX,
    KNOT_US,
    NOISE_STEPS,
    STEP_US,
    Camera,
)

_PAUSES_US = ((85_000, 105_000), (210_000, 226_000))  # between the saccades, where a delay can change unseen

_OCTAVE = 1 << 16  # fixed point of the log intensity
_FINER = 8  # extra bits of what a pixel remembers: the leak of one step is far below 1/65536 octave
_STEP_BITS = 9  # STEP_US == 1 << _STEP_BITS
_MARGIN_PX = 10  # bare ground around the digit: a field moved within _PATH_RANGE stays on the canvas
_CELLS = 4  # canvas cells a pixel
_CANVAS = (DIGIT_PX + 2 * _MARGIN_PX) * _CELLS
_GROUND = 255 * 16  # light of the bare ground: a grey value and 4 more bits, for the blur
_X_BIT, _Y_BIT, _T_BIT, _XY_MASK = 1, 7, 13, 63  # an event in one int64 that sorts by time
_BLOCK = 256  # recordings between two looks at the size of the event buffer

# What a pixel's random numbers are for; the lower 32 bits count the numbers of one purpose.
_FOR_MISMATCH, _FOR_PHASE, _FOR_NOISE, _FOR_REDRAW = 0 << 32, 1 << 32, 2 << 32, 3 << 32
_FOR_SACCADES = FIELD_PX * FIELD_PX  # beyond the pixels' own streams of a recording


class Recordings(NamedTuple):
    """N recordings in flat arrays; recording i is the slice offsets[i]:offsets[i + 1] of each.

    Attributes
    ----------
    x, y : uint8 [E]
        Pixel, counted from the top-left corner.
    p : uint8 [E]
        Polarity: 1 = ON (brighter), 0 = OFF.
    t : int64 [E]
        Time in µs since the start of the recording, sorted within a recording.
    offsets : int64 [N + 1]
        Where recordings start and end.
    """

    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    t: np.ndarray
    offsets: np.ndarray


def simulate(images: np.ndarray, ids: np.ndarray, camera: Camera | None = None, seed: int = 0) -> Recordings:
    """Record each image with the simulated event camera.

    Parameters
    ----------
    images : uint8 [N, 28, 28]
        Ink: 0 is bare, bright ground, 255 full ink.
    ids : integers [N], not negative
        Name of each recording. Its random numbers depend on `seed` and its id only: any subset, in any order, simulates
        to the same bits.
    camera : Camera or None
        Parameters; None for the defaults.
    seed : int, not negative

    Returns
    -------
    Recordings
        N recordings; one without events is empty.

    Raises
    ------
    TypeError, ValueError
        If `images`, `ids`, `camera` or `seed` are not as above.

    Examples
    --------
    >>> blank = np.zeros((1, 28, 28), dtype=np.uint8)
    >>> recordings = simulate(blank, ids=np.array([7]))
    >>> len(recordings.offsets), recordings.x.dtype.name, recordings.t.dtype.name
    (2, 'uint8', 'int64')
    """
    camera = Camera() if camera is None else camera
    _check_arguments(images, ids, camera)
    keys = _recording_keys(np.asarray(ids).astype(np.uint64), check_int("seed", seed, 0, 2**63 - 1))
    images = np.ascontiguousarray(images)
    physics = _physics(camera)
    log2 = log2_table(physics.stray + _GROUND + 1)
    knots = np.array((camera.path_x_milli_px, camera.path_y_milli_px), dtype=np.int64)
    counts = np.zeros(len(images), dtype=np.int64)
    events = []
    room = 1 << 13  # events a recording; real recordings hold up to about 8,000
    for first in range(0, len(images), _BLOCK):
        block = slice(first, first + _BLOCK)
        while True:
            packed = np.empty((len(images[block]), room), dtype=np.int64)
            _simulate_block(images[block], keys[block], log2, knots, physics, packed, counts[block])
            if counts[block].max() <= room:
                break
            room = int(counts[block].max())
        rows = [np.sort(row[:count]) for row, count in zip(packed, counts[block], strict=True)]
        events.append(_unpack(np.concatenate(rows)))
    events.append(_unpack(np.empty(0, dtype=np.int64)))  # no images, no events
    offsets = np.concatenate(([0], np.cumsum(counts)))
    return Recordings(*(np.concatenate(field) for field in zip(*events, strict=True)), offsets)


def _check_arguments(images: np.ndarray, ids: np.ndarray, camera: Camera) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        got = f"dtype {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(f"`images` must be a NumPy array of uint8 (0 ground, 255 ink); got {got}. Convert it first.")
    if images.ndim != 3 or images.shape[1:] != (DIGIT_PX, DIGIT_PX):
        raise ValueError(
            f"`images` must have the shape [N, {DIGIT_PX}, {DIGIT_PX}]; got {list(images.shape)}. "
            "Reshape it; a single image needs an axis of length 1 in front."
        )
    ids = np.asarray(ids)
    if ids.shape != (len(images),):
        raise ValueError(
            f"`ids` must hold one id an image, shape [{len(images)}]; got shape {list(ids.shape)}. "
            "Give each image the index by which it is known."
        )
    if ids.size and not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"`ids` must be whole numbers; got dtype {ids.dtype}. Convert them with astype(np.int64).")
    if ids.size and ids.min() < 0:
        raise ValueError(f"`ids` must be >= 0; got {ids.min()} among them. Number the images from 0.")
    if not isinstance(camera, Camera):
        raise TypeError(f"`camera` must be a Camera or None; got {type(camera).__name__}. Use Camera(...).")


def log2_table(size: int) -> np.ndarray:
    """Return log2 of 0 .. size - 1 in 1/65536 octave, made by integer arithmetic only.

    Returns
    -------
    int32 [size]
        Never above the exact value, and less than 2/65536 octave below it; entry 0 is 0.

    Examples
    --------
    >>> log2_table(9)[[1, 2, 4, 8]] // 65536
    array([0, 1, 2, 3], dtype=int32)
    """
    number = np.maximum(np.arange(size, dtype=np.int64), 1)
    mantissa = number << 30
    table = np.zeros(size, dtype=np.int64)
    while (mantissa >= 1 << 31).any():  # whole octaves; leaves the mantissa in [1, 2) with 30 fractional bits
        table += np.where(mantissa >= 1 << 31, _OCTAVE, 0)
        mantissa = np.where(mantissa >= 1 << 31, mantissa >> 1, mantissa)
    for bit in range(15, -1, -1):  # squaring the mantissa moves the next fractional bit in front of the point
        mantissa = (mantissa * mantissa) >> 30
        table += np.where(mantissa >= 1 << 31, 1 << bit, 0)
        mantissa = np.where(mantissa >= 1 << 31, mantissa >> 1, mantissa)
    return table.astype(np.int32)


class _Physics(NamedTuple):
    """`Camera` in the units of the kernels: 1/65536 octave, µs, chances in 1/2^32 a noise window."""

    stray: int
    blur_passes: int
    jitter_us: int
    smoothing: int
    on: int
    off: int
    mismatch: int
    redraw: int
    refractory_us: int
    reset_us: int
    leak: int
    noise: int
    hot_x: int
    hot_y: int
    hot_noise: int


def _physics(camera: Camera) -> _Physics:
    window_us = NOISE_STEPS * STEP_US
    return _Physics(
        stray=max(camera.stray_light_permille * _GROUND // 1000, 1),
        blur_passes=camera.blur_passes,
        jitter_us=camera.saccade_jitter_us,
        smoothing=_OCTAVE * STEP_US // (STEP_US + camera.photoreceptor_us),
        on=camera.threshold_on_milli_octave * _OCTAVE // 1000,
        off=camera.threshold_off_milli_octave * _OCTAVE // 1000,
        mismatch=camera.mismatch_permille,
        redraw=camera.threshold_noise_permille,
        refractory_us=camera.refractory_us,
        reset_us=camera.reset_us,
        leak=(camera.leak_milli_octave_per_s * STEP_US * _OCTAVE << _FINER) // 10**9,
        noise=(camera.noise_milli_hz * window_us << 32) // 10**9,
        hot_x=camera.hot_pixel_x,
        hot_y=camera.hot_pixel_y,
        hot_noise=(camera.hot_pixel_milli_hz * window_us << 32) // 10**9,
    )


@njit(cache=True)
def _hash(key, counter):
    """Random number `counter` of the stream `key`, 64 bits: splitmix64 (Steele, Lea, Flood 2014)."""
    bits = key + np.uint64(counter) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@njit(cache=True)
def _recording_keys(ids, seed):
    keys = np.empty(len(ids), dtype=np.uint64)
    seed_key = _hash(np.uint64(seed), 1)
    for i in range(len(ids)):
        keys[i] = _hash(seed_key ^ _hash(ids[i], 1), 2)
    return keys


@njit(cache=True)
def _bell(bits):
    """Turn 64 random bits into a bell-shaped number, mean 0, standard deviation 1000, within 3464: four uniforms."""
    low = np.uint64(0xFFFF)
    total = np.int64(bits & low) + np.int64((bits >> np.uint64(16)) & low)
    total += np.int64((bits >> np.uint64(32)) & low) + np.int64(bits >> np.uint64(48))
    return (total - 131_070) * 1000 // 37_837


@njit(cache=True)
def _varied(threshold, bits, permille):
    """Vary `threshold` by a standard deviation of `permille`, but never to less than a quarter."""
    return max(threshold + threshold * permille * _bell(bits) // 1_000_000, threshold >> 2)


@njit(cache=True)
def _ink_box(image):
    """Return the first and last row, first and last column with ink; 0, -1, 0, -1 for a blank image."""
    top, bottom, left, right = DIGIT_PX, -1, DIGIT_PX, -1
    for row in range(DIGIT_PX):
        for col in range(DIGIT_PX):
            if image[row, col] > 0:
                top, bottom = min(top, row), max(bottom, row)
                left, right = min(left, col), max(right, col)
    return (top, bottom, left, right) if bottom >= 0 else (0, -1, 0, -1)


@njit(cache=True)
def _digit_light(image, log2, physics, light):
    """Fill `light` [192, 192] with the log intensity of the blurred digit, in quarter pixels."""
    light[:] = 0
    first, passes = _MARGIN_PX * _CELLS, physics.blur_passes
    for row in range(DIGIT_PX * _CELLS):
        for col in range(DIGIT_PX * _CELLS):
            light[first + row, first + col] = np.int32(image[row // _CELLS, col // _CELLS]) * 16
    top, bottom, left, right = _ink_box(image)  # each pass spreads the ink by one cell
    top, bottom = first + top * _CELLS - passes, first + (bottom + 1) * _CELLS + passes
    left, right = first + left * _CELLS - passes, first + (right + 1) * _CELLS + passes
    line = np.empty(_CANVAS, dtype=np.int32)
    for _ in range(passes):
        for row in range(top, bottom):
            line[:] = light[row]
            for col in range(left, right):
                light[row, col] = (line[col - 1] + 2 * line[col] + line[col + 1] + 2) >> 2
        line[:] = 0  # the row above, before this pass blurred it
        for row in range(top, bottom):
            for col in range(left, right):
                here = light[row, col]
                light[row, col] = (line[col] + 2 * here + light[row + 1, col] + 2) >> 2
                line[col] = here
    for row in range(_CANVAS):
        for col in range(_CANVAS):
            light[row, col] = log2[physics.stray + _GROUND - light[row, col]]


@njit(cache=True)
def _jittered_views(key, knots, physics):
    """Return how the pixels look at the canvas at every step of one recording.

    int64 [steps + 1, 3]: the cell at the centre of pixel (0, 0), as an index into the flat canvas, and how far the
    pixel's centre lies to the right of the cell's and below it, in 1/256 cell.
    """
    delays = np.empty(3, dtype=np.int64)
    for saccade in range(3):
        delays[saccade] = physics.jitter_us * _bell(_hash(_hash(key, _FOR_SACCADES), saccade)) // 1000
    end_us = (knots.shape[1] - 1) * KNOT_US
    views = np.empty((end_us // STEP_US + 1, 3), dtype=np.int64)
    for step in range(len(views)):
        t = step * STEP_US
        delay = delays[0]
        for pause in range(2):
            since = min(max(t - _PAUSES_US[pause][0], 0), _PAUSES_US[pause][1] - _PAUSES_US[pause][0])
            delay += (delays[pause + 1] - delays[pause]) * since // (_PAUSES_US[pause][1] - _PAUSES_US[pause][0])
        t = min(max(t - delay, 0), end_us - 1)
        knot, rest = t // KNOT_US, t % KNOT_US
        corner = (knots[:, knot] * (KNOT_US - rest) + knots[:, knot + 1] * rest) * (_CELLS * 256) // (KNOT_US * 1000)
        # A pixel's centre lies 1.5 cells after the centre of its first cell.
        right, down = _MARGIN_PX * _CELLS * 256 + 384 - corner[0], _MARGIN_PX * _CELLS * 256 + 384 - corner[1]
        views[step] = (down >> 8) * _CANVAS + (right >> 8), right & 255, down & 255
    return views


@njit(cache=True)
def _look(light, cell, right, down):
    """Return the log intensity between four cells of the flat canvas, of which `cell` is the top-left one."""
    upper = light[cell] * (256 - right) + light[cell + 1] * right
    lower = light[cell + _CANVAS] * (256 - right) + light[cell + _CANVAS + 1] * right
    return (upper * (256 - down) + lower * down) >> (16 - _FINER)


@njit(cache=True)
def _crossing(begin, end, level, after, reference, on, off):
    """Return when, and with which polarity, a level that goes from `level` to `after` leaves its band; -1 for never."""
    if after - reference > on:
        ahead, polarity = reference + on - level, 1
    elif reference - after > off:
        ahead, polarity = reference - off - level, 0
    else:
        return -1, 0
    if after == level:
        return begin, polarity
    return begin + min(max((end - begin) * ahead // (after - level), 0), end - begin - 1), polarity


@njit(cache=True)
def _noise_event(key, step, chance, start):
    """Return the time and polarity of the noise event in the window that begins with `step`; time -1 for none."""
    bits = _hash(key, _FOR_NOISE + step // NOISE_STEPS)
    if np.int64(bits >> np.uint64(32)) >= chance:
        return -1, 0
    return start + (np.int64(bits >> np.uint64(1)) & (NOISE_STEPS * STEP_US - 1)), np.int64(bits & np.uint64(1))


@njit(cache=True)
def _sees_change(light, first_cell, views, level, least):
    """Return whether a pixel's log intensity is more than `least` from `level` at some time, looking every 8 ms."""
    for step in range(0, len(views), 16):
        if abs(_look(light, first_cell + views[step, 0], views[step, 1], views[step, 2]) - level) > least:
            return True
    return False


@njit(cache=True)
def _pixel(x, y, sees_ink, light, views, key, physics, packed, count):
    """Append the events of one pixel to `packed`, as far as there is room; returns the new count."""
    key = _hash(key, y * FIELD_PX + x)
    base_on = _varied(physics.on << _FINER, _hash(key, _FOR_MISMATCH), physics.mismatch)
    base_off = _varied(physics.off << _FINER, _hash(key, _FOR_MISMATCH + 1), physics.mismatch)
    on, off = base_on, base_off
    noise = physics.hot_noise if x == physics.hot_x and y == physics.hot_y else physics.noise
    first_cell = (y * _CANVAS + x) * _CELLS
    level = _look(light, first_cell + views[0, 0], views[0, 1], views[0, 2])
    # What it saw before has left the reference anywhere in the pixel's band; on bare ground only the leak was at work.
    moved = sees_ink and _sees_change(light, first_cell, views, level, on >> 1)
    phase = np.int64(_hash(key, _FOR_PHASE) >> np.uint64(48))
    reference = level - (((on + off) * phase) >> 16) + off if moved else level - ((on * phase) >> 16)
    free_us, reset_us, noise_us, noise_polarity, events = 0, -1, -1, 0, 0
    for step in range(len(views) - 1):
        start, end = step * STEP_US, (step + 1) * STEP_US
        if step % NOISE_STEPS == 0:
            noise_us, noise_polarity = _noise_event(key, step, noise, start)
        before = level
        if sees_ink:
            now = _look(light, first_cell + views[step + 1, 0], views[step + 1, 1], views[step + 1, 2])
            level += ((now - level) * physics.smoothing) >> 16
        reference -= physics.leak
        if start <= reset_us < end:
            reference = before + (((level - before) * (reset_us - start)) >> _STEP_BITS)
        begin = max(start, free_us)
        makes_noise = begin <= noise_us < end
        if begin >= end or not (makes_noise or level - reference > on or reference - level > off):
            continue
        at_begin = before + (((level - before) * (begin - start)) >> _STEP_BITS)
        t, polarity = _crossing(begin, end, at_begin, level, reference, on, off)
        if makes_noise and (t < 0 or noise_us < t):
            t, polarity = noise_us, noise_polarity
        if count < len(packed):
            packed[count] = t << _T_BIT | y << _Y_BIT | x << _X_BIT | polarity
        count += 1
        free_us, reset_us = t + physics.refractory_us, t + physics.reset_us
        if reset_us < end:
            reference = before + (((level - before) * (reset_us - start)) >> _STEP_BITS)
        bits = _hash(key, _FOR_REDRAW + events)
        events += 1
        on, off = _varied(base_on, bits, physics.redraw), _varied(base_off, bits, physics.redraw)
    return count


@njit(cache=True)
def _ink_reach(image, knots, physics):
    """Return the first and last row, first and last column of the field that see blurred ink at some time."""
    top, bottom, left, right = _ink_box(image)
    if bottom < 0:
        return top, bottom, left, right
    far = physics.blur_passes // _CELLS + 3  # the blur, a pixel's own width, and the rounding of the path
    top, bottom = top - far + knots[1].min() // 1000, bottom + far + knots[1].max() // 1000
    left, right = left - far + knots[0].min() // 1000, right + far + knots[0].max() // 1000
    return top, bottom, left, right


@njit(cache=True, parallel=True)
def _simulate_block(images, keys, log2, knots, physics, packed, counts):
    """Simulate one recording a row of `packed`, pixel by pixel; `counts` may be more events than fit into the row."""
    for i in numba.prange(len(images)):
        light = np.empty((_CANVAS, _CANVAS), dtype=np.int32)
        _digit_light(images[i], log2, physics, light)
        views = _jittered_views(keys[i], knots, physics)
        top, bottom, left, right = _ink_reach(images[i], knots, physics)
        count = 0
        for y in range(FIELD_PX):
            for x in range(FIELD_PX):
                sees_ink = top <= y <= bottom and left <= x <= right
                count = _pixel(x, y, sees_ink, light.ravel(), views, keys[i], physics, packed[i], count)
        counts[i] = count


def _unpack(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y, p and t of packed events."""
    x, y = (packed >> _X_BIT) & _XY_MASK, (packed >> _Y_BIT) & _XY_MASK
    return x.astype(np.uint8), y.astype(np.uint8), (packed & 1).astype(np.uint8), packed >> _T_BIT
