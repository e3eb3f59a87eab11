"""The inner loops of the CPU engine: sums of matrix rows picked by a list, and the search for non-zero bytes.

Everything event-driven comes down to one operation, `out += sum_k value[k] * rows[index[k]]`. It is fast when the
running sum stays in vector registers while the list is walked, which a compiler does not manage for a width known only
at run time. So the loop is written once in LLVM's vector types, and `_by_columns` applies it to blocks of 64 columns to
1; LLVM maps them to what the processor has (AVX-512, AVX2, SSE, NEON).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from snn_helpers.engine.cpu.runtime import part

_INT = ir.IntType(64)
_FUSE = ("contract",)  # multiply-add in one rounding is welcome here: only sums, never a membrane update


class _Array:
    """A flat array in LLVM's terms, of which vectors are loaded and stored."""

    def __init__(self, context, builder, kind, value):
        self._builder, self._element = builder, context.get_data_type(kind.dtype)
        self._align = context.get_abi_sizeof(self._element)
        self._data = context.make_array(kind)(context, builder, value).data

    def vector(self, width: int, value: float | None = None) -> ir.Constant:
        """Return a vector of one number, undefined without."""
        kind = ir.VectorType(self._element, width)
        return ir.Constant(kind, ir.Undefined if value is None else [value] * width)

    def _pointer(self, place, width):
        return self._builder.bitcast(
            self._builder.gep(self._data, [place]), ir.VectorType(self._element, width).as_pointer()
        )

    def load(self, place, width):
        return self._builder.load(self._pointer(place, width), align=self._align)

    def store(self, value, place):
        self._builder.store(value, self._pointer(place, value.type.count), align=self._align)

    def number(self, place):
        """Return one number, a whole one as wide as places are."""
        value = self._builder.load(self._builder.gep(self._data, [place]))
        return self._builder.sext(value, _INT) if isinstance(value.type, ir.IntType) else value

    def everywhere(self, value, width: int):
        """Return a vector of a number that is known at run time."""
        lane = self._builder.insert_element(self.vector(width), value, ir.Constant(ir.IntType(32), 0))
        return self._builder.shuffle_vector(lane, lane, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width))


def _in_llvm(result, code: Callable, names: Iterable[str] = ()):
    """Return a function for kernels whose code is built by code(builder, *arguments): arrays, and whole numbers.

    Its arguments have the names of the code's, or those given.
    """

    def function(typingctx, *kinds):
        def codegen(context, builder, signature, values):
            given = zip(signature.args, values)
            args = [_Array(context, builder, kind, v) if isinstance(kind, types.Array) else v for kind, v in given]
            found = code(builder, *args)
            return context.get_dummy_value() if found is None else found

        return result(*(kind if isinstance(kind, types.Array) else types.int64 for kind in kinds)), codegen

    names = names or [*inspect.signature(code).parameters][1:]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in ("typingctx", *names)])
    return intrinsic(function)


def _by_columns(block: Callable, widths=(64, 32, 16, 8, 4, 1)):
    """Return a function whose last argument, n, is a number of columns: blocks, widest first, do all of them.

    `block` is called as block(builder, width, column, *arguments), and builds the code for `width` columns.
    """

    def code(builder, *args):
        first = ir.Constant(_INT, 0)
        for width in widths:
            many = builder.and_(builder.sub(args[-1], first), ir.Constant(_INT, -width))
            end = builder.add(first, many)
            with cgutils.for_range_slice(builder, first, end, ir.Constant(_INT, width), _INT) as (column, _):
                block(builder, width, column, *args)
            first = end

    return _in_llvm(types.void, code, [*inspect.signature(block).parameters][3:])


def _each(builder, low, high, step=1):
    return cgutils.for_range_slice(builder, low, high, ir.Constant(_INT, step), _INT)


def _sum_block(builder, width, column, out, at, rows, index, low, high, base, stride, value, n):
    """Walk a list with the sums of `width` columns in registers and store them once; `value` may be None.

    There are as many partial sums as make eight registers, so that an addition need not wait for the one before.
    """
    lanes = 2 if 4 <= width <= 32 else 1
    place, start = builder.add(at, column), builder.add(column, base)
    sums = [cgutils.alloca_once(builder, out.vector(width).type) for _ in range(lanes)]  # LLVM: in registers
    for lane, total in enumerate(sums):
        builder.store(out.vector(width, 0.0) if lane else out.load(place, width), total)

    def add_row(k, total):
        term = rows.load(builder.add(start, builder.mul(index.number(k), stride)), width)
        if value is not None:
            term = builder.fmul(term, rows.everywhere(value.number(k), width), flags=_FUSE)
        builder.store(builder.fadd(builder.load(total), term, flags=_FUSE), total)

    even = builder.add(low, builder.and_(builder.sub(high, low), ir.Constant(_INT, -lanes)))
    with _each(builder, low, even, lanes) as (k, _):
        for lane, total in enumerate(sums):
            add_row(builder.add(k, ir.Constant(_INT, lane)), total)
    with _each(builder, even, high) as (k, _):
        add_row(k, sums[0])
    result = builder.load(sums[0])
    for total in sums[1:]:
        result = builder.fadd(result, builder.load(total))
    out.store(result, place)


def _spread_block(builder, width, column, out, index, low, high, base, stride, rows, at, n):
    row, start = rows.load(builder.add(at, column), width), builder.add(column, base)
    with _each(builder, low, high) as (k, _):
        place = builder.add(start, builder.mul(index.number(k), stride))
        out.store(builder.fadd(out.load(place, width), row), place)


def _window(builder, column, p, q, n):
    """Return where a block of each of the four pixels of a pool window begins."""
    return [builder.add(place, column) for place in (p, builder.add(p, n), q, builder.add(q, n))]


def _unpool_block(builder, width, column, grad, winner, at, image, p, q, n):
    place = builder.add(at, column)
    values, who = grad.load(place, width), winner.load(place, width)
    for which, pixel in enumerate(_window(builder, column, p, q, n)):
        won = builder.icmp_unsigned("==", who, winner.vector(width, which))
        image.store(builder.select(won, values, grad.vector(width, 0.0)), pixel)


def _pool_block(builder, width, column, image, p, q, shift, cur, winner, at, n):
    added, place = shift.load(column, width), builder.add(at, column)
    values = [builder.fadd(image.load(pixel, width), added) for pixel in _window(builder, column, p, q, n)]
    best, who = values[0], winner.vector(width, 0)
    for which, value in enumerate(values[1:], 1):
        larger = builder.fcmp_ordered(">", value, best)
        best = builder.select(larger, value, best)
        who = builder.select(larger, winner.vector(width, which), who)
    cur.store(best, place)
    winner.store(who, place)


def _sum_plain(builder, width, column, out, at, rows, index, low, high, base, stride, n):
    _sum_block(builder, width, column, out, at, rows, index, low, high, base, stride, None, n)


_add_rows, _add_scaled_rows, _spread_row = _by_columns(_sum_plain), _by_columns(_sum_block), _by_columns(_spread_block)
_unpool_cell, _pool_cell = _by_columns(_unpool_block, (32, 8, 4, 1)), _by_columns(_pool_block, (32, 8, 4, 1))


@part
def add_rows(out, at, rows, width, index, low, high, base, stride):
    """Add to `out[at : at + width]` the rows of `rows` that begin at `base + index[k] * stride`, for k in [low, high).

    Parameters
    ----------
    out : float32 array, flat
        Where the sum is added.
    rows : float32 array, flat
        Rows of `width` numbers or more.
    index : int32 array
        Row numbers.
    """
    _add_rows(out, at, rows, index, low, high, base, stride, width)


@part
def add_scaled_rows(out, at, rows, width, index, low, high, base, stride, value):
    """Add to `out[at : at + width]` the rows of `add_rows`, each times `value[k]`."""
    _add_scaled_rows(out, at, rows, index, low, high, base, stride, value, width)


@part
def spread_row(out, width, index, low, high, base, stride, rows, at):
    """Add the row `rows[at : at + width]` to those of `out` at `base + index[k] * stride`, for k in [low, high)."""
    _spread_row(out, index, low, high, base, stride, rows, at, width)


@part
def unpool_cell(grad, winner, at, n, image, p, q):
    """Give each of the four pixels of a pool window the gradient of what it won, zero elsewhere.

    `grad[at : at + n]` and `winner[at : at + n]` belong to the window; its pixels have n numbers each and begin in
    `image` at p, p + n, q and q + n.
    """
    _unpool_cell(grad, winner, at, image, p, q, n)


@part
def pool_cell(image, p, q, n, shift, cur, winner, at):
    """Write to `cur[at:]` the largest of a window's four pixels, plus `shift`, and to `winner[at:]` which it was.

    The pixels have n numbers each and begin in `image` at p, p + n, q and q + n; of equal ones the first wins.
    """
    _pool_cell(image, p, q, shift, cur, winner, at, n)


_BLOCK = 8


def _transpose_block(builder, source, at, source_row, target, place, target_row):
    """Transpose 8 x 8 numbers: interleave the first half of the rows with the second, three times."""

    def row(base, stride, k):
        return builder.add(base, builder.mul(stride, ir.Constant(_INT, k)))

    rows, half = [source.load(row(at, source_row, k), _BLOCK) for k in range(_BLOCK)], _BLOCK // 2
    order = [half * part + k // 2 + _BLOCK * (k % 2) for part in (0, 1) for k in range(_BLOCK)]
    picks = [ir.Constant(ir.VectorType(ir.IntType(32), _BLOCK), order[k : k + _BLOCK]) for k in (0, _BLOCK)]
    for _ in range(3):
        rows = [builder.shuffle_vector(rows[k], rows[k + half], pick) for k in range(half) for pick in picks]
    for k, one in enumerate(rows):
        target.store(one, row(place, target_row, k))


_transpose_8x8 = _in_llvm(types.void, _transpose_block)


@part
def transpose(source, at, source_row, rows, columns, target, place, target_row):
    """Copy the matrix [rows, columns] of `source` from `at` on, `source_row` numbers a row, transposed to `target`."""
    down, across = rows - rows % _BLOCK, columns - columns % _BLOCK
    for r in range(0, down, _BLOCK):
        for c in range(0, across, _BLOCK):
            _transpose_8x8(source, at + r * source_row + c, source_row, target, place + c * target_row + r, target_row)
    for r in range(rows):
        for c in range(across if r < down else 0, columns):
            target[place + c * target_row + r] = source[at + r * source_row + c]


def _nonzero_bits(builder, data, at):
    some = builder.icmp_unsigned("!=", data.load(at, 64), data.vector(64, 0))
    return builder.bitcast(some, _INT)


def _winner_bits(builder, winner, grad, at, which):
    who = winner.everywhere(builder.trunc(which, ir.IntType(8)), 32)
    won = builder.icmp_unsigned("==", winner.load(at, 32), who)
    some = builder.fcmp_unordered("!=", grad.load(at, 32), grad.vector(32, 0.0))
    return builder.zext(builder.bitcast(builder.and_(won, some), ir.IntType(32)), _INT)


# Bit i is set where byte `at + i` is not zero, for i below 64; where `winner[at + i] == which` and `grad[at + i]` is
# not zero, for i below 32; the number of the lowest bit.
_nonzero_mask, _winner_mask = _in_llvm(types.uint64, _nonzero_bits), _in_llvm(types.uint64, _winner_bits)
_trailing_zeros = _in_llvm(types.int64, lambda builder, bits: builder.cttz(bits, ir.Constant(ir.IntType(1), 1)))


@part
def find_nonzero(data, start, stop, found):
    """Write the offsets from `start` of the non-zero bytes of `data[start:stop]` to `found`; return how many."""
    count = 0
    at = start
    one = types.uint64(1)
    while at + 64 <= stop:
        bits = _nonzero_mask(data, at)
        while bits != 0:
            found[count] = at - start + _trailing_zeros(bits)
            count += 1
            bits &= bits - one
        at += 64
    for k in range(at, stop):
        if data[k] != 0:
            found[count] = k - start
            count += 1
    return count


@part
def find_winners(winner, grad, at, n, which, base, found, value, start):
    """List who won: the places k below n with `winner[at + k] == which` and a gradient.

    From `start` on, `found` gets base + k and `value` the gradient; returns where the list ends.
    """
    end = start
    one = types.uint64(1)
    k = 0
    while n - k >= 32:
        bits = _winner_mask(winner, grad, at + k, which)
        while bits != 0:
            place = k + _trailing_zeros(bits)
            found[end] = base + place
            value[end] = grad[at + place]
            end += 1
            bits &= bits - one
        k += 32
    for place in range(k, n):
        if winner[at + place] == which and grad[at + place] != 0:
            found[end] = base + place
            value[end] = grad[at + place]
            end += 1
    return end
