"""A dark digit on bright ground moves before the simulated event camera: N-MNIST's three saccades, or any path.

Whole numbers only, as in `pixel.py`: every machine and every number of threads makes the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import njit

from snn_helpers._checks import check_int
from snn_helpers.events.camera import DIGIT_PX, FIELD_PX, KNOT_US, PATH_RANGE_MILLI_PX, STEP_US, Camera
from snn_helpers.events.parallel import call_parallel
from snn_helpers.events.pixel import (
    FINER,
    GROUND,
    as_physics,
    bell,
    hash_bits,
    log2_table,
    recording_keys,
    run_pixel,
    unpack,
)

_PAUSES_US = ((85_000, 105_000), (210_000, 226_000))  # between the saccades, where a delay can change unseen

_MARGIN_PX = 10  # bare ground around the digit: a field moved within PATH_RANGE_MILLI_PX stays on the canvas
_CELLS = 4  # canvas cells a pixel
_CANVAS = (DIGIT_PX + 2 * _MARGIN_PX) * _CELLS
_BLOCK = 256  # recordings between two looks at the size of the event buffer
_FOR_SACCADES = FIELD_PX * FIELD_PX  # random numbers beyond the pixels' own streams of a recording


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


def simulate(
    images: np.ndarray, ids: np.ndarray, camera: Camera | None = None, seed: int = 0, paths=None
) -> Recordings:
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
    paths : integers [2, K], or a sequence of N of them
        Where the digit's top-left corner is every 5 ms, x then y, in 1/1000 px: one path for all recordings, or one for
        each, of a length of its own; None for the camera's. On these paths no saccade comes early or late.

    Returns
    -------
    Recordings
        N recordings; one without events is empty.

    Raises
    ------
    TypeError, ValueError
        If `images`, `ids`, `camera`, `seed` or `paths` are not as above.

    Examples
    --------
    >>> blank = np.zeros((1, 28, 28), dtype=np.uint8)
    >>> recordings = simulate(blank, ids=np.array([7]))
    >>> len(recordings.offsets), recordings.x.dtype.name, recordings.t.dtype.name
    (2, 'uint8', 'int64')
    """
    camera = Camera() if camera is None else camera
    _check_arguments(images, ids, camera)
    keys = recording_keys(np.asarray(ids).astype(np.uint64), check_int("seed", seed, 0, 2**63 - 1))
    images = np.ascontiguousarray(images)
    physics = as_physics(camera)
    log2 = log2_table(physics.stray + GROUND + 1)
    if paths is None:
        paths = np.array((camera.path_x_milli_px, camera.path_y_milli_px), dtype=np.int64)
    else:
        paths, physics = _check_paths(paths, len(images)), physics._replace(jitter_us=0)
    same = isinstance(paths, np.ndarray)
    knots = paths if same else np.concatenate([*paths, np.empty((2, 0), np.int64)], axis=1)
    ends = (
        np.full(len(images), knots.shape[1]) if same else np.cumsum([path.shape[1] for path in paths], dtype=np.int64)
    )
    starts = np.zeros(len(images), np.int64) if same else ends - [path.shape[1] for path in paths]
    counts = np.zeros(len(images), dtype=np.int64)
    events = []
    room = 1 << 13  # events a recording; real recordings hold up to about 8,000
    for first in range(0, len(images), _BLOCK):
        block = slice(first, first + _BLOCK)
        parts = np.stack([starts[block], ends[block]], axis=1)
        while True:
            packed = np.empty((len(images[block]), room), dtype=np.int64)
            args = images[block], keys[block], log2, knots, parts, physics, packed, counts[block]
            call_parallel(_simulate_block, *args)
            if counts[block].max() <= room:
                break
            room = int(counts[block].max())
        events += [np.sort(row[:count]) for row, count in zip(packed, counts[block], strict=True)]
    x, y, p, t = unpack(np.concatenate([*events, np.empty(0, np.int64)]))  # no images, no events
    offsets = np.concatenate(([0], np.cumsum(counts)))
    return Recordings(x.astype(np.uint8), y.astype(np.uint8), p.astype(np.uint8), t, offsets)


def _check_paths(paths, count: int):
    """Return one path as an array int64 [2, K], or a list of `count` of them."""
    alone = isinstance(paths, np.ndarray) and paths.ndim == 2
    if not alone and len(paths) != count:
        raise ValueError(f"`paths` must be one path, or one an image, {count}; got {len(paths)}.")
    checked = []
    for index, path in enumerate([paths] if alone else paths):
        name, path = "paths" if alone else f"paths[{index}]", np.asarray(path)
        if path.ndim != 2 or path.shape[0] != 2 or path.shape[1] < 2:
            raise ValueError(
                f"`{name}` must have the shape [2, K], x and y of at least 2 knots; got {list(path.shape)}."
            )
        if not np.issubdtype(path.dtype, np.integer):
            raise TypeError(f"`{name}` must be whole numbers of 1/1000 px; got dtype {path.dtype}.")
        low, high = PATH_RANGE_MILLI_PX
        if path.min() < low or path.max() > high:
            raise ValueError(f"`{name}` must lie in [{low}, {high}] (1/1000 px); got {path.min()} to {path.max()}.")
        checked.append(np.ascontiguousarray(path, dtype=np.int64))
    return checked[0] if alone else checked


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
            for col in range(_CANVAS):  # the assignment of a row is compiled with its error's text, for seconds
                line[col] = light[row, col]
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
            light[row, col] = log2[physics.stray + GROUND - light[row, col]]


@njit(cache=True)
def _jittered_views(key, knots, physics):
    """Return how the pixels look at the canvas at every step of one recording.

    int64 [steps + 1, 3]: the cell at the centre of pixel (0, 0), as an index into the flat canvas, and how far the
    pixel's centre lies to the right of the cell's and below it, in 1/256 cell.
    """
    delays = np.empty(3, dtype=np.int64)
    for saccade in range(3):
        delays[saccade] = physics.jitter_us * bell(hash_bits(hash_bits(key, _FOR_SACCADES), saccade)) // 1000
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
        views[step, 0] = (down >> 8) * _CANVAS + (right >> 8)
        views[step, 1], views[step, 2] = right & 255, down & 255
    return views


@njit(cache=True)
def _look(light, cell, right, down):
    """Return the log intensity between four cells of the flat canvas, of which `cell` is the top-left one."""
    upper = light[cell] * (256 - right) + light[cell + 1] * right
    lower = light[cell + _CANVAS] * (256 - right) + light[cell + _CANVAS + 1] * right
    return (upper * (256 - down) + lower * down) >> (16 - FINER)


@njit(cache=True)
def _levels(light, first_cell, views, levels):
    """Fill `levels` with what the pixel of that cell sees at every step."""
    for step in range(len(views)):
        levels[step] = _look(light, first_cell + views[step, 0], views[step, 1], views[step, 2])


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
def _simulate_block(images, keys, log2, knots, parts, physics, packed, counts):
    """Simulate one recording a row of `packed`, pixel by pixel; `counts` may be more events than fit into the row."""
    for i in numba.prange(len(images)):
        light = np.empty((_CANVAS, _CANVAS), dtype=np.int32)
        _digit_light(images[i], log2, physics, light)
        path = knots[:, parts[i, 0] : parts[i, 1]]
        views = _jittered_views(keys[i], path, physics)
        levels = np.empty(len(views), dtype=np.int64)
        top, bottom, left, right = _ink_reach(images[i], path, physics)
        count = 0
        for y in range(FIELD_PX):
            for x in range(FIELD_PX):
                sees_ink = top <= y <= bottom and left <= x <= right
                seen = views if sees_ink else views[:1]
                _levels(light.ravel(), (y * _CANVAS + x) * _CELLS, seen, levels)
                key = hash_bits(keys[i], y * FIELD_PX + x)
                count = run_pixel(x, y, key, levels, sees_ink, physics, packed[i], count)
        counts[i] = count
