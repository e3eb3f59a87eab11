"""Event-driven convolution, optional 2x2 max-pool and neurons, one recording at a time: the kernels forward.

A step's non-zero inputs ("events") are listed by channel. For each channel and tap, its row of weights (contiguous over
output channels) is loaded once and added to the pixels that its events reach. The image of sums has a margin so wide
that every tap of every event falls into it: a tap is a constant added to an event's number.
Windows of the pool that no event reaches are skipped.
Sums, current, state and lists of one recording stay in the second-level cache; currents are never written to memory.

Arrays are channels-last: spikes uint8 [T, B, H, W, C]; a value v counts as v events. `chunk` is a fixed share of the
batch, whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from snn_helpers.engine.cpu_rows import find_nonzero, pool_cell, spread_row
from snn_helpers.engine.cpu_runtime import kernel, part
from snn_helpers.engine.cpu_steps import aligned, begin, current_row, start, take_step

_ZERO = np.float32(0)


@part
def copy_line(source, at, target, place, n):
    """Copy `source[at : at + n]` to `target[place : place + n]`, in half the time of numba's assignment of slices."""
    here, there = source[at : at + n], target[place : place + n]
    for k in range(n):
        there[k] = here[k]


@part
def chunk_range(chunk, num_chunks, batch):
    """Return the recordings [low, high) of a chunk."""
    return chunk * batch // num_chunks, (chunk + 1) * batch // num_chunks


@part
def list_by_channel(spk, at, height, width, channels, padded, first, pixels, found):
    """List the events of one step by channel: `pixels[first[c] : first[c + 1]]` are pixel numbers.

    Pixels are numbered row by row, `padded` a row: as in the image of sums. `found`, int32 [3, H * W * C], is scratch:
    each event's place in memory, channel and pixel.
    """
    size = height * width * channels
    place, channel, pixel = found[0], found[1], found[2]
    hits = find_nonzero(spk, at, at + size, place)
    # Whole-number divisions are slow; from the middle between two whole numbers, no rounding leads to another quotient.
    a_channel, a_row = 1.0 / channels, 1.0 / width
    for k in range(hits):
        p = np.int32((place[k] + 0.5) * a_channel)
        channel[k] = place[k] - p * channels
        pixel[k] = p + np.int32(padded - width) * np.int32((p + 0.5) * a_row)
    first[:] = 0
    for k in range(hits):
        first[channel[k] + 1] += spk[at + place[k]]
    for c in range(channels):
        first[c + 1] += first[c]
    for k in range(hits):
        c = channel[k]
        for _ in range(spk[at + place[k]]):
            pixels[first[c]] = pixel[k]
            first[c] += 1
    for c in range(channels, 0, -1):
        first[c] = first[c - 1]
    first[0] = 0


@part
def mark_reached(pixels, count, side, margin, padded, height, width, pool, reached):
    """Set `reached` to 1 for each pool window of sums [height, width] that an event of `pixels[:count]` reaches."""
    down, across = height // pool, width // pool
    reached[:] = 0
    for k in range(count):
        y, x = pixels[k] // padded - margin, pixels[k] % padded - margin
        for r in range(max(0, y) // pool, min(down, (y + side - 1) // pool + 1)):
            for s in range(max(0, x) // pool, min(across, (x + side - 1) // pool + 1)):
                reached[r * across + s] = 1


@part
def tap_shift(tap, side, padded):
    """Return what leads from an event's number to that of the pixel which sees it through a tap."""
    return (side - 1 - tap // side) * padded + side - 1 - tap % side


@part
def spread_events(image, n_out, rows, side, channels, padded, first, pixels):
    """Add to `image` [padded pixels, n_out], for each input channel and tap, its row of weights at its events."""
    for c in range(channels):
        low, high = first[c], first[c + 1]
        if low == high:
            continue
        for tap in range(side * side):
            shift = tap_shift(tap, side, padded)
            spread_row(image, n_out, pixels, low, high, shift, rows, (tap * channels + c) * n_out)


@part
def pool_image(image, n_out, height, width, pool, row, corner, shift, reached, cur, winner):
    """Turn the sums `image` (`row` numbers a row, from `corner` on) into currents: add `shift`, take the largest.

    `shift` is there for each pixel of a row. Windows with `reached` 0 have no events: their current is `shift` (an
    empty `reached`: all have some; without a pool, none is left out).
    """
    if pool == 1:
        line = width * n_out
        for y in range(height):
            here, there = image[corner + y * row : corner + y * row + line], cur[y * line : (y + 1) * line]
            for k in range(line):
                there[k] = here[k] + shift[k]
        return
    for y in range(height // pool):
        for x in range(width // pool):
            cell = y * (width // pool) + x
            at, p = cell * n_out, corner + pool * (y * row + x * n_out)
            if reached.size > 0 and reached[cell] == 0:
                cur[at : at + n_out] = shift[:n_out]
                winner[at : at + n_out] = 0
            else:
                pool_cell(image, p, p + row, n_out, shift, cur, winner, at)


@part
def clear_reached(image, n_out, height, width, pool, row, corner, reached):
    """Set the pixels of the reached windows to zero (an empty `reached`: the whole image)."""
    if reached.size == 0:
        image[:] = _ZERO
        return
    for y in range(height // pool):
        for x in range(width // pool):
            if reached[y * (width // pool) + x] != 0:
                p = corner + pool * (y * row + x * n_out)
                for r in range(pool):
                    image[p + r * row : p + r * row + pool * n_out] = _ZERO


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
def conv_forward(chunk, num_chunks, spk_in, rows, shift, side, margin, pool, capacity, steps, winner, cur, sums):
    """Convolve, pool and fire, over time, for the recordings of one chunk.

    Parameters
    ----------
    spk_in : uint8 array [T, B, H, W, C]
        Input spikes or counts.
    rows : float32 array [side * side * C * n_out], flat
        Weights [dy, dx, C, n_out].
    shift : float32 array [n_out]
        What is added to the sums.
    side, margin : int
        Of the window of weights, and side - 1 - padding.
    capacity : int
        The most events in any step of any recording.
    steps : Steps
        The neurons', which lie in one part a recording, channels-last.
    winner : uint8 array [T, B, n]
        Filled with the pool's winners; with T = 0, they are not kept.
    cur : float32 array [T, B, rows, columns, n_out]
        Filled with currents; with T = 0, they are not kept.
    sums : float64 array [chunks, 2, n_out]
        Sums of kept currents and of their squares, added to this chunk's row; with no rows, they are not taken.
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = spk_in.shape
    n, n_out, padded, size = steps.size, shift.size, width + side - 1, height * width * channels
    high_out, wide_out = height + side - 1 - 2 * margin, padded - 2 * margin
    low, high = chunk_range(chunk, num_chunks, batch)
    spk_in_flat, cells = spk_in.reshape(-1), n // n_out
    keep_winner, keep_cur, scratch = winner.shape[0] > 0, cur.shape[0] > 0, np.empty(n, np.uint8)
    first, found = np.zeros(channels + 1, np.int64), np.empty((3, size), np.int32)
    pixels, corner = np.empty(capacity + 1, np.int32), margin * (padded + 1) * n_out
    own, places = begin(steps)
    row, image = current_row(steps, own), aligned((height + side - 1) * padded * n_out)
    reached, everywhere = np.empty(cells, np.uint8), np.empty(0, np.uint8)
    shifts = np.empty(wide_out * n_out, np.float32)
    for k in range(shifts.size):
        shifts[k] = shift[k % n_out]
    for b in range(low, high):
        start(steps, own, places, num_steps, b, n)
        for t in range(num_steps):
            list_by_channel(spk_in_flat, (t * batch + b) * size, height, width, channels, padded, first, pixels, found)
            count = first[channels]
            few = pool == 2 and count < cells
            if few:
                mark_reached(pixels, count, side, margin, padded, high_out, wide_out, pool, reached)
            here = reached if few else everywhere
            won = winner[t, b] if keep_winner else scratch
            clear_reached(image, n_out, high_out, wide_out, pool, padded * n_out, corner, here)
            spread_events(image, n_out, rows, side, channels, padded, first, pixels)
            to = cur[t, b].reshape(-1) if keep_cur else row
            pool_image(image, n_out, high_out, wide_out, pool, padded * n_out, corner, shifts, here, to, won)
            if sums.shape[0] > 0:
                add_product_sums(cur[t, b], cur[t, b], sums[chunk])
            take_step(steps, own, places, t, b, n)


@kernel
def count_events(chunk, num_chunks, spk_in, most, total):
    """Count the events of a chunk of recordings: the most in one step to `most[chunk]`, all to `total[chunk]`."""
    if chunk < 0:
        return
    low, high = chunk_range(chunk, num_chunks, spk_in.shape[1])
    for t in range(spk_in.shape[0]):
        for b in range(low, high):
            step = spk_in[t, b].reshape(-1)
            count = np.int32(0)
            for k in range(step.size):
                count += np.int32(step[k])
            most[chunk] = max(most[chunk], count)
            total[chunk] += count
