"""Wrong answers to the exercises of notebook 05, with words of the message that each must get."""

import math

import numpy as np


def simple(hits, total):
    share = hits / total
    spread = 1.96 * math.sqrt(share * (1 - share) / total)
    return share - spread, share + spread


def wilson(z=1.96, divided=True, percent=1, squared=True):
    def interval(hits, total):
        share, extra = hits / total, z * z / total
        centre = share + extra / 2
        spread = z * math.sqrt(share * (1 - share) / total + (extra / 4 / total if squared else 0))
        scale = 1 + extra if divided else 1
        return percent * (centre - spread) / scale, percent * (centre + spread) / scale

    return interval


def padded(hits, total):
    return max(0.0, hits / total - 0.1), min(1.0, hits / total + 0.1)


def backwards(hits, total):
    return wilson()(hits, total)[::-1]


def sign_test(sides=2, capped=True, only_as_lopsided=False):
    def paired_p(first, second):
        wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
        fewer, n = min(wins, losses), wins + losses
        ways = math.comb(n, fewer) if only_as_lopsided else sum(math.comb(n, k) for k in range(fewer + 1))
        chance = sides * ways / 2**n
        return min(1.0, chance) if capped else chance

    return paired_p


def unpaired(first, second):
    pooled = np.mean([first.mean(), second.mean()])
    error = math.sqrt(2 * pooled * (1 - pooled) / len(first))
    return math.erfc(abs(first.mean() - second.mean()) / error / math.sqrt(2)) if error else 1.0


def first_wins(first, second):
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    return min(1.0, 2 * sum(math.comb(wins + losses, k) for k in range(losses + 1)) / 2 ** (wins + losses))


WRONG = {
    "check_interval": [
        (simple, "That is the simple interval"),
        (wilson(percent=100), "not percent"),
        (backwards, "low comes first"),
        (wilson(z=1.0), "one standard error"),
        (wilson(z=1.645), "not 1.64"),
        (wilson(divided=False), "reaches beyond 1"),
        (padded, "shrink to a tenth"),
        (wilson(squared=False), "width of 0"),
    ],
    "check_paired_p": [
        (sign_test(sides=1), "either way round"),
        (unpaired, "Count only those on which they differ"),
        (sign_test(capped=False), "stop at 1"),
        (sign_test(only_as_lopsided=True), "as lopsided or more"),
        (first_wins, "swapping the two networks"),
    ],
}
