"""Functions of single float32 numbers that generated kernels call, written so that loops over them vectorise."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from snn_helpers.engine.cpu.runtime import part

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_C0, _C1, _C2, _C3, _C4 = (
    np.float32(c) for c in (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 1.6666665e-1)
)
_TOP, _BOTTOM = np.float32(88.72283), np.float32(-87.0)


@part
def maximum(a, b):
    """Return the larger number, or NaN where one is."""
    return a if a > b or a != a else b


@part
def minimum(a, b):
    """Return the smaller number, or NaN where one is."""
    return a if a < b or a != a else b


@part
def sgn(a):
    """Return the sign: -1, 0 or 1."""
    return _ONE if a > _ZERO else (-_ONE if a < _ZERO else _ZERO)


@intrinsic
def _power_of_two(typingctx, exponent):
    """Return 2 to a whole number from -126 to 127."""

    def codegen(context, builder, signature, args):
        bits = builder.shl(builder.add(args[0], args[0].type(127)), args[0].type(23))
        return builder.bitcast(bits, context.get_value_type(types.float32))

    return types.float32(types.int32), codegen


@part
def exp(a):
    """Return e to the power of `a`, to 2e-7 relative: S. Moshier's polynomial (Cephes, `expf`)."""
    x = minimum(maximum(a, _BOTTOM), _TOP)
    n = np.floor(x * _LOG2E + _HALF)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = ((((_C0 * r + _C1) * r + _C2) * r + _C3) * r + _C4) * r + _HALF
    whole = (_TWO * (p * (r * r) + r + _ONE)) * _power_of_two(np.int32(n) - np.int32(1))
    return np.float32(np.inf) if a > _TOP else (_ZERO if a < _BOTTOM else whole)
