"""Checks of the exercises of notebook 06: dead and saturated neurons, the cost of spikes, and time put out of order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


@exercise
def check_dead_and_saturated(dead_and_saturated: Callable) -> str:
    """Check `dead_and_saturated(spk)`, shares of neurons that never fire, and that fire in more than 95 % of steps."""
    # [T = 20, B = 2, 5 neurons]: never, in one recording only, always, in 95 % of steps, in all but one.
    spk = np.zeros((20, 2, 5), np.uint8)
    spk[3, 1, 1] = 1
    spk[:, :, 2] = 1
    spk[:19, :, 3] = 1
    spk[:, :, 4] = 1
    spk[0, 0, 4] = 0

    def shares(of: np.ndarray) -> np.ndarray:
        dead, saturated = as_parts(ask(dead_and_saturated, of), ("dead", "saturated"))
        return np.array([float(as_numbers("dead", dead)), float(as_numbers("saturated", saturated))])

    dead, saturated = shares(spk)
    refuse_if(max(dead, saturated) > 1, f"return shares in 0 to 1, not counts or percent; got {dead:g}, {saturated:g}")
    refuse_if(
        np.isclose(dead, 0.3),
        "a neuron that fires in one recording is not dead: look over all recordings before you count, axes 0 and 1",
    )
    refuse_if(
        np.isclose(dead, np.mean(spk == 0)), "this is the share of steps without a spike: count neurons, not steps"
    )
    refuse_if(not np.isclose(dead, 0.2), f"one neuron of five never fires, 0.2; got {dead:g} as dead")
    refuse_if(np.isclose(saturated, 0.6), "firing in exactly 95 % of steps is not more than 95 %: use >, not >=")
    refuse_if(
        np.isclose(saturated, 0.2),
        "a neuron that fires in 39 of 40 steps is saturated, too: more than 95 % is not the same as always",
    )
    refuse_if(not np.isclose(saturated, 0.4), f"two neurons of five are saturated, 0.4; got {saturated:g}")
    image = spk.reshape(20, 2, 1, 5, 1)
    refuse_if(not np.allclose(shares(image), (dead, saturated)), "a layer [T, B, C, H, W] must give the same shares")
    return "one neuron of five never fires, two do in more than 95 % of steps, whatever the layer's shape"


@exercise
def check_count_operations(count_operations: Callable) -> str:
    """Check `count_operations(spk, channels_out)` of a 3 x 3 convolution with padding 1."""

    def by_hand(spk: np.ndarray, channels_out: int) -> int:
        _, _, height, width = spk.shape
        total = 0
        for row, column in zip(*np.nonzero(spk)[2:]):
            rows = min(row + 1, height - 1) - max(row - 1, 0) + 1
            columns = min(column + 1, width - 1) - max(column - 1, 0) + 1
            total += rows * columns * channels_out
        return total

    def counted(spk: np.ndarray, channels_out: int) -> float:
        return float(as_numbers("the count", ask(count_operations, spk, channels_out)))

    middle = np.zeros((1, 1, 5, 5), np.uint8)
    middle[0, 0, 2, 2] = 1
    refuse_if(counted(middle, 8) == 9, "each of the 8 channels has its own 9 weights: 72")
    refuse_if(counted(middle, 8) == 8, "a spike reaches 9 places of each channel, not one: 72")
    refuse_if(
        counted(middle, 8) != 72,
        f"one spike in the middle meets 9 weights in 8 channels, 72; got {counted(middle, 8):g}",
    )
    silent = counted(np.zeros_like(middle), 8)
    refuse_if(silent != 0, f"without a spike there is nothing to add; got {silent:g}. Is this the dense count?")
    corner = np.zeros((1, 1, 5, 5), np.uint8)
    corner[0, 0, 0, 4] = 1
    refuse_if(
        counted(corner, 8) == 72,
        "a spike in the corner reaches 4 places, not 9: what lies in the padding is not there",
    )
    refuse_if(
        counted(corner, 8) != 32,
        f"a spike in the corner reaches 4 places in 8 channels, 32; got {counted(corner, 8):g}",
    )
    spk = (np.random.default_rng(0).random((6, 3, 7, 9)) < 0.2).astype(np.uint8)
    refuse_if(
        counted(spk, 4) != by_hand(spk, 4),
        f"6 steps of 3 channels of 7 x 9 pixels make {by_hand(spk, 4)} operations; got {counted(spk, 4):g}. Are rows "
        "and columns told apart, and all steps and input channels summed?",
    )
    return "9 weights a spike and channel, 6 at the edge, 4 in the corner, and nothing where nothing fires"


@exercise
def check_shuffle_time(shuffle_time: Callable) -> str:
    """Check `shuffle_time(frames, rng)`: each recording's frames in an order of its own."""
    frames = np.zeros((8, 30, 2, 3, 3), np.uint8)
    frames[...] = np.arange(1, 9).reshape(8, 1, 1, 1, 1)
    frames[:, 1:, 0, 0, 0] += 50  # so that recordings and pixels can be told apart
    frames[:, :, 1, 2, 2] += 100

    shuffled = np.asarray(ask(shuffle_time, frames, np.random.default_rng(0)))
    refuse_if(shuffled.shape != frames.shape, f"the shape must stay {list(frames.shape)}; got {list(shuffled.shape)}")
    refuse_if(
        not np.array_equal(shuffled.sum(0, dtype=int), frames.sum(0, dtype=int)),
        "a pixel's events over the whole recording have changed: frames must move whole, within their recording",
    )
    times = shuffled[:, :, 0, 1, 1].astype(int)  # which frame stands where, [T, B]
    whole = frames[np.maximum(times - 1, 0), np.arange(30)]
    refuse_if(
        not np.array_equal(shuffled, whole),
        "pixels were shuffled alone: what happened at once must stay together",
    )
    refuse_if((times == times[:, :1]).all(), "every recording got the same order: a network could learn that one")
    refuse_if(len({tuple(order) for order in times.T}) < 20, "too few different orders: draw one for each recording")
    again = np.asarray(ask(shuffle_time, frames, np.random.default_rng(0)))
    refuse_if(not np.array_equal(again, shuffled), "the same generator must give the same order: draw from `rng` alone")
    return "every pixel keeps its events, frames move whole, and each recording has an order of its own"
