"""A retrained drafter: the spread over prompts, and what it costs a verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats import PairedSums, Rule, StepTrace, plan
from pytest_speedbench.stats.retrained import assumed_checkpoints, at_equal_al, spread_over_samples


def baseline(samples: int, seed: int = 0) -> list[StepTrace]:
    draw = np.random.default_rng(seed)
    return [
        StepTrace(str(n), "math", 0, 1, draw.integers(1, 5, 60).astype(np.int64))
        for n in range(samples)
    ]


@given(spread=st.floats(0.02, 0.3), samples=st.integers(20, 200))
def test_checkpoints_differ_by_the_spread_and_have_the_same_al(spread: float, samples: int) -> None:
    whole = assumed_checkpoints(baseline(samples), spread).whole
    assert whole.al_ratio().value == pytest.approx(1.0)
    assert spread_over_samples(whole) == pytest.approx(spread, rel=0.1)


def test_a_spread_needs_samples_that_a_rebuild_does_not() -> None:
    """At equal AL: with 10% from prompt to prompt many hundreds for a pass at 2%."""
    traces, rule = baseline(880), Rule(0.02, 0.01, fail_alpha=0.01 / 12)
    small, large = (
        plan(traces, rule, rebuild=assumed_checkpoints(traces, spread)).pass_samples
        for spread in (0.05, 0.10)
    )
    assert small is not None
    assert large is not None
    assert 3 * small < large < 5 * small
    assert 500 < large < 1300


def test_a_change_of_al_is_taken_out_and_the_spread_stays() -> None:
    pairs = assumed_checkpoints(baseline(60), 0.1)
    better = replace(pairs, whole=replace(pairs.whole, new_steps=0.9 * pairs.whole.new_steps))
    found = at_equal_al(better).whole
    assert found.new_steps == pytest.approx(pairs.whole.new_steps)


def test_no_common_samples_is_no_data() -> None:
    none = np.zeros(1)
    sums = PairedSums("whole", ("a",), ("math",), none, none, none, none, 1.0)
    with pytest.raises(NoData, match="fewer than 2 samples in common"):
        spread_over_samples(sums)
