"""Batch statistics of a first convolution from its events alone: no current is computed.

Let e[p] be what the 3x3 window at pixel p sees, 9 C counts, and w a channel's weights in the same order. Its currents
are x[p] = w . e[p], so that sum x = w . (sum e) and sum x^2 = w . (sum e e^T) w: two sums over the events, which do not
depend on the weights, and are whole numbers, hence exact. What two places of the window see together depends on how far
apart they are only, so that pairs of near events are counted once for all places; what windows outside the image would
see of it is counted, too, and taken away.
"""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu_conv import chunk_range
from snn_helpers.engine.cpu_rows import find_nonzero
from snn_helpers.engine.cpu_runtime import kernel, part


@part
def start_pixels(found, hits, channels, starts):
    """Write where in the list `found[:hits]` of non-zero places [H, W, C] each pixel's begin; one more for the end."""
    k = 0
    for pixel in range(starts.size):
        while k < hits and found[k] < pixel * channels:
            k += 1
        starts[pixel] = k


@part
def add_pairs(spk, at, height, width, channels, found, starts, pairs):
    """Add v * v' for all pairs of events at most two rows down and two columns aside to `pairs` [3, C, 5 * C]."""
    for y in range(height):
        for x in range(width):
            left, right = max(0, x - 2), min(width, x + 3)
            for k in range(starts[y * width + x], starts[y * width + x + 1]):
                value, c = np.int64(spk[at + found[k]]), found[k] - (y * width + x) * channels
                for dy in range(min(3, height - y)):
                    row = (y + dy) * width
                    shift = (row + x - 2) * channels
                    for j in range(starts[row + left], starts[row + right]):
                        pairs[dy, c, found[j] - shift] += value * spk[at + found[j]]


@part
def add_outside(spk, at, height, width, channels, found, starts, seen, value, outside):
    """Add what windows in the ring around the image see: products of any two places, and in the last row the counts."""
    for y in range(-1, height + 1):
        for x in range(-1, width + 1, 1 if y in (-1, height) else width + 1):
            left, right, count = max(0, x - 1), min(width, x + 2), 0
            for dy in range(max(0, 1 - y), min(3, height + 1 - y)):
                row = y + dy - 1
                shift = (row * width + x - 1 - 3 * dy) * channels
                for k in range(starts[row * width + left], starts[row * width + right]):
                    seen[count], value[count] = found[k] - shift, spk[at + found[k]]
                    count += 1
            for i in range(count):
                outside[9 * channels, seen[i]] += value[i]
                for j in range(count):
                    outside[seen[i], seen[j]] += value[i] * value[j]


@kernel
def window_products(chunk, num_chunks, spk_in, pairs, outside, totals):
    """Count pairs of near events, and what windows around the image see, in one chunk of recordings.

    Parameters
    ----------
    spk_in : uint8 array [T, B, H, W, C]
        Input spikes or counts.
    pairs : int64 array [chunks, 3, C, 5 * C]
        Added to this chunk's table, for an event of channel c: the products with all events dy rows below it, in the
        order [dx, C], dx from two columns to the left to two to the right.
    outside : int64 array [chunks, 9 * C + 1, 9 * C]
        Added to this chunk's table, in the order [dy, dx, C] of the window: see `add_outside`.
    totals : int64 array [chunks, C]
        Events of each channel, added to this chunk's row.
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = spk_in.shape
    size = height * width * channels
    low, high = chunk_range(chunk, num_chunks, batch)
    spk_in_flat = spk_in.reshape(-1)
    found, starts = np.empty(size, np.int32), np.empty(height * width + 1, np.int32)
    seen, value = np.empty(9 * channels, np.int64), np.empty(9 * channels, np.int64)
    for b in range(low, high):
        for t in range(num_steps):
            at = (t * batch + b) * size
            hits = find_nonzero(spk_in_flat, at, at + size, found)
            start_pixels(found, hits, channels, starts)
            for k in range(hits):
                totals[chunk, found[k] % channels] += spk_in_flat[at + found[k]]
            add_pairs(spk_in_flat, at, height, width, channels, found, starts, pairs[chunk])
            add_outside(spk_in_flat, at, height, width, channels, found, starts, seen, value, outside[chunk])


def window_table(pairs, outside, totals):
    """Return sum e e^T and, in the last row, sum e over all pixels: int64 [9 * C + 1, 9 * C], of the kernel's sums."""
    channels = totals.size
    below = pairs.reshape(3, channels, 5, channels)
    table = np.empty((9, channels, 9, channels), np.int64)
    for one in range(9):
        for other in range(9):
            dy, dx = other // 3 - one // 3, other % 3 - one % 3
            # Above is below, seen from the other event.
            table[one, :, other] = below[dy, :, dx + 2] if dy >= 0 else below[-dy, :, 2 - dx].T
    whole = np.concatenate([table.reshape(9 * channels, -1), np.tile(totals, 9)[None]])
    return whole - outside
