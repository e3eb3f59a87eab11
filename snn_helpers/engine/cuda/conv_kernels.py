"""Triton kernels of convolutions on spikes, as products on the tensor cores: forward, and both gradients.

Images are channels-last, [images, H, W, channels]; a row is a pixel. Fully connected layers are the same products with
images of one pixel. See `parts` for the two float16 parts.
"""

from __future__ import annotations

import triton
import triton.language as tl

from snn_helpers.engine.cuda.parts import GRADIENT_BITS, WEIGHT_BITS, add_product, power_of_two


@triton.jit
def products(
    a, weight, out, amax, amax_of_a, sums, squares, rows, a_part,
    HO: tl.constexpr, WO: tl.constexpr, HI: tl.constexpr, WI: tl.constexpr, K: tl.constexpr, N: tl.constexpr,
    KPAD: tl.constexpr, NPAD: tl.constexpr, SIZE: tl.constexpr, UP: tl.constexpr, DOWN: tl.constexpr,
    PAD: tl.constexpr, A_PARTS: tl.constexpr, W_PARTS: tl.constexpr, STATS: tl.constexpr, LONG: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Out [rows, N] = sums over SIZE x SIZE taps and K channels of a [images, HI, WI, K] times weight [taps, K, N].

    Output pixel y reads input pixel (y UP + tap - PAD) / DOWN, where that is whole. `a` is spikes (uint8, A_PARTS 0) or
    a gradient in A_PARTS of float16. STATS: sums and sums of squares by channel, too, one partial a program.
    """
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = r < rows
    image = r // (HO * WO)
    y0 = ((r // WO) % HO) * UP - PAD
    x0 = (r % WO) * UP - PAD
    n = tl.program_id(1) * COLS + tl.arange(0, COLS)
    k = tl.arange(0, DEPTH)
    if LONG:
        image = image.to(tl.int64)
    acc = tl.zeros([ROWS, COLS], tl.float32)
    PER: tl.constexpr = KPAD // DEPTH
    TAPS: tl.constexpr = SIZE * SIZE
    for it in range(TAPS * PER):
        tap = it // PER
        k0 = (it % PER) * DEPTH
        y = y0 + tap // SIZE
        x = x0 + tap % SIZE
        ok = inside & (y >= 0) & (x >= 0)
        if DOWN > 1:
            ok = ok & (y % DOWN == 0) & (x % DOWN == 0)
            y = y // DOWN
            x = x // DOWN
        ok = ok & (y < HI) & (x < WI)
        at = ((image * HI + y) * WI + x) * K + k0
        mask = ok[:, None]
        if KPAD != K:
            mask = mask & (k0 + k < K)[None, :]
        w_at = weight + (tap * KPAD + k0 + k[:, None]) * NPAD + n[None, :]
        a0 = tl.load(a + at[:, None] + k[None, :], mask=mask, other=0).to(tl.float16)
        w0 = tl.load(w_at)
        if W_PARTS > 1:
            some = tl.dot(a0, tl.load(w_at + TAPS * KPAD * NPAD))
            if A_PARTS > 1:
                a1 = tl.load(a + a_part + at[:, None] + k[None, :], mask=mask, other=0).to(tl.float16)
                some = tl.dot(a1, w0, some)
            acc += tl.dot(a0, w0, some)
        else:
            acc = tl.dot(a0, w0, acc)
    acc = acc * (1.0 / power_of_two(tl.load(amax), WEIGHT_BITS))
    if A_PARTS > 0:
        acc = acc * (1.0 / power_of_two(tl.load(amax_of_a), GRADIENT_BITS))
    row = r.to(tl.int64) if LONG else r
    tl.store(out + row[:, None] * N + n[None, :], acc, mask=inside[:, None] & (n < N)[None, :])
    if STATS:
        tl.store(sums + tl.program_id(0) * N + n, tl.sum(acc, axis=0), mask=n < N)
        tl.store(squares + tl.program_id(0) * N + n, tl.sum(acc * acc, axis=0), mask=n < N)


@triton.jit
def pooled_products(
    spk, weight, amax, out, arg, rows,
    HI: tl.constexpr, WI: tl.constexpr, HP: tl.constexpr, WP: tl.constexpr, K: tl.constexpr, N: tl.constexpr,
    KPAD: tl.constexpr, NPAD: tl.constexpr, SIZE: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr,
    PARTS: tl.constexpr, KEEP: tl.constexpr, LONG: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    DEPTH: tl.constexpr,
):  # fmt: skip
    """Spikes to currents after a 2x2 max-pool [images, HP, WP, N], and which of four won: a quarter of the bytes."""
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = p < rows
    image = p // (HP * WP)
    y0 = 2 * STRIDE * ((p // WP) % HP) - PAD
    x0 = 2 * STRIDE * (p % WP) - PAD
    n = tl.program_id(1) * COLS + tl.arange(0, COLS)
    k = tl.arange(0, DEPTH)
    if LONG:
        image = image.to(tl.int64)
    zero = tl.zeros([ROWS, COLS], tl.float32)
    a0, a1, a2, a3 = zero, zero, zero, zero
    PER: tl.constexpr = KPAD // DEPTH
    TAPS: tl.constexpr = SIZE * SIZE
    for it in range(TAPS * PER):
        tap = it // PER
        k0 = (it % PER) * DEPTH
        y = y0 + tap // SIZE
        x = x0 + tap % SIZE
        known = (k0 + k < K)[None, :]
        top = inside & (y >= 0) & (y < HI)
        low = inside & (y + STRIDE >= 0) & (y + STRIDE < HI)
        left = (x >= 0) & (x < WI)
        right = (x + STRIDE >= 0) & (x + STRIDE < WI)
        at = spk + (((image * HI + y) * WI + x) * K + k0)[:, None] + k[None, :]
        w_at = weight + (tap * KPAD + k0 + k[:, None]) * NPAD + n[None, :]
        w0 = tl.load(w_at)
        s0 = tl.load(at, mask=(top & left)[:, None] & known, other=0).to(tl.float16)
        s1 = tl.load(at + STRIDE * K, mask=(top & right)[:, None] & known, other=0).to(tl.float16)
        s2 = tl.load(at + STRIDE * WI * K, mask=(low & left)[:, None] & known, other=0).to(tl.float16)
        s3 = tl.load(at + STRIDE * (WI + 1) * K, mask=(low & right)[:, None] & known, other=0).to(tl.float16)
        w1 = tl.load(w_at + TAPS * KPAD * NPAD) if PARTS > 1 else w0
        a0 = add_product(a0, s0, w0, s0, w1, PARTS)
        a1 = add_product(a1, s1, w0, s1, w1, PARTS)
        a2 = add_product(a2, s2, w0, s2, w1, PARTS)
        a3 = add_product(a3, s3, w0, s3, w1, PARTS)
    where = tl.where(a1 > a0, 1, 0)
    best = tl.maximum(a0, a1, propagate_nan=tl.PropagateNan.ALL)
    where = tl.where(a2 > best, 2, where)
    best = tl.maximum(best, a2, propagate_nan=tl.PropagateNan.ALL)
    where = tl.where(a3 > best, 3, where)
    best = tl.maximum(best, a3, propagate_nan=tl.PropagateNan.ALL)
    row = p.to(tl.int64) if LONG else p
    to = row[:, None] * N + n[None, :]
    mask = inside[:, None] & (n < N)[None, :]
    tl.store(out + to, best * (1.0 / power_of_two(tl.load(amax), WEIGHT_BITS)), mask=mask)
    if KEEP:
        tl.store(arg + to, where.to(tl.uint8), mask=mask)


@triton.jit
def spread(
    du, arg, cur, offset, slope, scale, amax, out, total,
    HO: tl.constexpr, WO: tl.constexpr, N: tl.constexpr, POOL: tl.constexpr, NORM: tl.constexpr, PARTS: tl.constexpr,
    LONG: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Spread the gradient of pooled currents to where the maximum was, in PARTS of float16.

    NORM: through batch normalisation, scale du + offset + slope cur, by channel.
    """
    lane = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    if LONG:
        lane = tl.program_id(0).to(tl.int64) * WIDTH + tl.arange(0, WIDTH)
    inside = lane < total
    c = lane % N
    if POOL == 2:
        HP: tl.constexpr = HO // 2
        WP: tl.constexpr = WO // 2
        r = lane // N
        y = (r // WO) % HO
        x = r % WO
        ok = inside & (y < 2 * HP) & (x < 2 * WP)
        at = (((r // (HO * WO)) * HP + y // 2) * WP + x // 2) * N + c
        v = tl.load(du + at, mask=ok, other=0.0)
        v = tl.where(tl.load(arg + at, mask=ok, other=9).to(tl.int32) == (y % 2) * 2 + x % 2, v, 0.0)
    else:
        v = tl.load(du + lane, mask=inside, other=0.0)
    if NORM:
        v = (
            v * tl.load(scale + c)
            + tl.load(offset + c)
            + tl.load(slope + c) * tl.load(cur + lane, mask=inside, other=0.0)
        )
    v = v * power_of_two(tl.load(amax), GRADIENT_BITS)
    high = v.to(tl.float16)
    tl.store(out + lane, high, mask=inside)
    if PARTS > 1:
        tl.store(out + total + lane, (v - high.to(tl.float32)).to(tl.float16), mask=inside)


@triton.jit
def _add_tap(acc, high, low, spk, x, inside, known, WI: tl.constexpr, PARTS: tl.constexpr):
    """Add to one tap's weights the gradient times the spikes that the tap sees, in column x of the images."""
    s = tl.load(spk, mask=(inside & (x >= 0) & (x < WI))[:, None] & known, other=0).to(tl.float16)
    return add_product(acc, high, s, low, s, PARTS)


@triton.jit(do_not_specialize=["splits"])
def weight_gradient(
    spk, grad, amax, part, rows, grad_part, splits,
    HO: tl.constexpr, WO: tl.constexpr, HI: tl.constexpr, WI: tl.constexpr, K: tl.constexpr, N: tl.constexpr,
    SIZE: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, PARTS: tl.constexpr, LONG: tl.constexpr,
    ROWS: tl.constexpr, KBLOCK: tl.constexpr, NBLOCK: tl.constexpr,
):  # fmt: skip
    """Part [split, SIZE, SIZE, N, K] = sums over a split's rows of grad [rows, N] times the spikes that each tap sees.

    A program takes one row of taps, so that it reads the gradient once for all of them.
    """
    KBLOCKS: tl.constexpr = (K + KBLOCK - 1) // KBLOCK
    pid = tl.program_id(0)
    ky = pid % SIZE
    k = ((pid // SIZE) % KBLOCKS) * KBLOCK + tl.arange(0, KBLOCK)
    n = (pid // (SIZE * KBLOCKS)) * NBLOCK + tl.arange(0, NBLOCK)
    split = tl.program_id(1)
    zero = tl.zeros([NBLOCK, KBLOCK], tl.float32)
    b0, b1, b2, b3, b4 = zero, zero, zero, zero, zero
    for i in range(split, tl.cdiv(rows, ROWS), splits):
        r = i * ROWS + tl.arange(0, ROWS)
        inside = r < rows
        row = r.to(tl.int64) if LONG else r
        g_at = grad + row[:, None] * N + n[None, :]
        g_mask = inside[:, None] & (n < N)[None, :]
        high = tl.trans(tl.load(g_at, mask=g_mask, other=0.0))
        low = tl.trans(tl.load(g_at + grad_part, mask=g_mask, other=0.0)) if PARTS > 1 else high
        y = ((r // WO) % HO) * STRIDE - PAD + ky
        x = (r % WO) * STRIDE - PAD
        ok = inside & (y >= 0) & (y < HI)
        at = spk + (((row // (HO * WO)) * HI + y) * WI + x)[:, None] * K + k[None, :]
        known = (k < K)[None, :]
        b0 = _add_tap(b0, high, low, at, x, ok, known, WI, PARTS)
        if SIZE > 1:
            b1 = _add_tap(b1, high, low, at + K, x + 1, ok, known, WI, PARTS)
        if SIZE > 2:
            b2 = _add_tap(b2, high, low, at + 2 * K, x + 2, ok, known, WI, PARTS)
        if SIZE > 3:
            b3 = _add_tap(b3, high, low, at + 3 * K, x + 3, ok, known, WI, PARTS)
        if SIZE > 4:
            b4 = _add_tap(b4, high, low, at + 4 * K, x + 4, ok, known, WI, PARTS)
    by = 1.0 / power_of_two(tl.load(amax), GRADIENT_BITS)
    to = part + (((split * SIZE + ky) * SIZE) * N + n[:, None]) * K + k[None, :]
    mask = (n < N)[:, None] & (k < K)[None, :]
    tl.store(to, b0 * by, mask=mask)
    if SIZE > 1:
        tl.store(to + N * K, b1 * by, mask=mask)
    if SIZE > 2:
        tl.store(to + 2 * N * K, b2 * by, mask=mask)
    if SIZE > 3:
        tl.store(to + 3 * N * K, b3 * by, mask=mask)
    if SIZE > 4:
        tl.store(to + 4 * N * K, b4 * by, mask=mask)
