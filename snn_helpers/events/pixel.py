"""A pixel of the simulated event camera: its log intensity over time in, its events out.

Only integers decide an event, and every random number is a hash of (seed, recording, pixel, purpose), so that every
machine and every number of threads makes the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from snn_helpers.events.camera import NOISE_STEPS, STEP_US, Camera

GROUND = 255 * 16  # light of white: a grey value and 4 more bits, for a lens's blur
FINER = 8  # extra bits of what a pixel remembers: the leak of one step is far below 1/65536 octave
_OCTAVE = 1 << 16  # fixed point of the log intensity
_STEP_BITS = 9  # STEP_US == 1 << _STEP_BITS
_LOOK_STEPS = 16  # between two looks that only ask whether a pixel sees a change at all

# An event in one int64 that sorts by time, row, column: t << T_BIT | y << Y_BIT | x << X_BIT | p.
X_BIT, Y_BIT, T_BIT, XY_MASK = 1, 12, 23, (1 << 11) - 1

# What a pixel's random numbers are for; the lower 32 bits count the numbers of one purpose.
_FOR_MISMATCH, _FOR_PHASE, _FOR_NOISE, _FOR_REDRAW = 0 << 32, 1 << 32, 2 << 32, 3 << 32


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


class Physics(NamedTuple):
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


def as_physics(camera: Camera) -> Physics:
    """Return the camera in the units of the kernels."""
    window_us = NOISE_STEPS * STEP_US
    return Physics(
        stray=max(camera.stray_light_permille * GROUND // 1000, 1),
        blur_passes=camera.blur_passes,
        jitter_us=camera.saccade_jitter_us,
        smoothing=_OCTAVE * STEP_US // (STEP_US + camera.photoreceptor_us),
        on=camera.threshold_on_milli_octave * _OCTAVE // 1000,
        off=camera.threshold_off_milli_octave * _OCTAVE // 1000,
        mismatch=camera.mismatch_permille,
        redraw=camera.threshold_noise_permille,
        refractory_us=camera.refractory_us,
        reset_us=camera.reset_us,
        leak=(camera.leak_milli_octave_per_s * STEP_US * _OCTAVE << FINER) // 10**9,
        noise=(camera.noise_milli_hz * window_us << 32) // 10**9,
        hot_x=camera.hot_pixel_x,
        hot_y=camera.hot_pixel_y,
        hot_noise=(camera.hot_pixel_milli_hz * window_us << 32) // 10**9,
    )


@njit(cache=True)
def hash_bits(key, counter):
    """Random number `counter` of the stream `key`, 64 bits: splitmix64 (Steele, Lea, Flood 2014)."""
    bits = key + np.uint64(counter) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@njit(cache=True)
def recording_keys(ids, seed):
    """Return the key of each recording's random numbers, uint64 [N]; ids: uint64 [N]."""
    keys = np.empty(len(ids), dtype=np.uint64)
    seed_key = hash_bits(np.uint64(seed), 1)
    for i in range(len(ids)):
        keys[i] = hash_bits(seed_key ^ hash_bits(ids[i], 1), 2)
    return keys


@njit(cache=True)
def bell(bits):
    """Turn 64 random bits into a bell-shaped number, mean 0, standard deviation 1000, within 3464: four uniforms."""
    low = np.uint64(0xFFFF)
    total = np.int64(bits & low) + np.int64((bits >> np.uint64(16)) & low)
    total += np.int64((bits >> np.uint64(32)) & low) + np.int64(bits >> np.uint64(48))
    return (total - 131_070) * 1000 // 37_837


@njit(cache=True)
def _varied(threshold, bits, permille):
    """Vary `threshold` by a standard deviation of `permille`, but never to less than a quarter."""
    return max(threshold + threshold * permille * bell(bits) // 1_000_000, threshold >> 2)


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
    bits = hash_bits(key, _FOR_NOISE + step // NOISE_STEPS)
    if np.int64(bits >> np.uint64(32)) >= chance:
        return -1, 0
    return start + (np.int64(bits >> np.uint64(1)) & (NOISE_STEPS * STEP_US - 1)), np.int64(bits & np.uint64(1))


@njit(cache=True)
def _sees_change(levels, least):
    """Return whether a pixel's log intensity is more than `least` from its first one, looking every 8 ms."""
    most = 0
    for step in range(0, len(levels), _LOOK_STEPS):
        most = max(most, abs(levels[step] - levels[0]))
    return most > least


@njit(cache=True)
def run_pixel(x, y, key, levels, sees, physics, packed, count):
    """Append the events of one pixel to `packed`, as far as there is room; return the new count.

    levels: int64 [steps + 1], the log intensity in front of it, in 1/65536 octave and FINER more bits, every STEP_US;
    where the pixel sees nothing that changes (`sees` false), it stays at the first one.
    """
    base_on = _varied(physics.on << FINER, hash_bits(key, _FOR_MISMATCH), physics.mismatch)
    base_off = _varied(physics.off << FINER, hash_bits(key, _FOR_MISMATCH + 1), physics.mismatch)
    on, off = base_on, base_off
    noise = physics.hot_noise if x == physics.hot_x and y == physics.hot_y else physics.noise
    level = levels[0]
    # What it saw before has left the reference anywhere in the pixel's band; on bare ground only the leak was at work.
    moved = sees and _sees_change(levels, on >> 1)
    phase = np.int64(hash_bits(key, _FOR_PHASE) >> np.uint64(48))
    reference = level - (((on + off) * phase) >> 16) + off if moved else level - ((on * phase) >> 16)
    free_us, reset_us, noise_us, noise_polarity, events = 0, -1, -1, 0, 0
    for step in range(len(levels) - 1):
        start, end = step * STEP_US, (step + 1) * STEP_US
        if step % NOISE_STEPS == 0:
            noise_us, noise_polarity = _noise_event(key, step, noise, start)
        before = level
        if sees:
            level += ((levels[step + 1] - level) * physics.smoothing) >> 16
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
            packed[count] = t << T_BIT | y << Y_BIT | x << X_BIT | polarity
        count += 1
        free_us, reset_us = t + physics.refractory_us, t + physics.reset_us
        if reset_us < end:
            reference = before + (((level - before) * (reset_us - start)) >> _STEP_BITS)
        bits = hash_bits(key, _FOR_REDRAW + events)
        events += 1
        on, off = _varied(base_on, bits, physics.redraw), _varied(base_off, bits, physics.redraw)
    return count


def unpack(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y, p and t of packed events, all int64."""
    return (packed >> X_BIT) & XY_MASK, (packed >> Y_BIT) & XY_MASK, packed & 1, packed >> T_BIT
