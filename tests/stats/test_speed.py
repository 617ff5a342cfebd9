from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.stats import (
    NoData,
    SpeedRounds,
    attribute,
    attribute_change,
    paired_speedup,
)

POSITIVE = st.floats(0.01, 1000)
ROUNDS = SpeedRounds(
    al=(2.0, 2.1, 2.05),
    sd_step_s=(0.020, 0.021, 0.020),
    plain_step_s=(0.012, 0.012, 0.013),
    sd_tps=(98.0, 99.0, 101.0),
    plain_tps=(80.0, 81.0, 79.0),
)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=3, max_size=9), POSITIVE)
def test_speedup_is_free_of_scale_and_mirrored(rounds: list[tuple[float, float]], k: float) -> None:
    a, b = [r[0] for r in rounds], [r[1] for r in rounds]
    base = paired_speedup(a, b)
    assert paired_speedup([k * x for x in a], [k * x for x in b]).value == pytest.approx(base.value)
    mirrored = paired_speedup(b, a)
    assert mirrored.value == pytest.approx(1 / base.value)
    assert mirrored.low == pytest.approx(1 / base.high)  # type: ignore[operator]


def test_speedup_interval_is_a_t_interval_of_logs() -> None:
    from scipy.stats import ttest_1samp

    estimate = paired_speedup(ROUNDS.sd_tps, ROUNDS.plain_tps)
    logs = np.log(np.array(ROUNDS.sd_tps) / np.array(ROUNDS.plain_tps))
    ends = ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.exp(ends)))
    assert estimate.n == 3


def test_fewer_than_three_rounds_have_no_interval() -> None:
    assert paired_speedup([2.0, 2.2], [1.0, 1.0]).low is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
def test_times_must_be_positive_and_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="with_sd, round 2: must be positive and finite"):
        paired_speedup([1.0, bad], [1.0, 1.0])
    with pytest.raises(ValueError, match="sd_step_s, round 1"):
        replace(ROUNDS, sd_step_s=(bad, 1.0, 1.0))


def test_rounds_must_be_complete() -> None:
    with pytest.raises(ValueError, match="2 rounds with SD, 1 without"):
        paired_speedup([1.0, 1.0], [1.0])
    with pytest.raises(ValueError, match="al has 3"):
        replace(ROUNDS, sd_tps=(1.0,))
    with pytest.raises(NoData, match="no rounds"):
        paired_speedup([], [])


def test_the_parts_multiply_to_the_speedup() -> None:
    parts = attribute(ROUNDS)
    product = parts.drafter.value * parts.step.value * parts.scheduling.value
    assert product == pytest.approx(parts.total.value)
    assert parts.engine is None


def test_a_change_is_put_on_the_part_that_changed() -> None:
    slower_draft = replace(
        ROUNDS,
        sd_step_s=tuple(1.2 * s for s in ROUNDS.sd_step_s),
        sd_tps=tuple(s / 1.2 for s in ROUNDS.sd_tps),
    )
    change = attribute_change(ROUNDS, slower_draft)
    assert change.total.value == pytest.approx(1 / 1.2)
    assert change.step.value == pytest.approx(1 / 1.2)
    assert change.engine is not None
    for part in (change.drafter, change.engine, change.scheduling):
        assert part.value == pytest.approx(1)
    assert change.drafter.low < 1 < change.drafter.high  # type: ignore[operator]


def test_welchs_interval_agrees_with_scipy() -> None:
    from scipy.stats import ttest_ind

    new = replace(ROUNDS, al=(1.9, 1.8, 2.0))
    ends = ttest_ind(np.log(new.al), np.log(ROUNDS.al), equal_var=False).confidence_interval(0.95)
    drafter = attribute_change(ROUNDS, new).drafter
    assert (drafter.low, drafter.high) == pytest.approx((np.exp(ends.low), np.exp(ends.high)))
