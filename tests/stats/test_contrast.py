"""Ratios of independent estimates, and slopes over input length, against known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats import Estimate
from pytest_speedbench.stats.contrast import ratio_of
from pytest_speedbench.stats.slope import LengthSample, length_slope

positive = st.floats(0.1, 100)
spread = st.floats(0.01, 0.5)


def interval(value: float, down: float, up: float) -> Estimate:
    """An interval that reaches from value / (1 + down) to value * (1 + up)."""
    return Estimate(value, value / (1 + down), value * (1 + up), 20)


@given(positive, spread, positive, spread)
def test_a_symmetric_ratio_is_that_of_logarithms(
    new: float, wide: float, old: float, wider: float
) -> None:
    found = ratio_of(interval(new, wide, wide), interval(old, wider, wider))
    half = math.hypot(math.log1p(wide), math.log1p(wider))
    assert found.low is not None
    assert found.high is not None
    assert found.value == pytest.approx(new / old)
    assert found.low == pytest.approx(new / old * math.exp(-half))
    assert found.high == pytest.approx(new / old * math.exp(half))


@given(positive, spread, spread, positive, spread, spread)
def test_the_reciprocal_has_the_reciprocal_interval(
    new: float, a: float, b: float, old: float, c: float, d: float
) -> None:
    one, two = interval(new, a, b), interval(old, c, d)
    forth, back = ratio_of(one, two), ratio_of(two, one)
    assert forth.low is not None
    assert back.high is not None
    assert forth.low * back.high == pytest.approx(1)


def test_a_ratio_covers_as_often_as_its_sides() -> None:
    rng = np.random.default_rng(1)
    hits, trials = 0, 4000
    for _ in range(trials):
        sides = []
        for mean in (2.4, 2.0):
            values = rng.normal(mean, 0.5, 40)
            half = 2.0227 * values.std(ddof=1) / math.sqrt(40)  # t quantile of 39
            centre = float(values.mean())
            sides.append(Estimate(centre, centre - half, centre + half, 40))
        found = ratio_of(*sides)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1.2 <= found.high
    assert hits / trials == pytest.approx(0.95, abs=0.012)


def test_without_an_interval_on_one_side_there_is_none() -> None:
    found = ratio_of(Estimate(2.0, None, None, 3), interval(1.0, 0.1, 0.1))
    assert (found.value, found.low, found.high, found.n) == (2.0, None, None, 3)


def test_what_has_no_ratio_is_refused() -> None:
    with pytest.raises(NoData, match="two positive values"):
        ratio_of(interval(1.0, 0.1, 0.1), Estimate(0.0, None, None, 5))
    with pytest.raises(ValueError, match="levels differ"):
        ratio_of(interval(1.0, 0.1, 0.1), Estimate(1.0, 0.9, 1.1, 5, 0.99))


def samples(
    rng: np.random.Generator, lengths: list[int], per_doubling: float, n: int = 40
) -> list[LengthSample]:
    """AL 2 at the first length, and a relative change with every doubling."""
    found = []
    for length in lengths:
        mean = 2 * (1 + per_doubling * math.log2(length / lengths[0]))
        for _ in range(n):
            steps = int(rng.integers(20, 60))
            tokens = max(steps, round(steps * rng.normal(mean, 0.25)))
            found.append(LengthSample(length, tokens, steps))
    return found


def test_the_slope_equals_numpy_polyfit() -> None:
    rng = np.random.default_rng(2)
    found = samples(rng, [1000, 2000, 8000], -0.05)
    slope = length_slope(found)
    x = np.log2([s.input_tokens / 1000 for s in found])
    y = [s.decode_tokens / s.steps for s in found]
    b, a = np.polyfit(x, y, 1, w=np.sqrt([s.steps for s in found]))
    assert slope.per_doubling.value == pytest.approx(b / a)
    assert slope.over_range.value == pytest.approx(3 * b / a)
    assert (slope.shortest, slope.longest) == (1000, 8000)


def test_the_interval_of_the_slope_covers() -> None:
    rng = np.random.default_rng(3)
    trials = 400
    hits = 0
    for _ in range(trials):
        found = length_slope(samples(rng, [1024, 4096, 16384], -0.04, n=12)).per_doubling
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= -0.04 <= found.high
    assert hits / trials > 0.92


def test_a_slope_needs_several_samples_and_lengths() -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(NoData, match="at least 3 samples, got 2"):
        length_slope(samples(rng, [100, 200], 0.0, n=1))
    with pytest.raises(NoData, match="about one length"):
        length_slope(samples(rng, [1000, 1001], 0.0))
    with pytest.raises(NoData, match="an input without a token"):
        length_slope([LengthSample(0, 20, 10), *samples(rng, [100, 200], 0.0)])
    assert length_slope(samples(rng, [100, 200], 0.0, n=2)).per_doubling.low is None


def test_a_slope_without_a_level_is_the_same_without_an_interval() -> None:
    found = samples(np.random.default_rng(5), [100, 400], -0.1)
    alone, whole = (length_slope(found, level).per_doubling for level in (None, 0.95))
    assert alone.value == whole.value
    assert (alone.low, whole.low is None) == (None, False)
