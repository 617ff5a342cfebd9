from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.stats import AlphaSequence, NoData, divide_alpha, sequence_level


def test_alpha_is_divided_by_weight() -> None:
    assert divide_alpha(0.01, [1, 1, 2]) == pytest.approx((0.0025, 0.0025, 0.005))
    with pytest.raises(NoData):
        divide_alpha(0.01, [])
    for weights in ([0.0], [-1.0], [float("inf")]):
        with pytest.raises(ValueError, match="positive and finite"):
            divide_alpha(0.01, weights)


def test_the_kth_comparison_has_one_part_in_k_times_k_plus_one() -> None:
    case = AlphaSequence(0.01)
    levels = [case.level(name) for name in ("acceptance_length", "speedup", (">=", 2.4))]
    assert levels == pytest.approx([0.01 / 2, 0.01 / 6, 0.01 / 12])


@given(st.floats(1e-6, 0.5), st.integers(1, 300))
def test_any_number_of_comparisons_spends_less_than_the_share(share: float, count: int) -> None:
    case = AlphaSequence(share)
    levels = [case.level(k) for k in range(count)]
    assert levels == sorted(levels, reverse=True)
    assert math.fsum(levels) == pytest.approx(case.spent)
    assert case.spent < share
    assert case.made == count


def test_a_repeated_comparison_is_free() -> None:
    case = AlphaSequence(0.01)
    first = case.level("speedup")
    case.level("output_tps")
    assert case.level("speedup") == first
    assert case.made == 2


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        AlphaSequence(share)
    with pytest.raises(ValueError, match="share"):
        sequence_level(share, 1)


def test_comparisons_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        sequence_level(0.01, 0)
