from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.stats import (
    Conclusion,
    NoData,
    Rule,
    Sequential,
    StepTrace,
    balanced_blocks,
    looks_after,
    non_inferiority,
)

from .stats_makers import diverging, run, slower, trace


def feed(case: Sequential, new: list[StepTrace]) -> Sequential:
    for block in balanced_blocks([t.stratum for t in new]):
        case.add([new[i] for i in block])
    return case


def test_an_equal_run_passes_early_and_counts_what_it_saw() -> None:
    old = run(1, n=300)
    case = feed(Sequential(old, Rule(0.02)), old)
    assert case.decision.conclusion is Conclusion.PASS
    assert case.samples < 120
    assert case.tokens == case.samples * 61


def test_a_loss_fails_early() -> None:
    old = run(1, n=300)
    case = feed(Sequential(old, Rule(0.02)), slower(old, 0.3))
    assert case.decision.conclusion is Conclusion.FAIL
    assert case.samples < 100


def test_a_verdict_is_kept() -> None:
    old = run(1, n=300)
    case = feed(Sequential(old[:200], Rule(0.02)), old[:200])
    before = case.decision
    case.add(slower(old[200:], 1.0))
    assert case.decision is before


def test_undecided_blocks_equal_one_decision() -> None:
    old = run(1, n=24)
    case = feed(Sequential(old, Rule(0.02)), old)
    assert not case.decided
    at_once = non_inferiority(old, old, margin=0.02)
    assert case.decision.findings == at_once.findings
    assert case.decision.more_samples == at_once.more_samples


def test_blocks_without_partners_are_listed() -> None:
    old = run(1, n=24)
    case = Sequential(old, Rule(0.02))
    with pytest.raises(NoData, match="no blocks"):
        _ = case.decision
    case.add([trace("stranger")])
    case.add([old[0], trace("guest")])
    case.add([old[1]], errored=["s2"])
    assert case.unmatched == ("stranger", "s2", "guest")
    assert case.samples == 2


def test_a_sample_comes_once() -> None:
    old = run(1, n=24)
    case = Sequential(old, Rule(0.02))
    case.add(old[:3])
    with pytest.raises(ValueError, match="earlier block: s1"):
        case.add(old[1:2])


def test_blocks_hold_every_stratum_in_proportion() -> None:
    strata = ["a"] * 6 + ["b"] * 3 + ["c"] * 4
    blocks = balanced_blocks(strata)
    assert sorted(i for block in blocks for i in block) == list(range(13))
    assert [[strata[i] for i in block].count("a") for block in blocks] == [2, 2, 2]
    assert all({strata[i] for i in block} == {"a", "b", "c"} for block in blocks)
    with pytest.raises(NoData):
        balanced_blocks([])


@given(st.integers(1, 2000), st.integers(2, 60))
def test_looks_are_few_dense_at_first_and_end_with_the_last_block(blocks: int, most: int) -> None:
    ends = looks_after(blocks, most)
    assert len(ends) == min(blocks, most)
    assert ends[-1] == blocks
    assert ends == sorted(set(ends))
    assert ends[: most // 2] == list(range(1, min(blocks, most // 2) + 1))


def test_a_single_look_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 looks"):
        looks_after(10, 1)


def test_peeking_keeps_the_error_rates_at_the_boundary() -> None:
    """Losses of exactly the margin, on average, looked at after every block."""
    old = run(1, n=400)
    new = diverging(slower(old, 0.04, seed=3), 50)
    ratio = non_inferiority(old, new, margin=0.5).findings[0].ratio
    rule = Rule(1 - ratio.value, alpha=0.05)
    rng = np.random.default_rng(0)
    verdicts = [session(rng, old, new, rule) for _ in range(40)]
    assert verdicts.count(Conclusion.PASS) <= 5
    assert verdicts.count(Conclusion.FAIL) <= 5


def session(
    rng: np.random.Generator, old: list[StepTrace], new: list[StepTrace], rule: Rule
) -> Conclusion:
    """Up to 120 of the samples in random order, in blocks of 40."""
    case = Sequential(old, rule)
    order = rng.permutation(len(old))[:120]
    for start in range(0, len(order), 40):
        case.add([new[i] for i in order[start : start + 40]])
        if case.decided:
            break
    return case.decision.conclusion
