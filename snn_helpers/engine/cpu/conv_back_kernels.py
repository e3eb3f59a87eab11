"""Event-driven convolution, optional 2x2 max-pool and neurons, one recording at a time: the kernels backward.

Time runs in reverse. The gradient of the weights sums, for each input channel and tap, the rows of the currents'
gradient at its events. The gradient of the input needs no event: each pixel gathers, tap by tap, the rows of weights of
the channels that won their pool window there, a quarter of what a dense convolution computes.
"""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu.conv_kernels import (
    band_size,
    chunk_range,
    copy_line,
    end_of_band,
    list_events,
    mark_reached,
)
from snn_helpers.engine.cpu.rows import add_rows, add_scaled_rows, find_winners, transpose, unpool_cell
from snn_helpers.engine.cpu.runtime import ZERO, kernel, part
from snn_helpers.engine.cpu.steps import aligned, begin, current_row, start, take_step

_ZERO = np.float32(0)


@part
def unpool(grad, n_out, height, width, pool, winner, image, row, corner, reached):
    """Write the gradient of the pooled currents to the pixels of an image with `row` numbers a row, from `corner` on.

    Pixels that pooling leaves over are not touched, nor are windows of four with `reached` 0 (an empty `reached`: all
    are).
    """
    if pool == 1:
        line = width * n_out
        for y in range(height):
            copy_line(grad, y * line, image, corner + y * row, line)
        return
    for y in range(height // pool):
        for x in range(width // pool):
            cell = y * (width // pool) + x
            if reached.size > 0 and reached[cell] == 0:
                continue
            at, p = cell * n_out, corner + pool * (y * row + x * n_out)
            unpool_cell(grad, winner, at, n_out, image, p, p + row)


@part
def read_planes(grad, n_out, height, width, image, row, corner):
    """Write the gradient [n_out, H, W] of currents to the pixels of an image, as `unpool` does without a pool."""
    for y in range(height):
        transpose(grad, y * width, height * width, n_out, width, image, corner + y * row, n_out)


@part
def add_plane_sums(grad, n_out, grad_shift):
    """Add the sums of planes, `grad` [n_out * pixels], to `grad_shift` float64 [n_out]."""
    size = grad.size // n_out
    for c in range(n_out):
        total = np.float32(0)
        for k in range(c * size, (c + 1) * size):
            total += grad[k]
        grad_shift[c] += total


@part
def add_weight_gradient(grad_rows, image, n_out, window, channels, first, pixels, place):
    """Add one step's gradient of the weights: for each input channel and tap, the rows of `image` at its events.

    Band by band, as `spread_events`.
    """
    phases, width, into = window.taps.size - 1, n_out // window.groups, channels // window.groups
    size, total = band_size(window, n_out, first), window.padded[0] * window.padded[1]
    place[:] = first
    for end in range(size, total + size, size):
        for c in range(channels):
            group = c // into
            for phase in range(phases):
                k = c * phases + phase
                low, high = place[k], end_of_band(pixels, place[k], first[k + 1], end)
                place[k] = high
                if low == high:
                    continue
                for i in range(window.taps[phase], window.taps[phase + 1]):
                    tap = window.order[i]
                    base, at = window.shifts[tap] * n_out + group * width, (tap * channels + c) * width
                    add_rows(grad_rows, at, image, width, pixels, low, high, base, n_out)


@part
def list_winners(grad, n_out, height, width, pool, winner, margin, padded, starts, channel, value):
    """List, pixel by pixel of the image with its margin, the channels whose current took part and has a gradient.

    The list of pixel p is `starts[p]` to `starts[p + 1]` of `channel`, which holds column * n_out + channel (columns
    counted from the margin on), and of `value`, which holds the gradients.
    """
    down, across, end = height // pool, width // pool, ZERO
    starts[: margin * (padded + 1)] = 0
    for y in range(down * pool):
        pixel = (y + margin) * padded + margin
        for s in range(across):
            at = (y // pool * across + s) * n_out
            for x in range(s * pool, (s + 1) * pool):
                starts[pixel + x] = end
                which = y % pool * pool + x - s * pool
                end = find_winners(winner, grad, at, n_out, which, (x + margin) * n_out, channel, value, end)
        starts[pixel + across * pool : pixel + padded] = end
    starts[(down * pool + margin) * padded :] = end


@part
def gather_input_gradient(rows_back, n_out, height, width, channels, side, starts, channel, value, grad_in, at):
    """Write one step's gradient of the input, `grad_in[at:]` [height, width, channels], from the lists of winners.

    `rows_back` is [side, side, n_out, channels] with its columns reversed, so that the taps of a row are one run of the
    list. Rows of taps are outermost: a part of the weights stays close while a whole image is summed.
    """
    padded = width + side - 1
    grad_in[at : at + height * width * channels] = _ZERO
    for dy in range(side):
        for y in range(height):
            first = (y + side - 1 - dy) * padded
            for x in range(width):
                low, high = starts[first + x], starts[first + x + side]
                if low < high:
                    place, base = at + (y * width + x) * channels, (side * dy - x) * n_out * channels
                    add_scaled_rows(grad_in, place, rows_back, channels, channel, low, high, base, channels, value)


@part
def add_shift_gradient(grad, grad_shift):
    """Add the sum over pixels of `grad` [pixels * n_out] to `grad_shift` float64 [n_out]."""
    n_out = grad_shift.size
    total = np.zeros(n_out, np.float32)
    for p in range(0, grad.size, n_out):
        here = grad[p : p + n_out]
        for c in range(n_out):
            total[c] += here[c]
    for c in range(n_out):
        grad_shift[c] += total[c]


@kernel
def conv_backward(
    chunk, num_chunks, spk_in, rows_back, window, pool, capacity, planes, steps, winner, grad_cur, grad_rows,
    grad_shift, grad_in,
):  # fmt: skip
    """Take the recordings of one chunk back over time; see `conv_forward`.

    Parameters
    ----------
    rows_back : float32 array [side * side * n_out * C], flat
        Weights [dy, dx, n_out, C], dx reversed.
    steps : Steps
        The neurons' way back, which lie in one part a recording, channels-last.
    planes : bool
        Whether `grad_cur` is [T, B, n_out, rows, columns].
    grad_cur : float32 array [T, B, rows, columns, n_out]
        Gradient of the currents, where they were kept; with T = 0, it comes from the neurons.
    grad_rows, grad_shift : float32 [chunks, weights], float64 [chunks, n_out]
        Gradients, added to this chunk's row; a `grad_shift` with no rows is not computed.
    grad_in : float32 array [T * B * H * W * C], flat
        Filled with the gradient of the input; with size 0, it is not computed. The window is as with a pool.
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = spk_in.shape
    n_out, padded, size = grad_shift.shape[1], window.padded[1], height * width * channels
    (high_out, wide_out), (above, left), side = window.image, window.margin, window.side
    low, high = chunk_range(chunk, num_chunks, batch)
    spk_in_flat, weights_sum = spk_in.reshape(-1), grad_rows[chunk]
    first, found = np.zeros(channels * (window.taps.size - 1) + 1, np.int64), np.empty((3, size), np.int32)
    place, pixels = first.copy(), np.empty(capacity + 1, np.int32)
    pixel_count, corner = window.padded[0] * padded, (above * padded + left) * n_out
    image, (own, places) = aligned(pixel_count * n_out), begin(steps)
    row = current_row(steps, own)
    image[:] = _ZERO
    wants_in = grad_in.size > 0
    starts, cells = np.empty(pixel_count + 1, np.int64), (high_out // pool) * (wide_out // pool)
    n = cells * n_out
    channel, value = np.empty(n + 1, np.int32), np.empty(n + 1, np.float32)
    reached, everywhere = np.empty(cells, np.uint8), np.empty(0, np.uint8)
    only = winner[0, 0] if pool == 2 else np.zeros(n, np.uint8)
    for b in range(low, high):
        start(steps, own, places, num_steps, b, n)
        for t in range(num_steps - 1, -1, -1):
            take_step(steps, own, places, t, b, n)
            into = grad_cur[t, b].reshape(-1) if grad_cur.shape[0] > 0 else row
            if grad_shift.shape[0] > 0 and planes:
                add_plane_sums(into, n_out, grad_shift[chunk])
            elif grad_shift.shape[0] > 0:
                add_shift_gradient(into, grad_shift[chunk])
            step_in = (t * batch + b) * size
            won = winner[t, b] if pool == 2 else only
            list_events(spk_in_flat, step_in, height, width, channels, window, first, pixels, found)
            count = first[first.size - 1]
            if count > 0:
                few = pool > 1 and count < cells
                if few:
                    mark_reached(pixels, count, side, left, padded, high_out, wide_out, pool, reached)
                here = reached if few else everywhere
                if planes:
                    read_planes(into, n_out, high_out, wide_out, image, padded * n_out, corner)
                else:
                    unpool(into, n_out, high_out, wide_out, pool, won, image, padded * n_out, corner, here)
                add_weight_gradient(weights_sum, image, n_out, window, channels, first, pixels, place)
            if wants_in:
                list_winners(into, n_out, high_out, wide_out, pool, won, left, padded, starts, channel, value)
                gather_input_gradient(
                    rows_back, n_out, height, width, channels, side, starts, channel, value, grad_in, step_in
                )
