"""Batch statistics of a first convolution from its events alone: no current is computed.

Let e[p] be what the 3x3 window at pixel p sees, 9 C counts, and w a channel's weights in the same order. Its currents
are x[p] = w . e[p], so that sum x = w . (sum e) and sum x^2 = w . (sum e e^T) w: two sums over the events, which do not
depend on the weights, and are whole numbers, hence exact. What two places of the window see together depends on how far
apart they are only, so that pairs of near events are counted once for all places; what windows outside the image would
see of it is counted, too, and taken away.
"""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu.conv_kernels import chunk_range
from snn_helpers.engine.cpu.rows import find_nonzero
from snn_helpers.engine.cpu.runtime import kernel, part

_BLOCK = 2**15  # products of two bytes that a sum in 32 bits has room for


@part
def start_pixels(found, hits, channels, starts):
    """Write where in the list `found[:hits]` of non-zero places [H, W, C] each pixel's begin; one more for the end."""
    k = 0
    for pixel in range(starts.size):
        while k < hits and found[k] < pixel * channels:
            k += 1
        starts[pixel] = k


@part
def spread_planes(spk, at, height, width, channels, planes):
    """Copy one step [H, W, C] to `planes` int16 [C, ...]: row by row, two zeros before each row and after the last.

    Two zeros are enough for both sides: what lies two columns right of a row lies before the next one.
    """
    for y in range(height):
        start = at + y * width * channels
        row = spk[start : start + width * channels]
        for c in range(channels):
            to = planes[c, (y + 1) * (width + 2) - width : (y + 1) * (width + 2)]
            for x in range(width):
                to[x] = row[x * channels + c]


@part
def sum_of_products(one, other):
    """Return the sum of the products of two int16 arrays whose values are at most 255."""
    total = np.int64(0)
    for low in range(0, one.size, _BLOCK):
        first, second = one[low : low + _BLOCK], other[low : low + _BLOCK]
        block = np.int32(0)
        for k in range(first.size):
            block = np.int32(block + np.int32(first[k] * second[k]))  # in 32 bits: twice as many at a time
        total += block
    return total


@part
def add_pairs(planes, height, width, pairs):
    """Add v * v' for all pairs of events at most two rows down and two columns aside to `pairs` [3, C, 5 * C]."""
    channels, row = planes.shape[0], width + 2
    for dy in range(min(3, height)):
        size = (height - dy) * row
        for c in range(channels):
            here = planes[c, 2 : 2 + size]
            for dx in range(5):
                there = dy * row + dx
                for other in range(channels):
                    pairs[dy, c, dx * channels + other] += sum_of_products(here, planes[other, there : there + size])


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
    planes = np.zeros((channels, height * (width + 2) + 4), np.int16)
    for b in range(low, high):
        for t in range(num_steps):
            at = (t * batch + b) * size
            hits = find_nonzero(spk_in_flat, at, at + size, found)
            start_pixels(found, hits, channels, starts)
            for k in range(hits):
                totals[chunk, found[k] % channels] += spk_in_flat[at + found[k]]
            spread_planes(spk_in_flat, at, height, width, channels, planes)
            add_pairs(planes, height, width, pairs[chunk])
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
