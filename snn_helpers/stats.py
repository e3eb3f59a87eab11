"""Intervals for shares of counted things, and for means over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from snn_helpers._checks import check_int

_Z_95 = 1.959963984540054


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share.

    Parameters
    ----------
    hits : int
        Things counted, for example right answers.
    total : int
        Things looked at.

    Returns
    -------
    low, high : float in [0, 1]

    Raises
    ------
    ValueError
        If `total` < 1 or `hits` is not in 0..total.

    Notes
    -----
    E. B. Wilson, Journal of the American Statistical Association 22 (1927), p. 209.

    Examples
    --------
    >>> low, high = wilson_interval(95, 100)
    >>> round(low, 4), round(high, 4)
    (0.8882, 0.9785)
    """
    total = check_int("total", total, low=1)
    hits = check_int("hits", hits, low=0, high=total)
    share, z2 = hits / total, _Z_95**2
    centre = share + z2 / (2 * total)
    spread = _Z_95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    scale = 1 + z2 / total
    # Rounding would leave a bound at the end of the range a hair inside it.
    low = (centre - spread) / scale if hits else 0.0
    high = (centre + spread) / scale if hits < total else 1.0
    return low, high


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of some numbers and its 95 % interval by Student's t.

    Parameters
    ----------
    values : sequence of float
        Independent measurements, for example one a seed.

    Returns
    -------
    mean, low, high : float
        Without an interval (nan) for a single number, which says nothing about the next one.

    Raises
    ------
    ValueError
        If there are no numbers.

    Examples
    --------
    >>> mean, low, high = mean_interval([0.90, 0.92, 0.94])
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (0.92, 0.87, 0.97)
    """
    from scipy.special import stdtrit

    n = check_int("number of values", len(values), low=1)
    mean = math.fsum(values) / n
    if n == 1:
        return mean, math.nan, math.nan
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / n)
    return mean, mean - half, mean + half
