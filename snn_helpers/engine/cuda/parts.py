"""Numbers in two parts: how products of float16 give sums of float32 quality.

Spikes, and counts up to 255, are exact in float16. A float32 number times a power of two is the sum of two float16
numbers: two products on the tensor cores, added up in float32. The power of two follows from the largest magnitude of
the tensor, on the device, so that nothing waits for it and there is no range to fall out of.

Tensor cores cut off, where other units round, what does not fit into a sum: always in one direction, which adds up
over the time steps in a membrane. Hence they sum over one tap, or few rows, only, and the kernels add those sums up
themselves.
"""

from __future__ import annotations

import triton
import triton.language as tl

WEIGHT_BITS = tl.constexpr(14)  # the largest weight becomes [2^14, 2^15); float16 ends at 65504
GRADIENT_BITS = tl.constexpr(6)  # leaves room for what batch normalisation adds, up to 500 times the largest


@triton.jit
def power_of_two(amax, TO: tl.constexpr):
    """Return the power of two that brings amax into [2^TO, 2^(TO + 1))."""
    bits = (amax.to(tl.int32, bitcast=True) >> 23) & 255
    bits = tl.where(bits == 0, 127, bits)
    want = tl.minimum(tl.maximum(254 + TO - bits, 4), 250)  # its inverse is a normal number, too
    return (want << 23).to(tl.float32, bitcast=True)


@triton.jit
def add_product(acc, a, b, low_a, low_b, PARTS: tl.constexpr):
    """Add a b to acc; of two parts the product of the low ones, low_a low_b, goes into the same sum first."""
    if PARTS > 1:
        acc += tl.dot(a, b, tl.dot(low_a, low_b))
    else:
        acc = tl.dot(a, b, acc)
    return acc


@triton.jit
def split_weights(
    weight, sign, amax, out, total, stride_n1, stride_n0, stride_k1, stride_k0, stride_tap,
    N: tl.constexpr, N0: tl.constexpr, NPAD: tl.constexpr, K: tl.constexpr, K0: tl.constexpr, KPAD: tl.constexpr,
    TAPS: tl.constexpr, FLIP: tl.constexpr, SIGN: tl.constexpr, PARTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Weights to [PARTS, TAPS, KPAD, NPAD], zero beyond K and N.

    Column n is that with strides (n // N0, n % N0), and row k likewise, so that weights of images come into the order
    in which spikes lie in memory. SIGN: times the sign of `sign` [N], so that the largest product wins a pool also
    where it is scaled by a negative number afterwards.
    """
    i = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    n = i % NPAD
    k = (i // NPAD) % KPAD
    tap = i // (NPAD * KPAD)
    if FLIP:
        tap = TAPS - 1 - tap
    ok = (i < total) & (n < N) & (k < K)
    at = (n // N0) * stride_n1 + (n % N0) * stride_n0 + (k // K0) * stride_k1 + (k % K0) * stride_k0 + tap * stride_tap
    v = tl.load(weight + at, mask=ok, other=0.0) * power_of_two(tl.load(amax), WEIGHT_BITS)
    if SIGN:
        factor = tl.load(sign + n, mask=ok, other=1.0)
        v = tl.where(factor < 0, -v, tl.where(factor == 0, 0.0, v))
    high = v.to(tl.float16)
    tl.store(out + i, high, mask=i < total)
    if PARTS > 1:
        tl.store(out + total + i, (v - high.to(tl.float32)).to(tl.float16), mask=i < total)
