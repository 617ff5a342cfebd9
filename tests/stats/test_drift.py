from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, theilslopes

from pytest_speedbench.stats import NoData, trend

SERIES = st.lists(st.integers(0, 20).map(float), min_size=4, max_size=30)


@given(SERIES)
def test_slope_agrees_with_scipy(series: list[float]) -> None:
    assert trend(series).slope == pytest.approx(theilslopes(series).slope)


@given(SERIES)
def test_a_reversed_series_has_the_opposite_trend(series: list[float]) -> None:
    there, back = trend(series), trend(series[::-1])
    assert back.p_value == pytest.approx(there.p_value)
    assert (back.slope, back.low, back.high) == pytest.approx(
        (-there.slope, -there.high, -there.low)
    )


def test_without_ties_p_is_kendalls_exact_one() -> None:
    series = np.random.default_rng(0).normal(size=12)
    expected = kendalltau(np.arange(12), series, method="exact").pvalue
    assert trend(series.tolist()).p_value == pytest.approx(expected)


def test_with_ties_p_is_near_kendalls_asymptotic_one() -> None:
    series = [1, 1, 2, 2, 2, 3, 1, 3, 3, 4, 2, 4, 4, 5, 3, 5, 5, 4, 6, 6]
    expected = kendalltau(np.arange(20), series, method="asymptotic").pvalue
    assert trend(series).p_value == pytest.approx(expected, rel=0.3)


def test_a_constant_series_has_no_trend() -> None:
    flat = trend([2.0] * 8)
    assert (flat.slope, flat.p_value) == (0, 1)


def test_a_sinking_al_is_found_and_healthy_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.01, size=(400, 15))
    found = [trend((2 - 0.005 * np.arange(15) + row).tolist()).p_value < 0.01 for row in noise]
    false = [trend((2 + row).tolist()).p_value < 0.05 for row in noise]
    assert np.mean(found) > 0.9
    assert np.mean(false) <= 0.08


def test_slopes_are_per_unit_of_time() -> None:
    assert trend([1, 2, 3, 4], times=[0, 10, 20, 30]).slope == pytest.approx(0.1)


def test_bad_series_are_named() -> None:
    with pytest.raises(NoData, match="at least 4 rounds, got 3"):
        trend([1, 2, 3])
    with pytest.raises(ValueError, match="round 2 is not a finite number"):
        trend([1, float("nan"), 2, 3])
    with pytest.raises(ValueError, match="times must rise"):
        trend([1, 2, 3, 4], times=[0, 1, 1, 2])
    with pytest.raises(ValueError, match="level"):
        trend([1, 2, 3, 4], level=1.0)
