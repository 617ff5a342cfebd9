"""Change points: where they are, and how often a healthy series has one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.stats.change_points import FEWEST, change_points

Noise = Callable[[np.random.Generator, int], "np.ndarray"]


def correlated(random: np.random.Generator, size: int) -> np.ndarray:
    """Each value keeps 0.3 of the one before."""
    values = random.normal(size=size + 50)
    for position in range(1, len(values)):
        values[position] += 0.3 * values[position - 1]
    return values[50:]


NOISE: dict[str, Noise] = {
    "normal": lambda random, size: random.normal(size=size),
    "t3": lambda random, size: random.standard_t(3, size),
    "correlated": correlated,
    "constant": lambda random, size: np.zeros(size),
}


@pytest.mark.parametrize(
    ("noise", "nights", "most"),
    [
        *(("normal", nights, 2) for nights in (10, 30)),
        *(("constant", nights, 0) for nights in (10, 30)),
        ("t3", 30, 2),
        ("correlated", 30, 5),
        *(
            pytest.param(noise, 90, most, marks=pytest.mark.nightly)
            for noise, most in (("normal", 2), ("constant", 0), ("t3", 6), ("correlated", 9))
        ),
    ],
)
def test_false_alarms_in_200_healthy_series(noise: str, nights: int, most: int) -> None:
    random = np.random.default_rng(1)
    series = [2.5 + 0.01 * NOISE[noise](random, nights) for _ in range(200)]
    assert sum(bool(change_points(values.tolist())) for values in series) <= most


@pytest.mark.parametrize(
    ("nights", "least"), [(30, 0.9), pytest.param(90, 0.95, marks=pytest.mark.nightly)]
)
def test_a_shift_of_three_standard_deviations_is_found(nights: int, least: float) -> None:
    random, start, found = np.random.default_rng(2), 2 * nights // 3, 0
    for _ in range(200):
        values = random.normal(2.5, 0.01, nights)
        values[start:] -= 0.03
        found += any(abs(cut - start) <= 1 for cut in change_points(values.tolist()))
    assert found / 200 >= least


def test_a_loss_and_its_way_back_are_two_changes() -> None:
    random = np.random.default_rng(3)
    values = random.normal(2.5, 0.005, 60)
    values[30:36] -= 0.06
    assert change_points(values.tolist()) == [30, 36]


def test_a_loss_of_two_nights_at_the_end_is_found() -> None:
    random = np.random.default_rng(4)
    values = random.normal(2.5, 0.005, 30)
    values[28:] -= 0.05
    assert change_points(values.tolist()) == [28]


def test_one_outlier_is_no_change() -> None:
    assert change_points([2.5] * 10 + [2.0] + [2.5] * 10) == []


def test_a_deterministic_engine() -> None:
    assert change_points([2.5] * 10 + [2.4] * 4) == [10]
    assert change_points([0.0] * 10 + [1.0] * 10) == [10]
    assert change_points([2.5] * 10 + [2.5001] * 10) == []


def test_several_levels() -> None:
    random = np.random.default_rng(5)
    levels = np.repeat([2.5, 2.4, 2.45, 2.3], 20)
    assert change_points((levels + random.normal(0, 0.005, 80)).tolist()) == [20, 40, 60]


@given(st.lists(st.floats(-1e6, 1e6), max_size=40), st.floats(0.001, 0.2))
def test_cuts_are_inside_the_series_and_apart(values: list[float], alpha: float) -> None:
    cuts = [0, *change_points(values, alpha), len(values)]
    assert len(values) >= FEWEST or len(cuts) == 2
    assert all(b - a >= 2 for a, b in pairwise(cuts)) or len(cuts) == 2


@given(st.lists(st.floats(1, 8), min_size=FEWEST, max_size=30), st.integers(-8, 8))
def test_the_unit_does_not_matter(values: list[float], power: int) -> None:
    scaled = [value * 2.0**power for value in values]
    assert change_points(values) == change_points(scaled)
