"""Layers that keep their currents: batch normalisation, 2x2 max-pool and neurons.

Currents, unlike in the layers of `conv`, come from and go to memory, which is what these passes cost. Hence
normalisation has none of its own: its sums are taken while currents are computed, it is done while a step's currents
are in the cache for the neurons, and the sums that its gradient needs are taken while the neurons' gradient is.

Currents come from the library's convolution, or from `conv_forward`, which touches events only.

Arrays are channels-last: currents float32 [T, B, H, W, C]. `chunk` is a fixed share of the batch, whatever the number
of threads.
"""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu.conv_back_kernels import unpool
from snn_helpers.engine.cpu.conv_kernels import add_product_sums, chunk_range, pool_image
from snn_helpers.engine.cpu.runtime import ZERO, kernel, part
from snn_helpers.engine.cpu.steps import begin, current_row, start, take_step

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


@kernel
def square_sums(chunk, num_chunks, cur, sums):
    """Add the sums of each step's currents and of their squares to `sums` float64 [chunks, T, 2, C].

    torch's own sums over a channels-last tensor of this size lose up to five digits.
    """
    if chunk < 0:
        return
    num_steps, batch = cur.shape[:2]
    low, high = chunk_range(chunk, num_chunks, batch)
    for b in range(low, high):
        for t in range(num_steps):
            add_product_sums(cur[t, b], cur[t, b], sums[chunk, t])


@kernel
def current_forward(chunk, num_chunks, cur, gains, pool, steps, winner, pooled):
    """Scale and shift currents by `gains` [T, 2, C] (no rows: leave them), pool them and fire; see `conv_forward`.

    Where there is nothing to be done with them, the steps take them from `cur`, else, where it has any steps, from
    `pooled` [T, B, rows, columns, C], which is filled.
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = cur.shape
    n = steps.size
    low, high = chunk_range(chunk, num_chunks, batch)
    keep_winner, normalised, scratch = winner.shape[0] > 0, gains.shape[0] > 0, np.empty(n, np.uint8)
    own, places = begin(steps)
    row, shift, everywhere = current_row(steps, own), np.zeros(channels, np.float32), np.empty(0, np.uint8)
    scaled = np.empty((height if normalised and pool == 2 else 0, width, channels), np.float32)
    for b in range(low, high):
        start(steps, own, places, num_steps, b, n)
        for t in range(num_steps):
            to = pooled[t, b].reshape(-1) if pooled.shape[0] > 0 else row
            if normalised:
                scale_and_shift(cur[t, b], gains[t], scaled if pool == 2 else to.reshape(height, width, channels))
            if pool == 2:
                image, won = scaled if normalised else cur[t, b], winner[t, b] if keep_winner else scratch
                line = width * channels
                pool_image(image.reshape(-1), channels, height, width, pool, line, ZERO, shift, everywhere, to, won)
            take_step(steps, own, places, t, b, n)


@kernel
def current_backward(chunk, num_chunks, pool, steps, winner, cur, grad_cur, products):
    """Take the recordings of one chunk back to the (normalised) currents before pooling, `grad_cur` [T, B, H, W, C].

    Where there is no pool, the steps write to `grad_cur`. Where `cur`, the currents before normalisation, has any, the
    sums of each step's gradient and of its product with them are added to `products` float64 [chunks, T, 2, C].
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = grad_cur.shape
    n, everywhere = steps.size, np.empty(0, np.uint8)
    low, high = chunk_range(chunk, num_chunks, batch)
    own, places = begin(steps)
    row = current_row(steps, own)
    for b in range(low, high):
        start(steps, own, places, num_steps, b, n)
        for t in range(num_steps - 1, -1, -1):
            take_step(steps, own, places, t, b, n)
            if pool == 2:
                image, line = grad_cur[t, b].reshape(-1), width * channels
                if height % pool or width % pool:
                    image[:] = _ZERO
                unpool(row, channels, height, width, pool, winner[t, b], image, line, ZERO, everywhere)
            if cur.shape[0] > 0:
                add_product_sums(cur[t, b], grad_cur[t, b], products[chunk, t])


@kernel
def norm_backward(chunk, num_chunks, cur, gains, grad):
    """Turn the gradient of normalised currents into that of `cur`, by each step's gains [T, 3, C].

    That is `grad * gains[t, 0] + cur * gains[t, 1] + gains[t, 2]`.
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = cur.shape
    low, high = chunk_range(chunk, num_chunks, batch)
    for b in range(low, high):
        for t in range(num_steps):
            of_grad, of_cur, constant = gains[t, 0], gains[t, 1], gains[t, 2]
            for y in range(height):
                for x in range(width):
                    one, to = cur[t, b, y, x], grad[t, b, y, x]
                    for c in range(channels):
                        to[c] = to[c] * of_grad[c] + one[c] * of_cur[c] + constant[c]
