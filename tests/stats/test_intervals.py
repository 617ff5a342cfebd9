"""Bounds cover what they say, for skewed, short and bimodal samples, however few."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.stats import pair
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.estimates import positive_ratio
from pytest_speedbench.stats.intervals import below_zero, ratio_bounds, within_strata

from .stats_makers import run

TOP = 4.0
Population = Callable[[np.random.Generator, int], tuple[Floats, Floats]]


def skewed(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Log-normal lengths; few samples with a high AL."""
    tokens = np.maximum(2, rng.lognormal(3.5, 1.0, n)).round()
    al = 1 + np.minimum(TOP - 1, rng.lognormal(-0.5, 0.9, n))
    return tokens, np.maximum(1, np.ceil(tokens / al))


def short(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Answers of one to five tokens."""
    tokens = rng.integers(1, 6, n).astype(float)
    fewest = np.ceil(tokens / TOP)
    return tokens, fewest + np.floor(rng.random(n) * (tokens - fewest + 1))


def bimodal(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """One sample in ten is easy, the others hardly ever accept."""
    tokens = rng.integers(50, 128, n).astype(float)
    return tokens, (tokens / np.where(rng.random(n) < 0.1, 3.6, 1.1)).round()


def long_and_easy(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """One sample in ten is long, and easy."""
    long = rng.random(n) < 0.1
    tokens = (np.where(long, 400, 30) * rng.uniform(0.8, 1.2, n)).round()
    return tokens, (tokens / np.where(long, 3.2, 1.5)).round()


def bounds(tokens: Floats, steps: Floats, level: float) -> tuple[float, float]:
    most = float(tokens.max())
    codes = np.zeros(len(tokens), dtype=np.intp)
    return ratio_bounds(
        tokens, steps, codes, level, lowest=(most, most), highest=(most, most / TOP)
    )


@pytest.mark.parametrize(
    "samples", [5, *(pytest.param(n, marks=pytest.mark.nightly) for n in (8, 20)), 80]
)
@pytest.mark.parametrize("population", [skewed, short, bimodal])
def test_bounds_cover(population: Population, samples: int) -> None:
    rng = np.random.default_rng(0)
    tokens, steps = population(rng, 100_000)
    truth, covered = tokens.sum() / steps.sum(), 0
    for _ in range(300):
        low, high = bounds(*population(rng, samples), 0.95)
        covered += low <= truth <= high
    assert covered >= 282  # 94%


@pytest.mark.parametrize("population", [skewed, short, bimodal])
def test_bounds_in_the_tail_are_hardly_ever_wrong(population: Population) -> None:
    rng = np.random.default_rng(1)
    tokens, steps = population(rng, 100_000)
    truth = tokens.sum() / steps.sum()
    found = [bounds(*population(rng, 12), 1 - 2 * 0.01 / 66) for _ in range(300)]
    assert all(low <= truth <= high for low, high in found)


@pytest.mark.parametrize("tail", [0.2, 0.025, 1e-4])
@pytest.mark.parametrize("population", [skewed, short, bimodal, long_and_easy])
def test_a_bound_lies_where_the_tail_begins(population: Population, tail: float) -> None:
    for samples in (2, 12, 200):
        tokens, steps = population(np.random.default_rng(samples), samples)
        most = float(tokens.max())
        low, high = bounds(tokens, steps, 1 - 2 * tail)
        below = np.append(tokens, most) - low * np.append(steps, most)
        above = high * np.append(steps, most / TOP) - np.append(tokens, most)
        assert below_zero(below) == pytest.approx(tail, rel=1e-3)
        assert below_zero(above) == pytest.approx(tail, rel=1e-3)


def test_bounds_are_those_of_a_normal_mean_for_many_samples() -> None:
    rng = np.random.default_rng(2)
    steps = np.full(4000, 50.0)
    tokens = steps * np.clip(rng.normal(2.2, 0.3, 4000), 1, TOP)
    low, high = bounds(tokens, steps, 0.95)
    error = (tokens / steps).std() / 4000**0.5
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=12), st.integers(0, 1000))
def test_the_tail_of_a_weighted_sum_agrees_with_simulation(values: list[float], seed: int) -> None:
    numbers = np.array(values)
    rng = np.random.default_rng(seed)
    share = float((rng.exponential(size=(4000, len(values))) @ numbers <= 0).mean())
    assert below_zero(numbers) == pytest.approx(share, abs=0.06)


def test_the_tail_is_exact_for_two_terms() -> None:
    for a, b in ((1.0, -1.0), (3.0, -1.0), (1.0, -4.0)):
        assert below_zero(np.array([a, b])) == pytest.approx(-b / (a - b), abs=0.02)
    assert below_zero(np.array([1.0, 2.0])) == 0
    assert below_zero(np.array([-1.0, -2.0])) == 1


def test_no_width_is_zero_where_nothing_differed() -> None:
    old = run(1, n=11)
    ratio = pair(old, old).whole.al_ratio(top=TOP)
    assert ratio.value == pytest.approx(1)
    assert ratio.low < 0.95  # type: ignore[operator]
    assert ratio.high > 1.05  # type: ignore[operator]


def test_one_sample_a_category_covers_too() -> None:
    covered = 0
    for seed in range(150):
        old, new = run(seed, n=11, tokens=40), run(1000 + seed, n=11, tokens=40)
        ratio = pair(old, new, greedy=False).whole.al_ratio(top=TOP)
        covered += ratio.low <= 1 <= ratio.high  # type: ignore[operator]
    assert covered >= 141


def test_large_strata_keep_their_total_and_lose_what_differs_between_them() -> None:
    values = np.array([1.0, 2, 3, 4, 5, 11, 12, 13, 14, 15, 40])
    codes = np.array([0] * 5 + [1] * 5 + [2])
    inside = within_strata(values, codes)
    assert inside.sum() == pytest.approx(values.sum())
    assert inside[:5].mean() == pytest.approx(inside[5:10].mean())
    assert inside[10] == 40
    assert within_strata(values, np.zeros(11, dtype=np.intp)) is values


def long_tailed(rng: np.random.Generator, n: int) -> Floats:
    """Times of which few are very long."""
    return rng.lognormal(0, 1.0, n)


def two_kinds(rng: np.random.Generator, n: int) -> Floats:
    """One request in five takes five times as long."""
    return np.where(rng.random(n) < 0.2, 5.0, 1.0) * rng.lognormal(0, 0.1, n)


@pytest.mark.parametrize("samples", [5, 8, 20, 80])
@pytest.mark.parametrize("times", [long_tailed, two_kinds])
def test_bounds_of_times_cover(
    times: Callable[[np.random.Generator, int], Floats], samples: int
) -> None:
    rng = np.random.default_rng(0)
    truth, covered = float(times(rng, 200_000).mean()), 0
    codes = np.zeros(samples, dtype=np.intp)
    for _ in range(200):
        found = positive_ratio(times(rng, samples), np.ones(samples), codes, 0.95)
        covered += found.low <= truth <= found.high  # type: ignore[operator]
    assert covered >= 188  # 94%


def test_times_of_too_few_samples_have_no_interval() -> None:
    found = positive_ratio(np.ones(4), np.ones(4), np.zeros(4, dtype=np.intp), 0.95)
    assert (found.value, found.low, found.high) == (1.0, None, None)
