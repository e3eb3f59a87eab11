"""Exercises of notebook 10: what an answer costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from snn_helpers.lessons.answers import as_numbers, ask, exercise, refuse_if


def count_operations(spk, channels_out):
    """Return the operations that spikes [T, C, H, W] cause in a 3 x 3 convolution."""
    height, width = spk.shape[2:]
    rows = 3 - (np.arange(height) == 0) - (np.arange(height) == height - 1)
    columns = 3 - (np.arange(width) == 0) - (np.arange(width) == width - 1)
    reached = np.outer(rows, columns)  # places that one spike reaches, by where it is
    return int(((spk > 0) * reached).sum()) * channels_out


@exercise(count_operations)
def check_count_operations(answer: Callable) -> str:
    """Check `count_operations(spk, channels_out)`, a convolution with padding 1."""

    def counted(*spikes: tuple[int, int, int, int], channels: int = 8, value: float = 1.0) -> float:
        spk = np.zeros((2, 3, 4, 5), np.float32)
        for place in spikes:
            spk[place] = value
        return float(as_numbers("the number of operations", ask(answer, spk, channels)))

    middle, edge, corner = (0, 1, 2, 2), (0, 0, 0, 2), (1, 2, 3, 4)
    one = counted(middle, channels=1)
    refuse_if(one == 2 * 3 * 4 * 5 * 9 or one > 100, "a zero costs nothing: count the spikes, not all places.")
    refuse_if(one == 1, "this counts spikes: each of them meets 3 x 3 weights of every output channel.")
    refuse_if(one != 9, f"one spike in the middle and one output channel are 9 operations, not {one:g}.")
    refuse_if(counted(middle) == 9, "every output channel has 3 x 3 weights of its own: multiply by `channels_out`.")
    refuse_if(counted(middle) != 72, f"one spike in the middle and 8 channels are 72, not {counted(middle):g}.")
    refuse_if(
        counted(edge) == 72,
        "at the edge, some of the places that a spike would reach lie outside the image: nothing is computed there.",
    )
    refuse_if(counted(edge) != 48, f"a spike at an edge reaches 6 places: 48 operations, not {counted(edge):g}.")
    refuse_if(counted(corner) != 32, f"a spike in a corner reaches 4 places: 32 operations, not {counted(corner):g}.")
    refuse_if(
        counted(middle, value=2.0) != 72, "an input of 2 is one operation a weight, too: ask where `spk` is above 0."
    )
    together = counted(middle, edge, corner)
    refuse_if(together != 152, f"three spikes, middle, edge and corner, are 152 operations together; got {together:g}.")
    return "a spike meets 9 weights of each output channel, 6 at an edge, 4 in a corner, and zeros cost nothing"


def energy_nj(counts, picojoules):
    """Return the energy in nJ; both are {kind of operation: number}."""
    return sum(counts[kind] * picojoules[kind] for kind in counts) / 1000


@exercise(energy_nj)
def check_energy_nj(answer: Callable) -> str:
    """Check `energy_nj(counts, picojoules)`."""

    def of(additions: float, multiplications: float) -> float:
        counts = {"addition": additions, "multiplication": multiplications}
        table = {"multiplication": 4.0, "addition": 0.5}
        return float(as_numbers("the energy", ask(answer, counts, table)))

    few = of(2000, 0)
    refuse_if(few == 1000, "these are picojoules: a nanojoule is 1,000 of them.")
    refuse_if(few == 1e-3, "this is microjoules: a nanojoule is 1,000 picojoules.")
    refuse_if(few == 8, "an addition was charged as a multiplication: each kind has its own price.")
    refuse_if(abs(few - 1) > 1e-9, f"2,000 additions of 0.5 pJ are 1 nJ, not {few:g}.")
    both = of(2000, 1000)
    refuse_if(both == 1, "the multiplications are missing.")
    refuse_if(
        abs(both - 5) > 1e-9, f"2,000 additions of 0.5 pJ and 1,000 multiplications of 4 pJ are 5 nJ, got {both:g}."
    )
    return "each kind of operation is charged at its own price, and 1,000 pJ are 1 nJ"


def round_weights(weight, bits):
    """Return weights [outputs, ...] rounded, with one scale per output channel."""
    largest = weight.abs().flatten(1).amax(1)  # one number for each output channel
    levels = 2 ** (bits - 1) - 1  # whole numbers from -levels to levels
    scale = (largest / levels).clamp_min(1e-12).reshape(-1, *[1] * (weight.dim() - 1))
    return torch.round(weight / scale) * scale


@exercise(round_weights)
def check_round_weights(answer: Callable) -> str:
    """Check `round_weights(weight, bits)`, symmetric, with a scale for each output channel."""

    def rounded(weight: torch.Tensor, bits: int) -> np.ndarray:
        return as_numbers("the rounded weights", ask(answer, weight, bits), tuple(weight.shape))

    weight = torch.tensor([[1.0, 0.4, -0.52, 0.0], [0.01, -0.004, 0.0021, 0.0099]])
    four = rounded(weight, 4)
    refuse_if(np.abs(four - weight.numpy()).max() < 1e-6, "nothing was rounded.")
    refuse_if(
        np.array_equal(four, np.round(four)) and np.abs(four).max() > 1.5,
        "these are the whole numbers: multiply them by the scale again, so that they are weights.",
    )
    refuse_if(
        not four[1].any() or len(np.unique(four[1])) < 3,
        "the small weights of the second channel are gone: every output channel needs a scale of its own.",
    )
    refuse_if(
        np.allclose(four[0], np.round(weight[0].numpy() * 8) / 8, atol=1e-6),
        "with 4 bits the whole numbers go from -7 to 7, so that the largest weight is 7 scales: 2 ** (bits - 1) - 1.",
    )
    refuse_if(
        np.allclose(four[0], np.round(weight[0].numpy() * 15) / 15, atol=1e-6),
        "one of the bits is the sign: 4 bits are the whole numbers from -7 to 7, not from -15 to 15.",
    )
    refuse_if(
        np.abs(four[0] - weight[0].numpy()).max() > 0.55 / 7,
        "round to the nearest whole number; cutting off the rest moves weights by up to a whole scale.",
    )
    expected = round_weights(weight, 4).numpy()
    refuse_if(not np.allclose(four, expected, atol=1e-6), f"at 4 bits they must be {expected}; got {four}.")
    refuse_if(
        not np.allclose(rounded(weight, 8), round_weights(weight, 8).numpy(), atol=1e-6), "8 bits are rounded wrongly."
    )
    images = torch.linspace(-1, 1, 2 * 3 * 3 * 3).reshape(2, 3, 3, 3)
    same = rounded(images, 8)
    refuse_if(not np.allclose(same, round_weights(images, 8), atol=1e-6), "a convolution is rounded wrongly.")
    dead = rounded(torch.zeros(2, 3), 8)
    refuse_if(not np.isfinite(dead).all(), "a channel without weights gives nan: it must stay at 0.")
    return "every output channel uses its whole range, -127 to 127 with 8 bits and -7 to 7 with 4"
