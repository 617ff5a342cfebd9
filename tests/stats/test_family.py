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
    levels = [case.level(name) for name in ("acceptance_length", "speedup", "ttft < 1")]
    assert levels == pytest.approx([0.01 / 2, 0.01 / 6, 0.01 / 12])


@given(st.floats(1e-6, 0.5), st.integers(1, 300))
def test_any_number_of_comparisons_spends_less_than_the_share(share: float, count: int) -> None:
    case = AlphaSequence(share)
    levels = [case.level(str(k)) for k in range(count)]
    assert levels == sorted(levels, reverse=True)
    assert math.fsum(levels) == pytest.approx(case.spent)
    assert case.spent < share
    assert len(case.places) == count


def test_a_repeated_comparison_is_free() -> None:
    case = AlphaSequence(0.01)
    first = case.level("speedup")
    case.level("output_tps")
    assert case.level("speedup") == first
    assert case.places == {"speedup": 1, "output_tps": 2}


def test_a_reserved_place_waits_for_the_first_comparison_of_its_metric() -> None:
    case = AlphaSequence(0.01, reserved=["acceptance_length"])
    assert case.level("speedup > 1") == pytest.approx(0.01 / 6)
    assert case.level("acceptance_length:0.01", of="acceptance_length") == pytest.approx(0.01 / 2)
    assert case.level("acceptance_length:0.05", of="acceptance_length") == pytest.approx(0.01 / 12)


def test_what_was_spent_keeps_its_place_and_the_rest_takes_free_ones() -> None:
    case = AlphaSequence(0.01, {"speedup > 1": 2}, ["acceptance_length:0.02", "speedup > 1"])
    assert case.level("speedup > 1") == pytest.approx(0.01 / 6)
    assert case.level("output_tps:0.1") == pytest.approx(0.01 / 12)
    assert case.level("acceptance_length:0.02") == pytest.approx(0.01 / 2)
    with pytest.raises(ValueError, match="one for each comparison"):
        AlphaSequence(0.01, {"a": 1, "b": 1})


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        AlphaSequence(share)
    with pytest.raises(ValueError, match="share"):
        sequence_level(share, 1)


def test_comparisons_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        sequence_level(0.01, 0)
