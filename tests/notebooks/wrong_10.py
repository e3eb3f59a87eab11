"""Wrong answers to the exercises of notebook 10, with words of the message that each must get."""

import numpy as np
import torch


def every_place(spk, channels_out):
    return spk.size * 9 * channels_out


def spikes_alone(spk, channels_out):
    return int((spk > 0).sum())


def one_channel(spk, channels_out):
    return 9 * int((spk > 0).sum())


def without_edges(spk, channels_out):
    return 9 * channels_out * int((spk > 0).sum())


def by_value(spk, channels_out):
    height, width = spk.shape[2:]
    rows, columns = (3 - (np.arange(n) == 0) - (np.arange(n) == n - 1) for n in (height, width))
    return float((spk * np.outer(rows, columns)).sum()) * channels_out


def in_picojoules(counts, picojoules):
    return sum(counts[kind] * picojoules[kind] for kind in counts)


def in_microjoules(counts, picojoules):
    return in_picojoules(counts, picojoules) / 1e6


def all_multiplications(counts, picojoules):
    return sum(counts.values()) * picojoules["multiplication"] / 1000


def additions_alone(counts, picojoules):
    return counts["addition"] * picojoules["addition"] / 1000


def by_order(counts, picojoules):
    return sum(number * price for number, price in zip(counts.values(), picojoules.values())) / 1000


def rounding(levels, largest=None, nearest=torch.round, back=True):
    """Return an answer with its own number of levels, largest weight and rounding."""

    def rounded(weight, bits):
        most = weight.abs().flatten(1).amax(1) if largest is None else largest(weight)
        scale = (most / levels(bits)).reshape(-1, *[1] * (weight.dim() - 1))
        return nearest(weight / scale) * (scale if back else 1)

    return rounded


def right_levels(bits):
    return 2 ** (bits - 1) - 1


def of_all(weight):
    return weight.abs().amax().reshape(1)


def unchanged(weight, bits):
    return weight


def unsigned_levels(bits):
    return 2**bits - 1


def one_too_many(bits):
    return 2 ** (bits - 1)


WRONG = {
    "count_operations": [
        (every_place, "a zero costs nothing"),
        (spikes_alone, "this counts spikes"),
        (one_channel, "multiply by `channels_out`"),
        (without_edges, "lie outside the image"),
        (by_value, "ask where `spk` is above 0"),
    ],
    "energy_nj": [
        (in_picojoules, "a nanojoule is 1,000 of them"),
        (in_microjoules, "this is microjoules"),
        (all_multiplications, "each kind has its own price"),
        (by_order, "each kind has its own price"),
        (additions_alone, "the multiplications are missing"),
    ],
    "round_weights": [
        (unchanged, "nothing was rounded"),
        (rounding(right_levels, of_all), "a scale of its own"),
        (rounding(right_levels, back=False), "multiply them by the scale again"),
        (rounding(unsigned_levels), "one of the bits is the sign"),
        (rounding(one_too_many), "the largest weight is 7 scales"),
        (rounding(right_levels, nearest=torch.floor), "cutting off the rest"),
        (rounding(right_levels), "gives nan"),
    ],
}
