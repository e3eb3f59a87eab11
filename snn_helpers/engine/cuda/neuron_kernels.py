"""Triton kernels of neurons over time: [scale and shift, 2x2 max-pool,] equation, and the way back.

A program holds some neurons' state in registers and runs through time. Blocks are [rows, channels], so that any number
of channels can be summed over; a row is a place in an image of a recording. The order of the operations is the
reference's, and multiplications and additions are not fused (`enable_fp_fusion=False` at every launch), so that
membranes are the reference's bit for bit where the currents are.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_numbers(numbers):
    """Return `kernels.NUMBERS`: beta, threshold, alpha, rho and the adaptation."""
    return tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3), tl.load(numbers + 4)


@triton.jit
def scaled(x, scale, shift, SCALE: tl.constexpr, SHIFT: tl.constexpr):
    """Scale and shift currents where asked for, by two operations, as torch does."""
    if SCALE:
        x = x * scale
    if SHIFT:
        x = x + shift
    return x


@triton.jit
def _above(u, extra, theta, gain, KIND: tl.constexpr):
    """Membrane less threshold, as the reference computes it."""
    now = theta
    if KIND == 2:
        now = theta + gain * extra
    return u - now


@triton.jit
def advance(x, u, s, extra, beta, theta, alpha, rho, gain, KIND: tl.constexpr):
    """Advance leaky (0), synaptic (1) or adaptive (2) neurons by one step; `extra` is the state beside the membrane."""
    if KIND == 1:
        extra = alpha * extra + x
        u = beta * u + extra - s * theta
    elif KIND == 2:
        u = beta * u + x - s * (theta + gain * extra)
        extra = rho * extra + (1.0 - rho) * s
    else:
        u = beta * u + x - s * theta
    s = (_above(u, extra, theta, gain, KIND) > 0).to(tl.float32)
    return u, s, extra


@triton.jit
def _slope_of(excess, slope, SURROGATE: tl.constexpr):
    """Gradient that a spike is given: fast sigmoid (0), compact (1), arc tangent (2)."""
    if SURROGATE == 1:
        g = tl.maximum(1.0 - 0.5 * slope * tl.abs(excess), 0.0)
    elif SURROGATE == 2:
        turn = 1.5707963267948966 * slope * excess
        g = 0.5 * slope / (1.0 + turn * turn)
    else:
        r = 1.0 / (1.0 + slope * tl.abs(excess))
        g = r * r
    return g


@triton.jit
def forward(
    cur, scale, shift, spk, mem, arg, numbers, num_steps, rows, step_cur,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, KIND: tl.constexpr, POOL: tl.constexpr, SCALE: tl.constexpr,
    SHIFT: tl.constexpr, MEM: tl.constexpr, ARG: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Currents [T, B, H, W, C] to spikes, membranes and (POOL == 2) which of four won, [T, rows, C] each."""
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    c = tl.program_id(1) * COLS + tl.arange(0, COLS)[None, :]
    inside = (r < rows) & (c < C)
    beta, theta, alpha, rho, gain = load_numbers(numbers)
    to = r * C + c
    at = to
    if POOL == 2:
        HP: tl.constexpr = H // 2
        WP: tl.constexpr = W // 2
        at = ((r // (HP * WP)) * (H * W) + 2 * ((r // WP) % HP) * W + 2 * (r % WP)) * C + c
    sc = tl.load(scale + c, mask=c < C, other=0.0) if SCALE else 1.0
    sh = tl.load(shift + c, mask=c < C, other=0.0) if SHIFT else 0.0
    zero = tl.zeros([ROWS, COLS], tl.float32)
    u, s, extra = zero, zero, zero
    size = tl.cast(rows, tl.int64) * C
    for t in range(num_steps):
        v = cur + tl.cast(t, tl.int64) * step_cur + at
        best = tl.load(v, mask=inside, other=0.0)
        best = scaled(best, sc, sh, SCALE, SHIFT)
        now = tl.cast(t, tl.int64) * size + to
        if POOL == 2:
            where = tl.zeros([ROWS, COLS], tl.int32)
            for other in tl.static_range(1, 4):
                b = tl.load(v + ((other // 2) * W + other % 2) * C, mask=inside, other=0.0)
                b = scaled(b, sc, sh, SCALE, SHIFT)
                where = tl.where(b > best, other, where)
                best = tl.maximum(b, best, propagate_nan=tl.PropagateNan.ALL)
            if ARG:
                tl.store(arg + now, where.to(tl.uint8), mask=inside)
        u, s, extra = advance(best, u, s, extra, beta, theta, alpha, rho, gain, KIND)
        tl.store(spk + now, s.to(spk.dtype.element_ty), mask=inside)
        if MEM:
            tl.store(mem + now, u, mask=inside)


@triton.jit
def _winner(
    cur, arg, now, r, c, t, step_cur, mask,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, POOL: tl.constexpr,
):  # fmt: skip
    """Load the current that won its pool window."""
    at = r * C + c
    if POOL == 2:
        HP: tl.constexpr = H // 2
        WP: tl.constexpr = W // 2
        where = tl.load(arg + now, mask=mask, other=0).to(tl.int32)
        y = 2 * ((r // WP) % HP) + where // 2
        at = ((r // (HP * WP)) * (H * W) + y * W + 2 * (r % WP) + where % 2) * C + c
    return tl.load(cur + tl.cast(t, tl.int64) * step_cur + at, mask=mask, other=0.0)


@triton.jit
def backward(
    grad_spk, grad_mem, mem, adapted, cur, arg, mean, deviation, weight, bias, du, amax, sums, products, learned,
    numbers, slope, num_steps, rows, step_cur,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, KIND: tl.constexpr, SURROGATE: tl.constexpr, POOL: tl.constexpr,
    MEM: tl.constexpr, AMAX: tl.constexpr, SUMS: tl.constexpr, NORM: tl.constexpr, LEARN: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Gradient of the (pooled) currents du [T, rows, C], and one partial a program of what follows from it.

    AMAX: its largest magnitude; SUMS: its sum by channel; NORM: its sum by channel times the normalised current before
    weight and bias; LEARN: the gradients of the five numbers. The normalised current follows from the membranes of
    leaky neurons, so that the currents need not be read; where the weight is too small for that, and for other kinds,
    they are.
    """
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    c = tl.program_id(1) * COLS + tl.arange(0, COLS)[None, :]
    inside = (r < rows) & (c < C)
    beta, theta, alpha, rho, gain = load_numbers(numbers)
    at = r * C + c
    size = tl.cast(rows, tl.int64) * C
    zero = tl.zeros([ROWS, COLS], tl.float32)
    d, e, one, two, top = zero, zero, zero, zero, zero
    of_beta, of_theta, of_alpha, of_rho, of_gain = zero, zero, zero, zero, zero
    if NORM:
        mu = tl.load(mean + c, mask=c < C, other=0.0)
        istd = tl.load(deviation + c, mask=c < C, other=0.0)
        ga = tl.load(weight + c, mask=c < C, other=1.0)
        sh = tl.load(bias + c, mask=c < C, other=0.0)
        small = (tl.abs(ga) < 0.1) | (KIND != 0)
        inverse = 1.0 / tl.where(small, 1.0, ga)
    a = zero
    if KIND == 2:  # the adaptation before each step, from the spikes, which follow from the membranes
        s = zero
        for t in range(num_steps):
            now = tl.cast(t, tl.int64) * size + at
            a = rho * a + (1.0 - rho) * s
            tl.store(adapted + now, a, mask=inside)
            s = (_above(tl.load(mem + now, mask=inside, other=0.0), a, theta, gain, KIND) > 0).to(tl.float32)
        tl.debug_barrier()
    u = tl.load(mem + tl.cast(num_steps - 1, tl.int64) * size + at, mask=inside, other=0.0)
    for back in range(num_steps):
        t = num_steps - 1 - back
        now = tl.cast(t, tl.int64) * size + at
        before = tl.cast(tl.maximum(t - 1, 0), tl.int64) * size + at
        u_before = tl.where(t > 0, tl.load(mem + before, mask=inside, other=0.0), 0.0)
        a_before = zero
        if KIND == 2:
            a_before = tl.where(t > 0, tl.load(adapted + before, mask=inside, other=0.0), 0.0)
        fired = tl.where(t > 0, (_above(u_before, a_before, theta, gain, KIND) > 0).to(tl.float32), 0.0)
        g = tl.load(grad_spk + now, mask=inside, other=0.0).to(tl.float32)
        excess = _above(u, a, theta, gain, KIND)
        s = (excess > 0).to(tl.float32)
        if KIND == 2:
            g = g + (1.0 - rho) * e
        through = g * _slope_of(excess, slope, SURROGATE)
        on_threshold = -through - s * d
        if KIND == 2:
            e = gain * on_threshold + rho * e
        d = through + beta * d
        if MEM:
            d += tl.load(grad_mem + now, mask=inside, other=0.0).to(tl.float32)
        if KIND == 1:
            e = d + alpha * e
        out = e if KIND == 1 else d
        tl.store(du + now, out, mask=inside)
        if AMAX:
            top = tl.maximum(top, tl.abs(out))
        if SUMS:
            one += out
        if NORM:
            from_mem = (u - beta * u_before + fired * theta - sh) * inverse
            x = _winner(cur, arg, now, r, c, t, step_cur, inside & small, H, W, C, POOL)
            two += out * tl.where(small, (x - mu) * istd, from_mem)
        if LEARN:
            of_theta += tl.where(inside, on_threshold, 0.0)
            of_beta += d * u_before
            if KIND == 2:
                of_gain += on_threshold * a
                of_rho += e * (a_before - fired)
            if KIND == 1:  # i[t-1] = u[t-1] - beta u[t-2] + theta s[t-2]
                long_before = tl.cast(tl.maximum(t - 2, 0), tl.int64) * size + at
                u_long = tl.where(t > 1, tl.load(mem + long_before, mask=inside, other=0.0), 0.0)
                syn = u_before - beta * u_long + tl.where(t > 1, tl.where(u_long - theta > 0, theta, 0.0), 0.0)
                of_alpha += e * syn
        u = u_before
        a = a_before
    if AMAX:
        tl.atomic_max(amax, tl.max(tl.max(top, axis=1), axis=0))
    cols = tl.program_id(1) * COLS + tl.arange(0, COLS)
    if SUMS:
        tl.store(sums + tl.program_id(0) * C + cols, tl.sum(one, axis=0), mask=cols < C)
    if NORM:
        tl.store(products + tl.program_id(0) * C + cols, tl.sum(two, axis=0), mask=cols < C)
    if LEARN:
        to = learned + 5 * (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1))
        tl.store(to, tl.sum(tl.sum(of_beta, axis=1), axis=0))
        tl.store(to + 1, tl.sum(tl.sum(of_theta, axis=1), axis=0))
        tl.store(to + 2, tl.sum(tl.sum(of_alpha, axis=1), axis=0))
        tl.store(to + 3, tl.sum(tl.sum(of_rho, axis=1), axis=0))
        tl.store(to + 4, tl.sum(tl.sum(of_gain, axis=1), axis=0))
