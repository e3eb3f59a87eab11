"""Anyone's pictures before the simulated event camera: a video becomes events."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numba
import numpy as np
from numba import njit

from snn_helpers._checks import check_int
from snn_helpers._paths import user_path
from snn_helpers.events.camera import STEP_US, Camera
from snn_helpers.events.dtype import RecordingError, make_events
from snn_helpers.events.parallel import call_parallel
from snn_helpers.events.pixel import (
    FINER,
    GROUND,
    XY_MASK,
    as_physics,
    hash_bits,
    log2_table,
    recording_keys,
    run_pixel,
    unpack,
)

_ROWS = 64  # between two looks at the size of the event buffer
_LARGEST_PX = XY_MASK + 1


def simulate_events(
    frames: np.ndarray, times_us: Sequence[int] | np.ndarray, camera: Camera | None = None, seed: int = 0
) -> np.ndarray:
    """Let the simulated event camera see a video.

    Each pixel sees the logarithm of its grey value, plus the camera's stray light, linear in time between two pictures
    (as in Gehrig et al., Video to Events, 2020), through the photoreceptor, thresholds, noise and dead time of
    `Camera`. Its path, lens blur and jitter are for the embedded digits and play no part. Pictures should be so many
    that nothing moves by much more than a pixel between two of them.

    Parameters
    ----------
    frames : uint8 [N, H, W]
        Grey values, at least 2 pictures of at most 2048 x 2048: 0 is black, 255 white.
    times_us : whole numbers [N]
        When each picture was taken, in µs, rising.
    camera : Camera or None
        Parameters; None for the defaults, which are N-MNIST's camera's, its hot pixel at (18, 30) included.
    seed : int, not negative
        Same pictures, camera and seed, same bits, on every machine.

    Returns
    -------
    structured array [E]
        Events x, y, t (µs), p, sorted by time; t counts from the first picture.

    Raises
    ------
    TypeError, ValueError
        If the arguments are not as above.

    Examples
    --------
    >>> frames = np.zeros((2, 4, 6), dtype=np.uint8)
    >>> frames[1, 2, 3] = 255
    >>> events = simulate_events(frames, [0, 20_000], Camera(noise_milli_hz=0))
    >>> set(events["x"].tolist()), set(events["y"].tolist()), set(events["p"].tolist())
    ({3}, {2}, {1})
    """
    frames, times = _check_video(frames, times_us)
    camera = Camera() if camera is None else camera
    if not isinstance(camera, Camera):
        raise TypeError(f"`camera` must be a Camera or None; got {type(camera).__name__}. Use Camera(...).")
    key = recording_keys(np.zeros(1, np.uint64), check_int("seed", seed, 0, 2**63 - 1))[0]
    physics = as_physics(camera)
    table = log2_table(physics.stray + GROUND + 1)[physics.stray + 16 * np.arange(256)].astype(np.int64) << FINER
    before, after, share = _steps(times)
    found, room = [], 1 << 12  # events a row
    for top in range(0, frames.shape[1], _ROWS):
        rows = frames[:, top : top + _ROWS]
        counts = np.zeros(rows.shape[1], dtype=np.int64)
        while True:
            packed = np.empty((rows.shape[1], room), dtype=np.int64)
            call_parallel(_see_rows, rows, top, table, before, after, share, key, physics, packed, counts)
            if counts.max() <= room:
                break
            room = int(counts.max())
        found += [row[:count] for row, count in zip(packed, counts, strict=True)]
    x, y, p, t = unpack(np.sort(np.concatenate(found)))
    return make_events(x, y, t, p)


def _check_video(frames, times_us) -> tuple[np.ndarray, np.ndarray]:
    frames, times = np.asarray(frames), np.asarray(times_us)
    if frames.dtype != np.uint8:
        raise TypeError(f"`frames` must be grey values, uint8 (0 black, 255 white); got dtype {frames.dtype}.")
    if frames.ndim != 3 or len(frames) < 2 or 0 in frames.shape or max(frames.shape[1:]) > _LARGEST_PX:
        raise ValueError(
            f"`frames` must have the shape [N, H, W], N at least 2, H and W at most {_LARGEST_PX}; "
            f"got {list(frames.shape)}. A colour video needs its mean over the colours first."
        )
    if times.shape != (len(frames),):
        raise ValueError(f"`times_us` must hold one time a picture, shape [{len(frames)}]; got {list(times.shape)}.")
    if not np.issubdtype(times.dtype, np.integer):
        raise TypeError(f"`times_us` must be whole numbers of µs; got dtype {times.dtype}.")
    times = times.astype(np.int64)
    if (np.diff(times) <= 0).any():
        index = int(np.flatnonzero(np.diff(times) <= 0)[0])
        raise ValueError(f"`times_us` must rise; got {times[index]} and then {times[index + 1]} at {index + 1}.")
    if times[-1] - times[0] < STEP_US:
        raise ValueError(f"`times_us` must span at least {STEP_US} µs; got {times[-1] - times[0]}. Are they in ms?")
    return frames, times - times[0]


def _steps(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, at every step of the simulation, the pictures before and after, and how far between them, in 1/65536."""
    now = np.arange(times[-1] // STEP_US + 1, dtype=np.int64) * STEP_US
    before = np.minimum(np.searchsorted(times, now, side="right") - 1, len(times) - 2)
    after = before + 1
    return before, after, ((now - times[before]) << 16) // (times[after] - times[before])


@njit(cache=True, parallel=True)
def _see_rows(frames, top, table, before, after, share, key, physics, packed, counts):
    """Simulate one row of pixels a row of `packed`; `counts` may be more events than fit into it."""
    for row in numba.prange(frames.shape[1]):
        levels = np.empty(len(before), dtype=np.int64)
        width, count = frames.shape[2], 0
        for x in range(width):
            sees = False
            for picture in range(len(frames)):
                sees |= frames[picture, row, x] != frames[0, row, x]
            for step in range(len(before) if sees else 1):
                level = table[frames[before[step], row, x]]
                levels[step] = level + (((table[frames[after[step], row, x]] - level) * share[step]) >> 16)
            y = top + row
            count = run_pixel(x, y, hash_bits(key, y * width + x), levels, sees, physics, packed[row], count)
        counts[row] = count


def read_video(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Read a video or an animated GIF as `simulate_events` takes it.

    Parameters
    ----------
    path : path
        A GIF, or what FFmpeg reads (MP4, AVI, MOV, WebM ...), by PyAV: `pip install 'snn_helpers[video]'`.

    Returns
    -------
    uint8 [N, H, W], int64 [N]
        Grey values and the times of the pictures in µs.

    Raises
    ------
    RecordingError
        If the file cannot be read as a video, or holds fewer than two pictures.
    ModuleNotFoundError
        If the package that reads it is not installed.
    """
    path = user_path(path)
    if not os.path.isfile(path):
        raise RecordingError(f"{path}: no such file.")
    pictures, times = _read_gif(path) if path.read_bytes()[:4] == b"GIF8" else _read_film(path)
    if len(pictures) < 2:
        raise RecordingError(f"{path}: {len(pictures)} picture; a video needs at least 2.")
    return np.stack(pictures), np.asarray(times, dtype=np.int64)


def _read_gif(path: Path) -> tuple[list, list]:
    from PIL import Image, ImageSequence

    pictures, times, now = [], [], 0
    try:
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                pictures.append(np.asarray(frame.convert("L")))
                times.append(now)
                now += int(1_000 * frame.info.get("duration", 0)) or 100_000  # ms; none stated: what browsers take
    except (OSError, ValueError, SyntaxError) as error:
        raise RecordingError(f"{path}: not a whole GIF: {error}") from None
    return pictures, times


def _read_film(path: Path) -> tuple[list, list]:
    try:
        import av
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{path}: reading a video needs PyAV: pip install 'snn_helpers[video]' (an animated GIF needs nothing)."
        ) from None
    pictures: list[np.ndarray] = []
    times: list[int] = []
    try:
        with av.open(str(path)) as film:
            for frame in film.decode(video=0):
                if frame.pts is None or frame.time_base is None:
                    raise RecordingError(f"{path}: picture {len(pictures)} has no time.")
                pictures.append(frame.to_ndarray(format="gray"))
                times.append(round(float(frame.pts * frame.time_base) * 1e6))
    except (av.error.FFmpegError, IndexError, TypeError) as error:
        raise RecordingError(f"{path}: no video that FFmpeg reads: {getattr(error, 'strerror', error)}") from None
    return pictures, times
