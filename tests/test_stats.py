"""The Wilson interval, held against the equation that defines it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from snn_helpers.stats import wilson_interval


@given(total=st.integers(1, 20_000), share=st.floats(0, 1))
def test_interval_equals_scipys(total, share):
    hits = round(share * total)
    expected = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "total"), [(0, 50), (50, 50), (0, 1), (1, 1)])
def test_interval_stays_within_0_and_1_and_holds_the_share(hits, total):
    low, high = wilson_interval(hits, total)
    assert 0 <= low <= hits / total <= high <= 1
    assert low < high


@pytest.mark.parametrize(
    ("hits", "total", "message"), [(1, 0, "`total`"), (-1, 5, "`hits`"), (6, 5, r"`hits` .*in \[0, 5\]; got 6")]
)
def test_interval_refuses_impossible_counts(hits, total, message):
    with pytest.raises(ValueError, match=message):
        wilson_interval(hits, total)


def test_interval_refuses_shares():
    with pytest.raises(TypeError, match="`hits` must be a whole number"):
        wilson_interval(0.95, 100)
