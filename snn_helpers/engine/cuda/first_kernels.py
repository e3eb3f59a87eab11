"""Triton kernels of a first layer: few channels of counts in, and no currents in memory.

All that a pool window of the output sees is one small patch of the input. It is read once; the convolutions at the
window's one or four places are a single product with weights that are zero where a place does not see the patch.
"""

from __future__ import annotations

import triton
import triton.language as tl

from snn_helpers.engine.cuda.neuron_kernels import advance, load_numbers, scaled
from snn_helpers.engine.cuda.parts import WEIGHT_BITS, add_product, power_of_two


@triton.jit
def _patch_at(
    p, batch, step_b, step_c, step_y, step_x, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, SIDE: tl.constexpr,
    PITCH: tl.constexpr, PAD: tl.constexpr, HP: tl.constexpr, WP: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Where the values of the patches of windows p = (recording, row, column) lie in one step's frames."""
    b = p // (HP * WP)
    q = p % (HP * WP)
    k = tl.arange(0, K)
    channel = k // (SIDE * SIDE)
    y = PITCH * (q // WP)[:, None] - PAD + ((k // SIDE) % SIDE)[None, :]
    x = PITCH * (q % WP)[:, None] - PAD + (k % SIDE)[None, :]
    ok = (b < batch)[:, None] & (channel < C)[None, :] & (y >= 0) & (y < H) & (x >= 0) & (x < W)
    return b[:, None] * step_b + channel[None, :] * step_c + y * step_y + x * step_x, ok


@triton.jit
def forward(
    frames, weight, amax, scale, shift, spk, mem, arg, numbers, num_steps, batch,
    step_t, step_b, step_c, step_y, step_x,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, SIDE: tl.constexpr, PITCH: tl.constexpr, PAD: tl.constexpr,
    HP: tl.constexpr, WP: tl.constexpr, K: tl.constexpr, N: tl.constexpr, PLACES: tl.constexpr, KIND: tl.constexpr,
    PARTS: tl.constexpr, SCALE: tl.constexpr, SHIFT: tl.constexpr, KEEP: tl.constexpr, ROWS: tl.constexpr,
    COLS: tl.constexpr,
):  # fmt: skip
    """Frames to spikes [T, B, HP, WP, N], membranes and which of the places won."""
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    at, ok = _patch_at(p, batch, step_b, step_c, step_y, step_x, H, W, C, SIDE, PITCH, PAD, HP, WP, K)
    wide: tl.constexpr = PLACES * COLS
    w_at = tl.program_id(1) * (K * wide) + tl.arange(0, K)[:, None] * wide + tl.arange(0, wide)[None, :]
    high = tl.load(weight + w_at)
    low = tl.load(weight + tl.num_programs(1) * (K * wide) + w_at) if PARTS > 1 else high
    beta, theta, alpha, rho, gain = load_numbers(numbers)
    by = 1.0 / power_of_two(tl.load(amax), WEIGHT_BITS)
    c = tl.program_id(1) * COLS + tl.arange(0, COLS)[None, :]
    sc = tl.load(scale + c, mask=c < N, other=0.0) if SCALE else 1.0
    sh = tl.load(shift + c, mask=c < N, other=0.0) if SHIFT else 0.0
    to = p[:, None] * N + c
    inside = (p < batch * (HP * WP))[:, None] & (c < N)
    zero = tl.zeros([ROWS, COLS], tl.float32)
    u, s, extra = zero, zero, zero
    size = tl.cast(batch, tl.int64) * (HP * WP * N)
    soon = tl.load(frames + at, mask=ok, other=0)
    for t in range(num_steps):
        a = soon.to(tl.float16)
        soon = tl.load(frames + tl.cast(tl.minimum(t + 1, num_steps - 1), tl.int64) * step_t + at, mask=ok, other=0)
        acc = tl.zeros([ROWS, wide], tl.float32)
        if PARTS > 1:
            acc = tl.dot(a, low, acc)
        acc = tl.dot(a, high, acc)
        now = tl.cast(t, tl.int64) * size + to
        if PLACES > 1:
            best, where = tl.max(tl.reshape(acc, [ROWS, PLACES, COLS]), axis=1, return_indices=True)
            if KEEP:
                tl.store(arg + now, where.to(tl.uint8), mask=inside)
        else:
            best = acc
        x = scaled(best * by, sc, sh, SCALE, SHIFT)
        u, s, extra = advance(x, u, s, extra, beta, theta, alpha, rho, gain, KIND)
        tl.store(spk + now, s.to(tl.uint8), mask=inside)
        if KEEP:
            tl.store(mem + now, u, mask=inside)


@triton.jit(do_not_specialize=["splits"])
def patch_products(
    frames, products, sums, steps, batch, splits, step_t, step_b, step_c, step_y, step_x,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, SIDE: tl.constexpr, PITCH: tl.constexpr, PAD: tl.constexpr,
    HP: tl.constexpr, WP: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Add up patch patch^T [K, K] and the patch [K] over windows and steps: one partial a program."""
    products_here = tl.zeros([K, K], tl.float32)
    sums_here = tl.zeros([K], tl.float32)
    blocks = tl.cdiv(batch * (HP * WP), ROWS)
    for i in range(tl.program_id(0), steps * blocks, splits):
        p = (i % blocks) * ROWS + tl.arange(0, ROWS)
        at, ok = _patch_at(p, batch, step_b, step_c, step_y, step_x, H, W, C, SIDE, PITCH, PAD, HP, WP, K)
        a = tl.load(frames + tl.cast(i // blocks, tl.int64) * step_t + at, mask=ok, other=0).to(tl.float16)
        products_here = tl.dot(tl.trans(a), a, products_here)
        sums_here += tl.sum(a.to(tl.float32), axis=0)
    k = tl.arange(0, K)
    tl.store(products + tl.program_id(0) * (K * K) + k[:, None] * K + k[None, :], products_here)
    tl.store(sums + tl.program_id(0) * K + k, sums_here)


@triton.jit(do_not_specialize=["splits"])
def weight_gradient(
    frames, du, arg, amax, part, steps, batch, splits, step_t, step_b, step_c, step_y, step_x,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, SIDE: tl.constexpr, PITCH: tl.constexpr, PAD: tl.constexpr,
    HP: tl.constexpr, WP: tl.constexpr, K: tl.constexpr, N: tl.constexpr, PLACES: tl.constexpr, PARTS: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Add up the currents' gradient, at the place that won, times the patch, over windows and steps.

    part [split, channel block, PLACES * COLS, K]; one partial a program.
    """
    wide: tl.constexpr = PLACES * COLS
    c = tl.program_id(1) * COLS + tl.arange(0, COLS)[None, :]
    up = power_of_two(tl.load(amax), 12)
    acc = tl.zeros([wide, K], tl.float32)
    blocks = tl.cdiv(batch * (HP * WP), ROWS)
    size = tl.cast(batch, tl.int64) * (HP * WP * N)
    place = tl.arange(0, PLACES)[None, :, None]
    for i in range(tl.program_id(0), steps * blocks, splits):
        t = tl.cast(i // blocks, tl.int64)
        p = (i % blocks) * ROWS + tl.arange(0, ROWS)
        at, ok = _patch_at(p, batch, step_b, step_c, step_y, step_x, H, W, C, SIDE, PITCH, PAD, HP, WP, K)
        a = tl.load(frames + t * step_t + at, mask=ok, other=0).to(tl.float16)
        here = t * size + p[:, None] * N + c
        inside = (p < batch * (HP * WP))[:, None] & (c < N)
        v = tl.load(du + here, mask=inside, other=0.0) * up
        high = v.to(tl.float16)
        low = (v - high.to(tl.float32)).to(tl.float16)
        if PLACES > 1:
            won = tl.load(arg + here, mask=inside, other=0).to(tl.int32)[:, None, :] == place
            high = tl.reshape(tl.where(won, high[:, None, :], 0.0).to(tl.float16), [ROWS, wide])
            low = tl.reshape(tl.where(won, low[:, None, :], 0.0).to(tl.float16), [ROWS, wide])
        acc = add_product(acc, tl.trans(high), a, tl.trans(low), a, PARTS)
    row = tl.arange(0, wide)[:, None]
    to = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)) * (wide * K)
    tl.store(part + to + row * K + tl.arange(0, K)[None, :], acc / up)


@triton.jit
def split_weights(
    weight, sign, amax, out, C: tl.constexpr, N: tl.constexpr, SIZE: tl.constexpr, STRIDE: tl.constexpr,
    SIDE: tl.constexpr, K: tl.constexpr, PLACES: tl.constexpr, SIGN: tl.constexpr, PARTS: tl.constexpr,
    COLS: tl.constexpr,
):  # fmt: skip
    """Weights [N, C, SIZE, SIZE] to [PARTS, channel blocks, K, PLACES * COLS]: zero where a place does not see.

    `amax` is the largest magnitude of the weights, on the device.
    """
    wide: tl.constexpr = PLACES * COLS
    k = tl.program_id(1) * 16 + tl.arange(0, 16)[:, None]
    col = tl.arange(0, wide)[None, :]
    place = col // COLS
    n = tl.program_id(0) * COLS + col % COLS
    ky = (k // SIDE) % SIDE - STRIDE * (place // 2)
    kx = k % SIDE - STRIDE * (place % 2)
    channel = k // (SIDE * SIDE)
    ok = (ky >= 0) & (ky < SIZE) & (kx >= 0) & (kx < SIZE) & (channel < C) & (n < N)
    v = tl.load(weight + ((n * C + channel) * SIZE + ky) * SIZE + kx, mask=ok, other=0.0)
    v = v * power_of_two(tl.load(amax), WEIGHT_BITS)
    if SIGN:
        factor = tl.load(sign + n, mask=n < N, other=1.0)
        v = tl.where(factor < 0, -v, tl.where(factor == 0, 0.0, v))
    at = (tl.program_id(0) * K + k) * wide + col
    high = v.to(tl.float16)
    tl.store(out + at, high)
    if PARTS > 1:
        tl.store(out + tl.num_programs(0) * (K * wide) + at, (v - high.to(tl.float32)).to(tl.float16))
