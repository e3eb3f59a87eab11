"""The comparison of simulated with real recordings: its definitions, on recordings small enough to count."""

import itertools

import numpy as np
import pytest

from snn_helpers.events.compare import compare_recordings, event_statistics
from snn_helpers.events.simulate import Recordings, simulate


def make(*recordings):
    """Recordings from lists of events (x, y, p, t)."""
    events = np.array([event for recording in recordings for event in recording], dtype=np.int64).reshape(-1, 4)
    offsets = np.cumsum([0] + [len(recording) for recording in recordings])
    x, y, p = (events[:, i].astype(np.uint8) for i in range(3))
    return Recordings(x, y, p, events[:, 3], offsets)


@pytest.fixture(scope="module")
def simulated():
    rows, cols = np.mgrid[:28, :28]
    discs = [((rows - 14) ** 2 + (cols - 14) ** 2 < (4 + i) ** 2) * np.uint8(255) for i in range(6)]
    return simulate(np.stack(discs), np.arange(6))


def test_statistics_count_by_recording_saccade_polarity_and_pixel():
    statistics = event_statistics(
        make([(3, 5, 1, 0), (3, 5, 0, 94_999), (3, 5, 1, 95_000)], [], [(33, 0, 1, 221_999), (0, 33, 1, 222_000)])
    )
    assert statistics.counts.tolist() == [3, 0, 2]
    assert statistics.active_pixels.tolist() == [1, 0, 2]
    assert statistics.duration_ms.tolist() == [95.0, 0.0, 222.0]
    np.testing.assert_allclose(statistics.on_share, [2 / 3, np.nan, 1])
    assert statistics.maps.shape == (3, 3, 2, 34, 34)
    assert statistics.maps.sum() == 5
    for index in ((0, 0, 1, 5, 3), (0, 0, 0, 5, 3), (0, 1, 1, 5, 3), (2, 1, 1, 0, 33), (2, 2, 1, 33, 0)):
        assert statistics.maps[index] == 1
    assert statistics.mean_maps[0, 1, 5, 3] == pytest.approx(1 / 3)


def test_statistics_bin_the_rate_in_5_ms_by_polarity():
    rate = event_statistics(make([(1, 1, 1, 4_999), (1, 1, 0, 5_000)], [(1, 1, 0, 5_001), (1, 1, 0, 999_000)])).rate
    assert rate.shape == (2, 64)
    assert rate[1, 0] == 0.5
    assert rate[0, 1] == 1.0
    assert rate[0, 63] == 0.5  # later events are kept in the last bin


def test_statistics_take_gaps_within_a_pixel_polarity_and_recording():
    first = [(1, 1, 1, 0), (2, 1, 1, 500), (1, 1, 1, 2_000), (1, 1, 0, 2_500)]
    gaps = event_statistics(make(first, [(1, 1, 0, 9_000)])).gap_ms
    np.testing.assert_allclose(gaps, [2.0, 2.0, 2.0])


def test_statistics_have_no_gaps_without_a_pair():
    assert np.isnan(event_statistics(make([(1, 1, 1, 0)])).gap_ms).all()


def test_statistics_refuse_an_event_outside_the_field():
    with pytest.raises(ValueError, match=r"34 x 34 field; event 1 is at x = 34, y = 2"):
        event_statistics(make([(1, 1, 1, 0), (34, 2, 1, 10)]))


def test_comparison_of_recordings_with_themselves_is_perfect(simulated):
    same = compare_recordings(simulated, simulated)
    assert same.map_correlation == pytest.approx(1)
    assert same.stacked_map_correlation == pytest.approx(1)
    assert same.count_correlation == pytest.approx(1)
    assert same.mean_map_correlation == pytest.approx((1, 1))
    assert same.rate_correlation == pytest.approx((1, 1))
    assert same.on_share_difference == 0
    ratios = (same.count_mean_ratio, same.count_std_ratio, same.active_pixels_ratio, same.duration_mean_ratio)
    assert ratios == (1, 1, 1, 1)


def test_comparison_ratios_are_simulated_over_real():
    two = [(1, 1, 1, 0), (1, 1, 1, 1_000)]
    four = [*two, (2, 1, 0, 1_500), (2, 1, 0, 2_000)]
    comparison = compare_recordings(make(four, []), make(two, []))
    assert comparison.count_mean_ratio == 2
    assert comparison.count_std_ratio == 2
    assert comparison.active_pixels_ratio == 2
    assert comparison.duration_mean_ratio == 2
    assert comparison.on_share_difference == pytest.approx(-0.5)


def test_comparison_sees_swapped_polarities(simulated):
    swapped = simulated._replace(p=1 - simulated.p)
    comparison = compare_recordings(swapped, simulated)
    assert comparison.map_correlation < 0.8
    assert comparison.count_correlation == pytest.approx(1)


def test_comparison_sees_a_shift_of_two_pixels(simulated):
    shifted = simulated._replace(x=np.minimum(simulated.x + 2, 33).astype(np.uint8))
    assert compare_recordings(shifted, simulated).map_correlation < 0.8


def test_comparison_sees_recordings_beside_the_wrong_twin(simulated):
    events = [np.stack(simulated[:4], axis=1)[a:b] for a, b in itertools.pairwise(simulated.offsets)]
    turned = make(*events[3:], *events[:3])
    comparison = compare_recordings(turned, simulated)
    assert comparison.map_correlation < 0.95
    assert comparison.count_correlation < 0.5
    assert comparison.count_mean_ratio == pytest.approx(1)


def test_comparison_is_nan_where_one_side_does_not_vary():
    comparison = compare_recordings(make([]), make([(1, 1, 1, 0)]))
    assert np.isnan(comparison.map_correlation)
    assert np.isnan(comparison.count_correlation)
    assert comparison.count_mean_ratio == 0


@pytest.mark.parametrize(("ours", "theirs", "got"), [(1, 2, "got 1 and 2"), (0, 0, "got 0 and 0")])
def test_comparison_refuses_sets_of_other_sizes(ours, theirs, got):
    with pytest.raises(ValueError, match=f"same number of recordings, at least one; {got}"):
        compare_recordings(make(*[[]] * ours), make(*[[]] * theirs))
