"""Layers that keep their currents: batch normalisation, 2x2 max-pool and neurons, and an event-driven convolution.

Currents, unlike in the layers of `cpu_conv`, come from and go to memory, which is what these passes cost. Hence
normalisation has none of its own: its sums are taken while currents are computed, it is done while a step's currents
are in the cache for the neurons, and the sums that its gradient needs are taken while the neurons' gradient is.

Currents come from the library's convolution, or from `convolve`, which touches events only.

Arrays are channels-last: currents float32 [T, B, H, W, C]. `chunk` is a fixed share of the batch, whatever the number
of threads.
"""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu_conv import chunk_range, copy_line, list_by_channel, pool_image, spread_events
from snn_helpers.engine.cpu_conv_back import add_shift_gradient, add_weight_gradient, unpool
from snn_helpers.engine.cpu_runtime import ONE, ZERO, kernel, part
from snn_helpers.engine.cpu_steps import aligned, begin, current_row, start, take_step

_ZERO = np.float32(0)


@part
def scale_and_shift(frame, gains, out):
    """Write `frame * gains[0] + gains[1]` to `out`: [H, W, C] and [2, C]."""
    height, width, channels = frame.shape
    scale, shift = gains[0], gains[1]
    for y in range(height):
        for x in range(width):
            one, to = frame[y, x], out[y, x]
            for c in range(channels):
                to[c] = one[c] * scale[c] + shift[c]


@part
def add_product_sums(first, second, sums):
    """Add the sums of `second` and `first * second` ([H, W, C]) over all pixels to `sums` float64 [2, C].

    In float64 throughout: mean square less squared mean would lose all digits in float32 where the mean is large.
    """
    height, width, channels = first.shape
    total, product = sums[0], sums[1]
    for y in range(height):
        for x in range(width):
            one, other = first[y, x], second[y, x]
            for c in range(channels):
                total[c] += other[c]
                product[c] += np.float64(one[c]) * np.float64(other[c])


@kernel
def square_sums(chunk, num_chunks, cur, sums):
    """Add the sums of the currents and of their squares, over all but channels, to `sums` float64 [chunks, 2, C].

    torch's own sums over a channels-last tensor of this size lose up to five digits.
    """
    if chunk < 0:
        return
    num_steps, batch = cur.shape[:2]
    low, high = chunk_range(chunk, num_chunks, batch)
    for b in range(low, high):
        for t in range(num_steps):
            add_product_sums(cur[t, b], cur[t, b], sums[chunk])


@kernel
def current_forward(chunk, num_chunks, cur, gains, pool, steps, winner):
    """Scale and shift currents by `gains` [2, C] (no rows: leave them), pool them and fire; see `conv_forward`."""
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = cur.shape
    n = steps.size
    low, high = chunk_range(chunk, num_chunks, batch)
    keep_winner, normalised = winner.shape[0] > 0, gains.shape[0] > 0
    own, places = begin(steps)
    pooled, scratch = current_row(steps, own), np.empty(n, np.uint8)
    everywhere, shift, row = np.empty(0, np.uint8), np.zeros(channels, np.float32), width * channels
    scaled = np.empty((height if normalised else 0, width, channels), np.float32)
    for b in range(low, high):
        start(steps, own, places, num_steps, b, n)
        for t in range(num_steps):
            won, image = winner[t, b] if keep_winner else scratch, cur[t, b]
            if normalised:
                scale_and_shift(image, gains, scaled)
                image = scaled
            pool_image(image.reshape(-1), channels, height, width, pool, row, ZERO, shift, everywhere, pooled, won)
            take_step(steps, own, places, t, b, n)


@kernel
def current_backward(chunk, num_chunks, pool, steps, winner, cur, grad_cur, products):
    """Take the recordings of one chunk back to the (normalised) currents before pooling, `grad_cur` [T, B, H, W, C].

    Where `cur`, the currents before normalisation, has any, the sums of the gradient and of its product with them are
    added to `products` float64 [chunks, 2, C].
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = grad_cur.shape
    n, everywhere = steps.size, np.empty(0, np.uint8)
    low, high = chunk_range(chunk, num_chunks, batch)
    own, places = begin(steps)
    into = current_row(steps, own)
    only = np.zeros(n if pool == 1 else 0, np.uint8)
    for b in range(low, high):
        start(steps, own, places, num_steps, b, n)
        for t in range(num_steps - 1, -1, -1):
            take_step(steps, own, places, t, b, n)
            image, won = grad_cur[t, b].reshape(-1), winner[t, b] if pool == 2 else only
            if height % pool or width % pool:
                image[:] = _ZERO
            unpool(into, channels, height, width, pool, won, image, width * channels, ZERO, everywhere)
            if cur.shape[0] > 0:
                add_product_sums(cur[t, b], grad_cur[t, b], products[chunk])


@kernel
def norm_backward(chunk, num_chunks, cur, gains, grad):
    """Turn the gradient of normalised currents into that of `cur`: `grad * gains[0] + cur * gains[1] + gains[2]`."""
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = cur.shape
    low, high = chunk_range(chunk, num_chunks, batch)
    of_grad, of_cur, constant = gains[0], gains[1], gains[2]
    for b in range(low, high):
        for t in range(num_steps):
            for y in range(height):
                for x in range(width):
                    one, to = cur[t, b, y, x], grad[t, b, y, x]
                    for c in range(channels):
                        to[c] = to[c] * of_grad[c] + one[c] * of_cur[c] + constant[c]


@part
def fill_image(image, n_out, height, width, margin, padded, shift):
    """Write `shift` to every pixel of an image, and zero to its margin."""
    image[:] = _ZERO
    for y in range(margin, margin + height):
        for x in range(margin, margin + width):
            copy_line(shift, ZERO, image, (y * padded + x) * n_out, n_out)


@kernel
def convolve(chunk, num_chunks, spk_in, rows, shift, side, margin, capacity, cur, sums):
    """Convolve the recordings of one chunk, and keep the currents.

    Parameters
    ----------
    spk_in, rows, shift, side, margin, capacity : as in `conv_forward`
    cur : float32 array [T, B, rows, columns, n_out]
        Filled with currents.
    sums : float64 array [chunks, 2, n_out]
        Sums of the currents and of their squares, added to this chunk's row; with no rows, they are not taken.
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = spk_in.shape
    n_out, padded, size = shift.size, width + side - 1, height * width * channels
    low, high = chunk_range(chunk, num_chunks, batch)
    high_out, wide_out = cur.shape[2], cur.shape[3]
    spk_in_flat, line = spk_in.reshape(-1), wide_out * n_out
    first, found = np.zeros(channels + 1, np.int64), np.empty((3, size), np.int32)
    pixels, image = np.empty(capacity + 1, np.int32), aligned((height + side - 1) * padded * n_out)
    blank = np.empty_like(image)
    fill_image(blank, n_out, high_out, wide_out, margin, padded, shift)
    for b in range(low, high):
        for t in range(num_steps):
            list_by_channel(spk_in_flat, (t * batch + b) * size, height, width, channels, padded, first, pixels, found)
            copy_line(blank, ZERO, image, ZERO, image.size)
            spread_events(image, n_out, rows, side, channels, padded, first, pixels)
            to = cur[t, b].reshape(-1)
            for y in range(high_out):
                copy_line(image, ((y + margin) * padded + margin) * n_out, to, y * line, line)
            if sums.shape[0] > 0:
                add_product_sums(cur[t, b], cur[t, b], sums[chunk])


@kernel
def convolve_back(chunk, num_chunks, spk_in, grad_cur, side, margin, capacity, grad_rows, grad_shift):
    """Add what the currents' gradient gives to the weights and to the shift.

    Parameters
    ----------
    spk_in, side, margin, capacity : as in `conv_forward`
    grad_cur : float32 array [T, B, rows, columns, n_out]
        Gradient of the currents.
    grad_rows, grad_shift : float32 [chunks, side * side * C * n_out], float64 [chunks, n_out]
        Gradients, added to this chunk's row; a `grad_shift` with no rows is not computed.
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = spk_in.shape
    n_out, padded, size = grad_cur.shape[4], width + side - 1, height * width * channels
    high_out, wide_out, corner = grad_cur.shape[2], grad_cur.shape[3], margin * (padded + 1) * grad_cur.shape[4]
    low, high = chunk_range(chunk, num_chunks, batch)
    spk_in_flat, unused, row = spk_in.reshape(-1), np.empty(0, np.uint8), padded * n_out
    first, found = np.zeros(channels + 1, np.int64), np.empty((3, size), np.int32)
    pixels, image = np.empty(capacity + 1, np.int32), aligned((height + side - 1) * padded * n_out)
    for b in range(low, high):
        for t in range(num_steps):
            grad = grad_cur[t, b].reshape(-1)
            if grad_shift.shape[0] > 0:
                add_shift_gradient(grad, grad_shift[chunk])
            list_by_channel(spk_in_flat, (t * batch + b) * size, height, width, channels, padded, first, pixels, found)
            if first[channels] > 0:
                unpool(grad, n_out, high_out, wide_out, ONE, unused, image, row, corner, unused)
                add_weight_gradient(grad_rows[chunk], image, n_out, side, channels, padded, first, pixels)
