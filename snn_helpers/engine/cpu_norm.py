"""Batch normalisation of an event-driven convolution: sums over the currents, without keeping the currents.

With current x = sum of the rows of weights W of the events in reach, normalisation over time and batch needs only the
sums of x and of x^2 a channel; scale and shift then go into the weights. Their gradients need, for each weight, how
often its tap saw an event (the gradient of sum x) and the sum of x where it did (half the gradient of sum x^2). The
input gets no gradient: where it wants one, currents are kept (`cpu_currents`).
"""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu_conv import (
    aligned,
    chunk_range,
    clear_reached,
    list_by_channel,
    mark_reached,
    spread_events,
)
from snn_helpers.engine.cpu_conv_back import add_weight_gradient
from snn_helpers.engine.cpu_runtime import ONE, kernel, part

_ZERO = np.float32(0)


@part
def clear_margin(image, n_out, height, width):
    """Set the margin of one pixel around the image to zero."""
    row = (width + 2) * n_out
    image[:row] = _ZERO
    image[(height + 1) * row : (height + 2) * row] = _ZERO
    for y in range(1, height + 1):
        image[y * row : y * row + n_out] = _ZERO
        image[(y + 1) * row - n_out : (y + 1) * row] = _ZERO


@part
def add_sums(image, n_out, height, width, reached, total, squares, sums):
    """Add the sums of the pixels and of their squares to `sums` float64 [2, n_out].

    `total` and `squares`, float32 [n_out], are scratch.
    """
    total[:] = _ZERO
    squares[:] = _ZERO
    for y in range(height):
        for x in range(width):
            if reached.size > 0 and reached[y * width + x] == 0:
                continue
            at = ((y + 1) * (width + 2) + x + 1) * n_out
            here = image[at : at + n_out]
            for c in range(n_out):
                total[c] += here[c]
                squares[c] += here[c] * here[c]
    for c in range(n_out):
        sums[0, c] += total[c]
        sums[1, c] += squares[c]


@part
def count_taps(height, width, channels, first, pixels, taps):
    """Add to `taps` float64 [9 * channels] the events that each tap of each channel sees at pixels inside the image."""
    padded = width + 2
    for c in range(channels):
        for k in range(first[c], first[c + 1]):
            y, x = pixels[k] // padded - 1, pixels[k] % padded - 1
            for tap in range(9):
                if 0 <= y - tap // 3 + 1 < height and 0 <= x - tap % 3 + 1 < width:
                    taps[tap * channels + c] += 1


@kernel
def statistics_forward(chunk, num_chunks, spk_in, rows, capacity, wants_gradient, sums, taps, products):
    """Sum the currents of one chunk of recordings and their squares.

    Parameters
    ----------
    spk_in, rows, capacity : as in `conv_forward`
    wants_gradient : bool
        Fill `taps` and `products`, too.
    sums : float64 array [chunks, 2, n_out]
        Sums of the currents and of their squares, added to this chunk's row; likewise the next two.
    taps : float64 array [chunks, 9 * C]
        For each tap and channel, how many events it saw.
    products : float32 array [chunks, 9 * C * n_out]
        For each tap and channel, the sum of the currents where it saw an event.
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = spk_in.shape
    n_out, padded, size, cells = sums.shape[2], width + 2, height * width * channels, height * width
    low, high = chunk_range(chunk, num_chunks, batch)
    spk_in_flat = spk_in.reshape(-1)
    first, found = np.zeros(channels + 1, np.int64), np.empty(size, np.int32)
    pixels, image = np.empty(capacity + 1, np.int32), aligned((height + 2) * padded * n_out)
    reached, everywhere = np.empty(cells, np.uint8), np.empty(0, np.uint8)
    total, squares = np.empty(n_out, np.float32), np.empty(n_out, np.float32)
    for b in range(low, high):
        for t in range(num_steps):
            list_by_channel(spk_in_flat, (t * batch + b) * size, height, width, channels, first, pixels, found)
            count = first[channels]
            if count == 0:
                continue
            if count < cells:
                mark_reached(pixels, count, height, width, ONE, reached)
            here = reached if count < cells else everywhere
            clear_reached(image, n_out, height, width, ONE, padded * n_out, (padded + 1) * n_out, here)
            spread_events(image, n_out, rows, channels, padded, first, pixels)
            add_sums(image, n_out, height, width, here, total, squares, sums[chunk])
            if wants_gradient:
                clear_margin(image, n_out, height, width)
                add_weight_gradient(products[chunk], image, n_out, channels, padded, first, pixels)
                count_taps(height, width, channels, first, pixels, taps[chunk])
