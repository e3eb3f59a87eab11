"""Checks of the exercises of notebook 05: an interval for an accuracy, and a test of a gain on the same recordings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snn_helpers.lessons.answers import as_numbers, as_parts, ask, exercise, refuse_if


@exercise
def check_interval(interval: Callable) -> str:
    """Check `interval(hits, total)`: the 95 % Wilson interval of a share, by what every good interval must do."""

    def bounds(hits: int, total: int) -> np.ndarray:
        low, high = as_parts(ask(interval, hits, total), ("low", "high"))
        return np.array([float(as_numbers("low", low)), float(as_numbers("high", high))])

    low, high = bounds(95, 100)
    refuse_if(high > 2, f"low and high are shares between 0 and 1, not percent; got {low:g} and {high:g}")
    refuse_if(low > high, f"low comes first; got {low:g} and {high:g}")
    none_right = bounds(0, 20)
    refuse_if(
        none_right[1] - none_right[0] < 1e-6,
        "0 right in 20 has a width of 0, as if it were 0 in a million. That is the simple interval, share ± z · error; "
        "Wilson's is centred elsewhere",
    )
    refuse_if(high > 1, f"95 of 100 cannot be {high:.4f}: the interval reaches beyond 1")
    refuse_if(none_right[0] < -1e-9, f"0 of 20 cannot be {none_right[0]:.4f}: the interval reaches below 0")
    mirrored = 1 - bounds(5, 100)[::-1]
    refuse_if(not np.allclose(mirrored, (low, high)), "5 wrong of 100 must mirror 5 right of 100: 1 - high and 1 - low")
    refuse_if(high - low < 0.05, "this is too narrow: one standard error holds 68 in 100; for 95 in 100, z is 1.96")
    refuse_if(0.05 < high - low < 0.08, "this is too narrow for 95 in 100: z is 1.96, not 1.64, which is for 90 in 100")
    many = bounds(9500, 10000)
    refuse_if(many[1] - many[0] > 0.2 * (high - low), "with 100 times the recordings it must shrink to a tenth")
    refuse_if(
        not np.allclose((low, high), (0.8882, 0.9785), atol=5e-4),
        f"worked by hand, 95 of 100 is 0.8882 to 0.9785; got {low:.4f} to {high:.4f}. Is all divided by 1 + z² / n?",
    )
    return "95 of 100 is 0.888 to 0.979, 0 of 20 keeps a width, right and wrong mirror each other"


@exercise
def check_paired_p(paired_p: Callable) -> str:
    """Check `paired_p(first_right, second_right)`: the exact two-sided sign test on recordings with unlike answers."""

    def chance(both: int, first_only: int, second_only: int, neither: int = 0) -> float:
        counts = (both, first_only, second_only, neither)
        first, second = (np.repeat(values, counts) for values in ([1, 1, 0, 0], [1, 0, 1, 0]))
        return float(as_numbers("p", ask(paired_p, first.astype(bool), second.astype(bool))))

    five = chance(10, 5, 0)
    refuse_if(np.isclose(five, 1 / 32), "this asks only whether the first is better: twice that, for either way round")
    same = chance(10, 0, 0, 5)
    refuse_if(same > 1 + 1e-9, "a chance above 1: doubling counts the middle twice; stop at 1")
    refuse_if(not np.isclose(same, 1), f"two networks that never differ leave p = 1, no evidence; got {same:g}")
    more = chance(500, 5, 0, 40)
    refuse_if(
        not np.isclose(five, more),
        f"recordings on which both are right, or both wrong, decide nothing; with more of them p went from "
        f"{five:.3g} to {more:.3g}. Count only those on which they differ",
    )
    refuse_if(not np.isclose(five, 1 / 16), f"5 to 0 is five equal throws of a coin: 2 / 32 = 0.0625; got {five:g}")
    refuse_if(chance(10, 1, 1) > 1 + 1e-9, "1 to 1 gives a chance above 1: doubling counts the middle twice; stop at 1")
    refuse_if(not np.isclose(chance(3, 2, 6), chance(3, 6, 2)), "swapping the two networks must not change p")
    two = chance(3, 2, 6)
    refuse_if(
        not np.isclose(two, 74 / 256),
        f"2 to 6: at most 2 heads in 8 throws are (1 + 8 + 28) / 256, twice that 0.289; got {two:.3g}. Count what is "
        "as lopsided or more, not just as lopsided",
    )
    return "5 to 0 is 0.0625 and 2 to 6 is 0.289, whoever comes first, however many recordings both get right"
