"""Compare simulated recordings with real ones of the same digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

FIELD_PX = 34
SACCADE_START_US = (0, 95_000, 222_000)  # the pauses of the event rate in real recordings
BIN_US = 5_000  # of the event-rate curves
NUM_BINS = 64  # 320 ms, longer than any recording
MAP_BLUR_PX = 0.8
_NUM_SACCADES = len(SACCADE_START_US)


class EventStatistics(NamedTuple):
    """What `compare_recordings` looks at, for one set of N recordings.

    Attributes
    ----------
    counts : int64 [N]
        Events a recording.
    on_share : float64 [N]
        ON events as a share of all events; NaN for a recording without events.
    active_pixels : int64 [N]
        Pixels with at least one event.
    duration_ms : float64 [N]
        Time of the last event; 0 for a recording without events.
    maps : float32 [N, 3, 2, 34, 34]
        Events a saccade, polarity (0 = OFF, 1 = ON) and pixel: axes [N, S, P, H, W].
    mean_maps : float64 [3, 2, 34, 34]
        `maps`, averaged over the recordings.
    rate : float64 [2, 64]
        Events of each polarity in bins of 5 ms, averaged over the recordings.
    gap_ms : float64 [3]
        1st, 50th and 99th percentile of the gaps between a pixel's events of the same polarity; NaN without any.
    """

    counts: np.ndarray
    on_share: np.ndarray
    active_pixels: np.ndarray
    duration_ms: np.ndarray
    maps: np.ndarray
    mean_maps: np.ndarray
    rate: np.ndarray
    gap_ms: np.ndarray


@dataclass(frozen=True)
class CameraComparison:
    """How simulated recordings agree with real ones, recording i of one set beside recording i of the other.

    A correlation is Pearson's, and NaN where one side does not vary. "Ratio" is simulated over real.

    Attributes
    ----------
    map_correlation : float
        Event-count maps of the three saccades and two polarities, each blurred by 0.8 px (Gaussian sigma): the
        correlation of each map with its twin's, averaged over the six maps and then over the recordings.
    stacked_map_correlation : float
        The same with a recording's six maps taken as one vector, so that the balance between saccades counts too.
    map_correlations : float64 [N]
        `map_correlation` of each recording.
    count_mean_ratio, count_std_ratio : float
        Events a recording: ratio of the means, ratio of the standard deviations over the recordings.
    count_correlation : float
        Events a recording against the twin's.
    on_share_difference : float
        Share of ON events among all events of the set, simulated minus real.
    active_pixels_ratio : float
        Ratio of the mean numbers of pixels with an event.
    mean_map_correlation : tuple of float (OFF, ON)
        Maps averaged over the recordings and summed over the saccades, not blurred.
    rate_correlation : tuple of float (OFF, ON)
        Event-rate curves in bins of 5 ms.
    duration_mean_ratio : float
        Ratio of the mean times of the last event.
    simulated, real : EventStatistics
        The two sides: arrays to draw, and the figures behind the ratios.
    """

    map_correlation: float
    stacked_map_correlation: float
    map_correlations: np.ndarray
    count_mean_ratio: float
    count_std_ratio: float
    count_correlation: float
    on_share_difference: float
    active_pixels_ratio: float
    mean_map_correlation: tuple[float, float]
    rate_correlation: tuple[float, float]
    duration_mean_ratio: float
    simulated: EventStatistics
    real: EventStatistics


def compare_recordings(simulated: Any, real: Any) -> CameraComparison:
    """Hold simulated recordings against the real recordings of the same digits.

    Parameters
    ----------
    simulated, real : Recordings
        Flat arrays `x`, `y`, `p`, `t` (µs, sorted within a recording) and `offsets` [N + 1]; recording i of both shows
        the same digit.

    Returns
    -------
    CameraComparison
        Figures and the arrays to draw them.

    Raises
    ------
    ValueError
        If the two sets differ in the number of recordings or are empty, or if an event lies outside the 34 x 34 field.
    """
    n_simulated, n_real = len(simulated.offsets) - 1, len(real.offsets) - 1
    if n_simulated != n_real or n_real < 1:
        raise ValueError(
            f"`simulated` and `real` must hold the same number of recordings, at least one; got {n_simulated} and "
            f"{n_real}. Simulate the twin digits of the real recordings, in the same order."
        )
    ours, theirs = event_statistics(simulated), event_statistics(real)
    blurred_ours, blurred_theirs = _blurred(ours.maps), _blurred(theirs.maps)
    by_map = _correlation(blurred_ours, blurred_theirs)  # [N, S, P]
    stacked = _correlation(blurred_ours.reshape(n_real, 1, -1), blurred_theirs.reshape(n_real, 1, -1))
    map_correlations = _mean(by_map.reshape(n_real, -1), axis=1)
    seen_ours, seen_theirs = ours.mean_maps.sum(axis=0), theirs.mean_maps.sum(axis=0)  # [P, H, W]
    return CameraComparison(
        map_correlation=float(_mean(map_correlations)),
        stacked_map_correlation=float(_mean(stacked)),
        map_correlations=map_correlations,
        count_mean_ratio=_ratio(ours.counts.mean(), theirs.counts.mean()),
        count_std_ratio=_ratio(ours.counts.std(), theirs.counts.std()),
        count_correlation=float(_correlation(ours.counts, theirs.counts, axes=1)),
        on_share_difference=_on_share(simulated) - _on_share(real),
        active_pixels_ratio=_ratio(ours.active_pixels.mean(), theirs.active_pixels.mean()),
        mean_map_correlation=_pair(_correlation(seen_ours, seen_theirs)),
        rate_correlation=_pair(_correlation(ours.rate, theirs.rate, axes=1)),
        duration_mean_ratio=_ratio(ours.duration_ms.mean(), theirs.duration_ms.mean()),
        simulated=ours,
        real=theirs,
    )


def event_statistics(recordings: Any) -> EventStatistics:
    """Count the events of a set of recordings by recording, saccade, polarity, pixel and time.

    Parameters
    ----------
    recordings : Recordings
        Flat arrays `x`, `y`, `p`, `t` (µs) and `offsets` [N + 1].

    Returns
    -------
    EventStatistics
        See there.

    Raises
    ------
    ValueError
        If an event lies outside the 34 x 34 field.
    """
    x, y, p, t = (np.asarray(getattr(recordings, name)).astype(np.int64) for name in "xypt")
    counts: np.ndarray = np.diff(np.asarray(recordings.offsets, dtype=np.int64))
    num = len(counts)
    outside = np.flatnonzero((x < 0) | (x >= FIELD_PX) | (y < 0) | (y >= FIELD_PX))
    if outside.size:
        at = outside[0]
        raise ValueError(
            f"`recordings` must lie in the {FIELD_PX} x {FIELD_PX} field; event {at} is at x = {x[at]}, y = {y[at]}. "
            "Crop the recordings first."
        )
    recording = np.repeat(np.arange(num), counts)
    saccade = np.searchsorted(SACCADE_START_US, t, side="right") - 1
    cell = (((recording * _NUM_SACCADES + saccade) * 2 + p) * FIELD_PX + y) * FIELD_PX + x
    shape = (num, _NUM_SACCADES, 2, FIELD_PX, FIELD_PX)
    maps = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape)
    bins = p * NUM_BINS + np.minimum(t // BIN_US, NUM_BINS - 1)
    ends = np.asarray(recordings.offsets)[1:][counts > 0] - 1
    duration_ms = np.zeros(num)
    duration_ms[counts > 0] = t[ends] / 1000
    return EventStatistics(
        counts=counts,
        on_share=np.divide(
            np.bincount(recording, weights=p, minlength=num), counts, out=np.full(num, np.nan), where=counts > 0
        ),
        active_pixels=maps.any(axis=(1, 2)).sum(axis=(1, 2)),
        duration_ms=duration_ms,
        maps=maps.astype(np.float32),
        mean_maps=maps.mean(axis=0),
        rate=np.bincount(bins, minlength=2 * NUM_BINS).reshape(2, NUM_BINS) / num,
        gap_ms=_gap_percentiles_ms((recording * FIELD_PX + y) * FIELD_PX + x, t, p),
    )


def _gap_percentiles_ms(pixel: np.ndarray, t: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the 1st, 50th and 99th percentile of the gaps between a pixel's events of one polarity, in ms."""
    order = np.argsort(pixel, kind="stable")  # keeps each pixel's events in time order
    pixel, t, p = pixel[order], t[order], p[order]
    alike = (pixel[1:] == pixel[:-1]) & (p[1:] == p[:-1])
    if not alike.any():
        return np.full(3, np.nan)
    return np.percentile(np.diff(t)[alike], (1, 50, 99)) / 1000


def _blurred(maps: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(maps, (0, 0, 0, MAP_BLUR_PX, MAP_BLUR_PX), mode="constant")


def _correlation(ours: np.ndarray, theirs: np.ndarray, axes: int = 2) -> np.ndarray:
    """Pearson's correlation over the last `axes` axes; NaN where a side does not vary."""
    over = tuple(range(-axes, 0))
    ours = ours - ours.mean(axis=over, keepdims=True, dtype=np.float64)
    theirs = theirs - theirs.mean(axis=over, keepdims=True, dtype=np.float64)
    spread = np.sqrt((ours**2).sum(axis=over) * (theirs**2).sum(axis=over))
    shared = (ours * theirs).sum(axis=over)
    return np.divide(shared, spread, out=np.full_like(shared, np.nan), where=spread > 0)


def _mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of the values that are not NaN; NaN where there is none."""
    return np.ma.filled(np.ma.masked_invalid(values).mean(axis=axis), np.nan)


def _on_share(recordings: Any) -> float:
    return float(np.mean(recordings.p)) if len(recordings.p) else float("nan")


def _ratio(ours: float, theirs: float) -> float:
    return float(ours / theirs) if theirs else float("nan")


def _pair(values: np.ndarray) -> tuple[float, float]:
    return float(values[0]), float(values[1])
