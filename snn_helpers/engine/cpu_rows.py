"""The inner loops of the CPU engine: sums of matrix rows picked by a list, and the search for non-zero bytes.

Everything event-driven comes down to one operation, `out += sum_k value[k] * rows[index[k]]`. It is fast when the
running sum stays in vector registers while the list is walked, which a compiler does not manage for a width known only
at run time. So the loop is written once in LLVM's vector types, for blocks of 64 to 4 numbers; LLVM maps them to what
the processor has (AVX-512, AVX2, SSE, NEON).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from snn_helpers.engine.cpu_runtime import part

_F32 = ir.FloatType()
_REGISTER = 16 if get_host_cpu_features().get("avx512f") else 8  # float32 numbers in a vector register
_FUSE = ("contract",)  # multiply-add in one rounding is welcome here: only sums, never a membrane update


def _pointer(context, builder, array_type, array, offset):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def _vector_at(builder, pointer, vector):
    return builder.bitcast(pointer, vector.as_pointer())


def _row_sum_block(width, scaled):
    """Return an intrinsic that walks a list with the sum of `width` columns in registers and stores it once.

    It keeps as many partial sums as make eight registers, so that an addition need not wait for the one before.
    """
    vector = ir.VectorType(_F32, width)
    broadcast = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    lanes = 2 if width <= 32 else 1

    def codegen(context, builder, signature, args):
        out, out_at, rows, stride, column, index, low, high, shift, value = args
        arrays = signature.args
        intp = context.get_value_type(types.intp)
        target = _vector_at(builder, _pointer(context, builder, arrays[0], out, out_at), vector)
        start = _pointer(context, builder, arrays[2], rows, builder.add(column, builder.mul(shift, stride)))
        index0 = context.make_array(arrays[5])(context, builder, index).data
        value0 = context.make_array(arrays[9])(context, builder, value).data
        sums = [cgutils.alloca_once(builder, vector) for _ in range(lanes)]  # LLVM promotes them to registers
        builder.store(builder.load(target, align=4), sums[0])
        for total in sums[1:]:
            builder.store(ir.Constant(vector, [0.0] * width), total)

        def add_row(k, total):
            row = builder.sext(builder.load(builder.gep(index0, [k])), intp)
            term = builder.load(_vector_at(builder, builder.gep(start, [builder.mul(row, stride)]), vector), align=4)
            if scaled:
                factor = builder.load(builder.gep(value0, [k]))
                lane = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0))
                term = builder.fmul(term, builder.shuffle_vector(lane, lane, broadcast), flags=_FUSE)
            builder.store(builder.fadd(builder.load(total), term, flags=_FUSE), total)

        step = ir.Constant(intp, lanes)
        even = builder.add(low, builder.and_(builder.sub(high, low), ir.Constant(intp, -lanes)))
        with cgutils.for_range_slice(builder, low, even, step, intp) as (k, _):
            for lane, total in enumerate(sums):
                add_row(builder.add(k, ir.Constant(intp, lane)), total)
        with cgutils.for_range_slice(builder, even, high, ir.Constant(intp, 1), intp) as (k, _):
            add_row(k, sums[0])
        result = builder.load(sums[0])
        for total in sums[1:]:
            result = builder.fadd(result, builder.load(total))
        builder.store(result, target, align=4)
        return context.get_dummy_value()

    @intrinsic
    def block(typingctx, out, out_at, rows, stride, column, index, low, high, shift, value):
        i = types.intp
        return types.void(out, i, rows, i, i, index, i, i, i, value), codegen

    return block


_WIDTHS = 64, 32, 16, 8, 4
_sum64, _sum32, _sum16, _sum8, _sum4 = (_row_sum_block(width, False) for width in _WIDTHS)
_scaled64, _scaled32, _scaled16, _scaled8, _scaled4 = (_row_sum_block(width, True) for width in _WIDTHS)


@part
def add_rows(out, at, rows, width, index, low, high, shift):
    """Add to `out[at : at + width]` the rows `index[k] + shift` of `rows`, for k in [low, high).

    Parameters
    ----------
    out : float32 array, flat
        Where the sum is added.
    rows : float32 array, flat
        Rows of `width` numbers, one after another.
    index : int32 array
        Row numbers before the shift.
    """
    column = 0
    while width - column >= 64:
        _sum64(out, at + column, rows, width, column, index, low, high, shift, rows)
        column += 64
    if width - column >= 32:
        _sum32(out, at + column, rows, width, column, index, low, high, shift, rows)
        column += 32
    if width - column >= 16:
        _sum16(out, at + column, rows, width, column, index, low, high, shift, rows)
        column += 16
    if width - column >= 8:
        _sum8(out, at + column, rows, width, column, index, low, high, shift, rows)
        column += 8
    if width - column >= 4:
        _sum4(out, at + column, rows, width, column, index, low, high, shift, rows)
        column += 4
    if column < width:
        for k in range(low, high):
            row = (index[k] + shift) * width
            for j in range(column, width):
                out[at + j] += rows[row + j]


@part
def add_scaled_rows(out, at, rows, width, index, low, high, shift, value):
    """Add to `out[at : at + width]` row `index[k] + shift` times `value[k]`, for k in [low, high)."""
    column = 0
    while width - column >= 64:
        _scaled64(out, at + column, rows, width, column, index, low, high, shift, value)
        column += 64
    if width - column >= 32:
        _scaled32(out, at + column, rows, width, column, index, low, high, shift, value)
        column += 32
    if width - column >= 16:
        _scaled16(out, at + column, rows, width, column, index, low, high, shift, value)
        column += 16
    if width - column >= 8:
        _scaled8(out, at + column, rows, width, column, index, low, high, shift, value)
        column += 8
    if width - column >= 4:
        _scaled4(out, at + column, rows, width, column, index, low, high, shift, value)
        column += 4
    if column < width:
        for k in range(low, high):
            row, factor = (index[k] + shift) * width, value[k]
            for j in range(column, width):
                out[at + j] += factor * rows[row + j]


def _spread_block(width):
    vector = ir.VectorType(_F32, width)

    @intrinsic
    def block(typingctx, out, stride, column, index, low, high, shift, rows, row_at):
        def codegen(context, builder, signature, args):
            out, stride, column, index, low, high, shift, rows, row_at = args
            arrays = signature.args
            intp = context.get_value_type(types.intp)
            row = builder.load(
                _vector_at(builder, _pointer(context, builder, arrays[7], rows, row_at), vector), align=4
            )
            start = _pointer(context, builder, arrays[0], out, builder.add(column, builder.mul(shift, stride)))
            index0 = context.make_array(arrays[3])(context, builder, index).data
            with cgutils.for_range_slice(builder, low, high, ir.Constant(intp, 1), intp) as (k, _):
                place = builder.mul(builder.sext(builder.load(builder.gep(index0, [k])), intp), stride)
                target = _vector_at(builder, builder.gep(start, [place]), vector)
                builder.store(builder.fadd(builder.load(target, align=4), row), target, align=4)
            return context.get_dummy_value()

        i = types.intp
        return types.void(out, i, i, index, i, i, i, rows, i), codegen

    return block


_spread64, _spread32, _spread16, _spread8, _spread4 = (_spread_block(width) for width in _WIDTHS)


@part
def spread_row(out, width, index, low, high, shift, rows, row_at):
    """Add the row `rows[row_at : row_at + width]` to the rows `index[k] + shift` of `out`, for k in [low, high)."""
    column = 0
    while width - column >= 64:
        _spread64(out, width, column, index, low, high, shift, rows, row_at + column)
        column += 64
    if width - column >= 32:
        _spread32(out, width, column, index, low, high, shift, rows, row_at + column)
        column += 32
    if width - column >= 16:
        _spread16(out, width, column, index, low, high, shift, rows, row_at + column)
        column += 16
    if width - column >= 8:
        _spread8(out, width, column, index, low, high, shift, rows, row_at + column)
        column += 8
    if width - column >= 4:
        _spread4(out, width, column, index, low, high, shift, rows, row_at + column)
        column += 4
    if column < width:
        for k in range(low, high):
            at = (index[k] + shift) * width
            for j in range(column, width):
                out[at + j] += rows[row_at + j]


def _pick_block(width):
    floats, bytes_ = ir.VectorType(_F32, width), ir.VectorType(ir.IntType(8), width)

    @intrinsic
    def block(typingctx, grad, winner, at, image, p, q, n):
        def codegen(context, builder, signature, args):
            grad, winner, at, image, p, q, n = args
            values = builder.load(
                _vector_at(builder, _pointer(context, builder, signature.args[0], grad, at), floats), align=4
            )
            who = builder.load(
                _vector_at(builder, _pointer(context, builder, signature.args[1], winner, at), bytes_), align=1
            )
            zero = ir.Constant(floats, [0.0] * width)
            for which, place in enumerate((p, builder.add(p, n), q, builder.add(q, n))):
                won = builder.icmp_unsigned("==", who, ir.Constant(bytes_, [which] * width))
                target = _vector_at(builder, _pointer(context, builder, signature.args[3], image, place), floats)
                builder.store(builder.select(won, values, zero), target, align=4)
            return context.get_dummy_value()

        i = types.intp
        return types.void(grad, winner, i, image, i, i, i), codegen

    return block


_pick32, _pick8, _pick4 = _pick_block(32), _pick_block(8), _pick_block(4)


@part
def unpool_cell(grad, winner, at, n, image, p, q):
    """Give each of the four pixels of a pool window the gradient of what it won, zero elsewhere.

    `grad[at : at + n]` and `winner[at : at + n]` belong to the window; its pixels have n numbers each and begin in
    `image` at p, p + n, q and q + n.
    """
    c = 0
    while n - c >= 32:
        _pick32(grad, winner, at + c, image, p + c, q + c, n)
        c += 32
    while n - c >= 8:
        _pick8(grad, winner, at + c, image, p + c, q + c, n)
        c += 8
    if n - c >= 4:
        _pick4(grad, winner, at + c, image, p + c, q + c, n)
        c += 4
    for k in range(c, n):
        for r in range(4):
            image[(p if r < 2 else q) + (r % 2) * n + k] = grad[at + k] if winner[at + k] == r else np.float32(0)


def _largest_block(width):
    floats, bytes_ = ir.VectorType(_F32, width), ir.VectorType(ir.IntType(8), width)

    @intrinsic
    def block(typingctx, image, p0, p1, p2, p3, shift, c, cur, winner, at):
        def codegen(context, builder, signature, args):
            image, *places, shift, c, cur, winner, at = args
            arrays = signature.args

            def load(array_type, array, offset):
                pointer = _pointer(context, builder, array_type, array, offset)
                return builder.load(_vector_at(builder, pointer, floats), align=4)

            added = load(arrays[5], shift, c)
            best = who = None
            for which, place in enumerate(places):
                value = builder.fadd(load(arrays[0], image, place), added)
                this = ir.Constant(bytes_, [which] * width)
                if best is None:
                    best, who = value, this
                    continue
                larger = builder.fcmp_ordered(">", value, best)
                best, who = builder.select(larger, value, best), builder.select(larger, this, who)
            builder.store(best, _vector_at(builder, _pointer(context, builder, arrays[7], cur, at), floats), align=4)
            builder.store(who, _vector_at(builder, _pointer(context, builder, arrays[8], winner, at), bytes_), align=1)
            return context.get_dummy_value()

        i = types.intp
        return types.void(image, i, i, i, i, shift, i, cur, winner, i), codegen

    return block


_largest32, _largest8, _largest4 = _largest_block(32), _largest_block(8), _largest_block(4)


@part
def pool_cell(image, p, q, n, shift, cur, winner, at):
    """Write to `cur[at:]` the largest of a window's four pixels, plus `shift`, and to `winner[at:]` which it was.

    The pixels have n numbers each and begin in `image` at p, p + n, q and q + n; of equal ones the first wins.
    """
    c = 0
    while n - c >= 32:
        _largest32(image, p + c, p + n + c, q + c, q + n + c, shift, c, cur, winner, at + c)
        c += 32
    while n - c >= 8:
        _largest8(image, p + c, p + n + c, q + c, q + n + c, shift, c, cur, winner, at + c)
        c += 8
    if n - c >= 4:
        _largest4(image, p + c, p + n + c, q + c, q + n + c, shift, c, cur, winner, at + c)
        c += 4
    for k in range(c, n):
        best, which = image[p + k] + shift[k], 0
        for r in range(1, 4):
            value = image[(p if r < 2 else q) + (r % 2) * n + k] + shift[k]
            if value > best:
                best, which = value, r
        cur[at + k] = best
        winner[at + k] = which


@intrinsic
def _equal_mask(typingctx, data, at, byte):
    """Bit i of the result is set where byte `at + i` equals `byte`, for i below 64."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.IntType(8), 64)
        pointer = _vector_at(builder, _pointer(context, builder, signature.args[0], *args[:2]), vector)
        lane = builder.insert_element(ir.Constant(vector, ir.Undefined), args[2], ir.Constant(ir.IntType(32), 0))
        every = builder.shuffle_vector(lane, lane, ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64))
        return builder.bitcast(builder.icmp_unsigned("==", builder.load(pointer, align=1), every), ir.IntType(64))

    return types.uint64(data, types.intp, types.uint8), codegen


@intrinsic
def _winner_mask(typingctx, winner, grad, at, which):
    """Bit i of the result is set where `winner[at + i] == which` and `grad[at + i]` is not zero, for i below 32."""

    def codegen(context, builder, signature, args):
        winner, grad, at, which = args
        bytes_, floats = ir.VectorType(ir.IntType(8), 32), ir.VectorType(_F32, 32)
        pointer = _vector_at(builder, _pointer(context, builder, signature.args[0], winner, at), bytes_)
        lane = builder.insert_element(ir.Constant(bytes_, ir.Undefined), which, ir.Constant(ir.IntType(32), 0))
        every = builder.shuffle_vector(lane, lane, ir.Constant(ir.VectorType(ir.IntType(32), 32), [0] * 32))
        won = builder.icmp_unsigned("==", builder.load(pointer, align=1), every)
        values = builder.load(
            _vector_at(builder, _pointer(context, builder, signature.args[1], grad, at), floats), align=4
        )
        some = builder.fcmp_unordered("!=", values, ir.Constant(floats, [0.0] * 32))
        return builder.zext(builder.bitcast(builder.and_(won, some), ir.IntType(32)), ir.IntType(64))

    return types.uint64(winner, grad, types.intp, types.uint8), codegen


@intrinsic
def _trailing_zeros(typingctx, bits):
    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@part
def find_nonzero(data, start, stop, found):
    """Write the offsets from `start` of the non-zero bytes of `data[start:stop]` to `found`; return how many."""
    count = 0
    at = start
    one = types.uint64(1)
    while at + 64 <= stop:
        bits = ~_equal_mask(data, at, np.uint8(0))
        while bits != 0:
            found[count] = at - start + types.int64(_trailing_zeros(bits))
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
        bits = _winner_mask(winner, grad, at + k, np.uint8(which))
        while bits != 0:
            place = k + types.int64(_trailing_zeros(bits))
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
