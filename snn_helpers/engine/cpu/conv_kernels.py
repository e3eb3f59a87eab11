"""Event-driven convolution, optional 2x2 max-pool and neurons, one recording at a time: the kernels forward.

A step's non-zero inputs ("events") are listed by channel. For each channel and tap, its row of weights (contiguous over
output channels) is loaded once and added to the pixels that its events reach. The image of sums has a margin so wide
that every tap of every event falls into it: a tap is a constant added to an event's number. Where the window moves by
more than one pixel, a tap meets every second event, say, in each direction: those of one phase, listed apart.
Windows of the pool that no event reaches are skipped.
Sums, current, state and lists of one recording stay in the second-level cache; currents are written to memory only
where they are kept: for normalisation and neurons in another pass, or for a gradient that needs them.

Arrays are channels-last: spikes uint8 [T, B, H, W, C]; a value v counts as v events. `chunk` is a fixed share of the
batch, whatever the number of threads.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from snn_helpers.engine.cpu.rows import find_nonzero, pool_cell, spread_row, transpose
from snn_helpers.engine.cpu.runtime import ZERO, kernel, part
from snn_helpers.engine.cpu.steps import aligned, begin, current_row, start, take_step

_ZERO = np.float32(0)
BAND = 3 * 2**17  # bytes of sums that stay in the second-level cache, beside the weights that are added to them
MANY = 16  # events a list, from which it is worth while to walk through the weights once a band


class Window(NamedTuple):
    """How a convolution's window moves over images of one size; pairs are (rows, columns).

    Attributes
    ----------
    side : int
        Columns of the window.
    stride, padding, dilation : (int, int)
        As in `torch.nn.Conv2d`.
    groups : int
        As in `torch.nn.Conv2d`.
    left_over : (int, int)
        Pixels at the end that no window reaches: `output_padding` of the way back.
    image, padded, margin : (int, int)
        Size of the currents' image, and that of sums with its margins; those above and at the left.
    shifts : int64 array [taps]
        What leads from an event's number to that of the pixel which sees it through a tap.
    order, taps : int64 arrays
        Phase p has the taps `order[taps[p] : taps[p + 1]]`; it is an event's place modulo the stride.
    places : int32 array [2, H * W]
        Number and phase of an event, by pixel; without any where there is one phase.
    """

    side: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    left_over: tuple[int, int]
    image: tuple[int, int]
    padded: tuple[int, int]
    margin: tuple[int, int]
    shifts: np.ndarray
    order: np.ndarray
    taps: np.ndarray
    places: np.ndarray


def _one_way(size, side, stride, padding, dilation):
    """Return a window's numbers in one direction, by the names of `Window`, with phases of taps and of pixels.

    Output o sees pixel y through tap i where o * stride = y + padding - i * dilation. Both sides divided by the stride,
    the rests (phases) agree, and o is a quotient of the pixel less one of the tap.
    """
    back, tap_phase = np.divmod(np.arange(side) * dilation, stride)
    place, phase = np.divmod(np.arange(size) + padding, stride)
    image, left_over = divmod(size + 2 * padding - dilation * (side - 1) - 1, stride)
    margin = max(0, back[-1] - place[0])
    padded = margin + max(image, place[-1]) + 1
    return image + 1, left_over, int(padded), int(margin), place[0] + margin - back, tap_phase, place - place[0], phase


@functools.lru_cache(maxsize=256)
def make_window(size, sides, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1) -> Window:
    """Return the window of `sides` (rows, columns) over images of `size` (rows, columns)."""
    ways = [_one_way(*way) for way in zip(size, sides, stride, padding, dilation)]
    (image, left_over, padded, margin), (shift, tap_phase, place, phase) = tuple(zip(*ways))[:4], tuple(zip(*ways))[4:]
    shifts = (shift[0][:, None] * padded[1] + shift[1]).ravel()
    of_tap = (tap_phase[0][:, None] * stride[1] + tap_phase[1]).ravel()
    phases = stride[0] * stride[1]
    taps = np.concatenate([[0], np.bincount(of_tap, minlength=phases).cumsum()])
    places = [place[0][:, None] * padded[1] + place[1], phase[0][:, None] * stride[1] + phase[1]]
    places = np.stack(places).reshape(2, -1).astype(np.int32)[:, : 0 if phases == 1 else None].copy()
    arrays = shifts.astype(np.int64), np.argsort(of_tap, kind="stable"), taps.astype(np.int64), places
    return Window(sides[1], stride, padding, dilation, groups, left_over, image, padded, margin, *arrays)


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
def list_events(spk, at, height, width, channels, window, first, pixels, found):
    """List the events of one step by channel and phase: `pixels[first[k] : first[k + 1]]` are pixel numbers.

    List k holds channel k // phases, phase k % phases. Pixels are numbered row by row, as in the image of sums, those
    of each phase on their own. `found`, int32 [3, H * W * C], is scratch: each event's place in memory, list and pixel.
    """
    size, padded, phases = height * width * channels, window.padded[1], window.taps.size - 1
    place, which, pixel = found[0], found[1], found[2]
    hits = find_nonzero(spk, at, at + size, place)
    # Whole-number divisions are slow; from the middle between two whole numbers, no rounding leads to another quotient.
    a_channel, a_row = 1.0 / channels, 1.0 / width
    if phases == 1:
        for k in range(hits):
            p = np.int32((place[k] + 0.5) * a_channel)
            which[k] = place[k] - p * channels
            pixel[k] = p + np.int32(padded - width) * np.int32((p + 0.5) * a_row)
    else:
        for k in range(hits):
            p = np.int32((place[k] + 0.5) * a_channel)
            which[k] = (place[k] - p * channels) * phases + window.places[1, p]
            pixel[k] = window.places[0, p]
    first[:] = 0
    for k in range(hits):
        first[which[k] + 1] += spk[at + place[k]]
    for k in range(first.size - 1):
        first[k + 1] += first[k]
    for k in range(hits):
        c = which[k]
        for _ in range(spk[at + place[k]]):
            pixels[first[c]] = pixel[k]
            first[c] += 1
    for c in range(first.size - 1, 0, -1):
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
def band_size(window, n_out, first):
    """Return how many pixels of sums are a band: of an image that leaves the cache, and has many events, some rows."""
    pixels, line = window.padded[0] * window.padded[1], window.padded[1] * n_out * 4
    if pixels * n_out * 4 <= 2 * BAND or first[first.size - 1] < MANY * (first.size - 1):
        return pixels
    return max(4, BAND // line) * window.padded[1]


@part
def end_of_band(pixels, low, high, end):
    """Return where, from `low` to `high` of a list in order, pixels from `end` on begin."""
    if low == high or pixels[high - 1] < end:
        return high
    k = low
    while pixels[k] < end:
        k += 1
    return k


@part
def spread_events(image, n_out, rows, window, channels, first, pixels, place):
    """Add to `image` [padded pixels, n_out], for each input channel and tap, its row of weights at its events.

    Band by band of events; `place`, as long as `first`, is scratch: how far each list has come.
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
                    spread_row(image, width, pixels, low, high, base, n_out, rows, at)


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
    one = shift[:n_out]
    for y in range(height // pool):
        for x in range(width // pool):
            cell = y * (width // pool) + x
            at, p = cell * n_out, corner + pool * (y * row + x * n_out)
            if reached.size > 0 and reached[cell] == 0:
                for k in range(n_out):  # the assignment of a slice is compiled with its error's text, for seconds
                    cur[at + k] = one[k]
                winner[at : at + n_out] = 0
            else:
                pool_cell(image, p, p + row, n_out, one, cur, winner, at)


@part
def write_planes(image, n_out, height, width, row, corner, shift, cur):
    """Turn sums into currents as `pool_image` without a pool does, but channel by channel: `cur` [n_out, H, W]."""
    line = width * n_out
    for y in range(height):
        here = image[corner + y * row : corner + y * row + line]
        for k in range(line):
            here[k] += shift[k]
        transpose(here, ZERO, n_out, width, n_out, cur, y * width, height * width)


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
def conv_forward(chunk, num_chunks, spk_in, rows, shift, window, pool, capacity, planes, steps, winner, cur, sums):
    """Convolve, pool and fire, over time, for the recordings of one chunk.

    Parameters
    ----------
    spk_in : uint8 array [T, B, H, W, C]
        Input spikes or counts.
    rows : float32 array, flat
        Weights [dy, dx, C, n_out / groups].
    shift : float32 array [n_out]
        What is added to the sums.
    window : Window
        Of weights; with a pool, it is square, moves by one pixel, and has one group.
    capacity : int
        The most events in any step of any recording.
    planes : bool
        Whether kept currents are [T, B, n_out, rows, columns]; there is no pool then, and there are no neurons.
    steps : Steps
        The neurons', which lie in one part a recording, channels-last.
    winner : uint8 array [T, B, n]
        Filled with the pool's winners; with T = 0, they are not kept.
    cur : float32 array [T, B, rows, columns, n_out]
        Filled with currents; with T = 0, they are not kept.
    sums : float64 array [chunks, T, 2, n_out]
        Sums of each step's kept currents and of their squares, added to this chunk's; with no rows, they are not taken.
    """
    if chunk < 0:
        return
    num_steps, batch, height, width, channels = spk_in.shape
    n_out, padded, size = shift.size, window.padded[1], height * width * channels
    (high_out, wide_out), (above, left) = window.image, window.margin
    low, high = chunk_range(chunk, num_chunks, batch)
    spk_in_flat, cells = spk_in.reshape(-1), (high_out // pool) * (wide_out // pool)
    n = cells * n_out
    keep_winner, keep_cur, scratch = winner.shape[0] > 0, cur.shape[0] > 0, np.empty(n, np.uint8)
    first, found = np.zeros(channels * (window.taps.size - 1) + 1, np.int64), np.empty((3, size), np.int32)
    place = first.copy()
    pixels, corner = np.empty(capacity + 1, np.int32), (above * padded + left) * n_out
    own, places = begin(steps)
    row, image = current_row(steps, own), aligned(window.padded[0] * padded * n_out)
    reached, everywhere = np.empty(cells, np.uint8), np.empty(0, np.uint8)
    shifts = np.empty(wide_out * n_out, np.float32)
    image[:] = _ZERO
    for k in range(shifts.size):
        shifts[k] = shift[k % n_out]
    for b in range(low, high):
        start(steps, own, places, num_steps, b, n)
        for t in range(num_steps):
            list_events(spk_in_flat, (t * batch + b) * size, height, width, channels, window, first, pixels, found)
            count = first[first.size - 1]
            few = pool == 2 and count < cells
            if few:
                mark_reached(pixels, count, window.side, left, padded, high_out, wide_out, pool, reached)
            here = reached if few else everywhere
            won = winner[t, b] if keep_winner else scratch
            clear_reached(image, n_out, high_out, wide_out, pool, padded * n_out, corner, here)
            spread_events(image, n_out, rows, window, channels, first, pixels, place)
            to = cur[t, b].reshape(-1) if keep_cur else row
            if planes:
                write_planes(image, n_out, high_out, wide_out, padded * n_out, corner, shifts, to)
            else:
                pool_image(image, n_out, high_out, wide_out, pool, padded * n_out, corner, shifts, here, to, won)
            if sums.shape[0] > 0:
                add_product_sums(cur[t, b], cur[t, b], sums[chunk, t])
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
