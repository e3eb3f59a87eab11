"""The Triton kernel that bins events; see `frames`."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _mix(state):
    """Scramble 64 bits: the finaliser of SplitMix64, as `events.frames` has it."""
    state = state + 0x9E3779B97F4A7C15
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB
    return state ^ (state >> 31)


@triton.jit
def _uniform(key, number):
    """Draw `number` of the recording with this key, in [0, 1)."""
    return (_mix(key ^ _mix(number)) >> 11).to(tl.float64) * (2.0**-53)


@triton.jit
def count(
    xs, ys, ts, ps, offsets, indices, draws, seed, warp, drop_below, counts, batch, num_steps, width_us, max_shift,
    W: tl.constexpr, H: tl.constexpr, P: tl.constexpr, WARP: tl.constexpr, DROP: tl.constexpr, SHIFT: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    """Add the events of chosen recordings to counts int32 [T, B, P, H, W]; a program takes WIDTH of one recording's.

    Bins are whole numbers and draws are those of (seed, recording, event), so that no order changes a result.
    """
    b = tl.program_id(0)
    recording = tl.load(indices + b)
    start = tl.load(offsets + recording)
    stop = tl.load(offsets + recording + 1)
    number = tl.cast(tl.program_id(1), tl.int64) * WIDTH + tl.arange(0, WIDTH)
    i = start + number
    ok = i < stop
    last_at = tl.maximum(stop - 1, start)
    first = tl.load(ts + start).to(tl.int64)
    span = tl.load(ts + last_at).to(tl.int64) - first
    t = tl.load(ts + i, mask=ok, other=0).to(tl.int64) - first
    if width_us > 0:
        step = t // width_us
    elif width_us < 0:
        floored = span // num_steps
        step = tl.where(floored > 0, t // tl.maximum(floored, 1), num_steps)
    else:
        step = t * num_steps // (span + 1)
    x = tl.load(xs + i, mask=ok, other=0).to(tl.int64)
    y = tl.load(ys + i, mask=ok, other=0).to(tl.int64)
    p = tl.load(ps + i, mask=ok, other=0).to(tl.int64)
    column = x
    row = y
    place = number.to(tl.uint64)
    key = _mix(tl.load(seed).to(tl.uint64, bitcast=True) ^ _mix(tl.load(draws + b).to(tl.uint64)))
    if DROP:
        ok = ok & (_mix(key + (place + 3)) >= tl.load(drop_below).to(tl.uint64, bitcast=True))
    if SHIFT:
        across = tl.cast(2 * max_shift + 1, tl.uint64)
        column += (_mix(key ^ 1) % across).to(tl.int64) - max_shift
        row += (_mix(key ^ 2) % across).to(tl.int64) - max_shift
    if WARP:
        by = tl.load(warp)
        zero = tl.zeros([1], tl.uint64)
        m0 = by * (2.0 * _uniform(key, zero) - 1.0)
        m1 = by * (2.0 * _uniform(key, zero + 1) - 1.0)
        m2 = by * (2.0 * _uniform(key, zero + 2) - 1.0)
        m3 = by * (2.0 * _uniform(key, zero + 3) - 1.0)
        from_x = x.to(tl.float64) - (W - 1) / 2
        from_y = y.to(tl.float64) - (H - 1) / 2
        column += tl.floor(m0 * from_x + m1 * from_y + _uniform(key, place * 2 + 4)).to(tl.int64)
        row += tl.floor(m2 * from_x + m3 * from_y + _uniform(key, place * 2 + 5)).to(tl.int64)
    ok = ok & (step < num_steps) & (column >= 0) & (column < W) & (row >= 0) & (row < H)
    at = (((step * batch + b) * P + p) * H + row) * W + column
    tl.atomic_add(counts + at, tl.full([WIDTH], 1, tl.int32), mask=ok)
