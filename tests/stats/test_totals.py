"""Totals of a request say what its steps say, wherever steps are not asked for."""

from __future__ import annotations

from dataclasses import replace

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
    TotalTrace,
    acceptance_by_position,
    acceptance_rate,
    balanced_blocks,
    by_stratum,
    macro_al,
    micro_al,
    non_inferiority,
    pair,
    plan,
    scale_of,
)
from pytest_speedbench.stats.acceptance import fit_process
from pytest_speedbench.stats.bootstrap import ratio_of_ratios_interval
from pytest_speedbench.stats.data import step_traces
from pytest_speedbench.stats.pairing import merge

from .stats_makers import run, slower, totals, trace, without_ids

DL = 3


@st.composite
def runs(draw: st.DrawFn) -> list[StepTrace]:
    """A run with draft counts: steps without a draft, and last steps that may be cut."""
    found = []
    for number in range(draw(st.integers(1, 10))):
        drafted = np.array(draw(st.lists(st.integers(0, DL), min_size=1, max_size=12)))
        accepted = np.array([draw(st.integers(0, int(d))) for d in drafted])
        steps = accepted + 1
        steps[-1] = draw(st.integers(1, int(steps[-1])))
        one = trace(f"s{number // 2}", steps.tolist(), stratum=f"c{number // 2 % 2}")
        found.append(replace(one, turn=number % 2, drafted=drafted, accepted=accepted))
    return found


@given(runs())
def test_totals_give_the_estimates_of_the_steps(traces: list[StepTrace]) -> None:
    for metric in (micro_al, macro_al):
        assert metric(totals(traces), 0.95, DL) == metric(traces, 0.95, DL)
    there, here = by_stratum(totals(traces)), by_stratum(traces)
    assert {name: e and e.value for name, e in there.items()} == {
        name: e and e.value for name, e in here.items()
    }
    assert scale_of(totals(traces)).al == scale_of(traces).al
    if sum(t.draft_tokens or 0 for t in traces):
        assert acceptance_rate(totals(traces)) == acceptance_rate(traces)


@given(runs())
def test_totals_pair_over_whole_outputs_as_steps_do(traces: list[StepTrace]) -> None:
    traces = [replace(t, drafted=None, accepted=None) for t in traces]
    new = slower(traces, 0.5)
    stepwise, summed = pair(traces, new), pair(totals(traces), totals(new))
    assert summed.whole.al_ratio() == stepwise.whole.al_ratio()
    assert (summed.prefix, summed.compared) == (None, 0)
    assert summed.no_prefix == "the engine reports totals of a request and no steps"
    assert pair(traces, totals(new)).whole.al_ratio() == stepwise.whole.al_ratio()


def test_single_totals_among_steps_cost_coverage_of_the_prefix_alone() -> None:
    old = run(1, n=20)
    mixed = [*totals(old[:5]), *old[5:]]
    pairs, without = pair(old, mixed), pair(old[5:], old[5:])
    assert pairs.prefix is not None
    assert without.prefix is not None
    assert pairs.prefix.al_ratio().value == without.prefix.al_ratio().value
    assert pairs.prefix.coverage == pytest.approx(0.75, abs=0.01)
    assert pairs.whole.coverage == 1
    assert (pairs.compared, pairs.no_prefix) == (15, "")


def test_bounds_of_totals_are_a_little_wider_than_the_bootstraps() -> None:
    old, new = totals(run(1, n=120)), totals(slower(run(1, n=120), 0.1))
    whole = pair(old, new).whole
    shown = whole.al_ratio()
    low, high = ratio_of_ratios_interval(
        (whole.new_tokens, whole.new_steps), (whole.old_tokens, whole.old_steps), whole.codes
    )
    assert low - 0.05 < shown.low < low  # type: ignore[operator]
    assert high < shown.high < high + 0.05  # type: ignore[operator]


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.0, Conclusion.PASS), (0.6, Conclusion.FAIL)], ids=["equal", "worse"]
)
def test_a_gate_decides_by_totals_and_says_so(share: float, verdict: Conclusion) -> None:
    old = run(1, n=300)
    decision = non_inferiority(totals(old), totals(slower(old, share)), margin=0.05)
    assert decision.conclusion is verdict
    assert decision.reason.endswith("whole outputs only, the engine reports totals of a request and"
                                    " no steps")  # fmt: skip
    assert decision.carried_by is not None
    assert decision.carried_by.evidence == "whole"
    assert decision == replace(
        non_inferiority(without_ids(old), without_ids(slower(old, share)), margin=0.05),
        reason=decision.reason,
    )


def test_an_undecided_gate_says_so_too() -> None:
    old = totals(run(1, n=12))
    decision = non_inferiority(old, totals(run(2, n=12)), margin=0.01)
    assert decision.conclusion is Conclusion.UNDECIDED
    assert "the engine reports totals of a request and no steps" in decision.reason


def test_early_decision_of_totals_is_that_of_whole_outputs() -> None:
    old, new = run(1, n=300), slower(run(1, n=300), 0.6)
    looks = []
    for before, after in ((totals(old), totals(new)), (without_ids(old), without_ids(new))):
        gate = Sequential(before, Rule(0.05))
        for block in balanced_blocks([t.stratum for t in old]):
            gate.add([after[i] for i in block])
        looks.append((gate.decision.conclusion, gate.samples))
    assert looks[0] == looks[1]
    assert looks[0][0] is Conclusion.FAIL
    assert looks[0][1] < 300


def test_merged_blocks_keep_the_reason() -> None:
    old = totals(run(1, n=20))
    joined = merge([pair(old[:8], old[:8]), pair(old[8:], old[8:])])
    assert joined.no_prefix == pair(old, old).no_prefix
    assert joined.whole.al_ratio() == pair(old, old).whole.al_ratio()


def test_a_plan_for_totals_is_about_that_for_whole_outputs() -> None:
    """Steps say a little more of how outputs of an unchanged build differ."""
    old = run(1, n=100)
    known, unknown = plan(without_ids(old), Rule(0.05)), plan(totals(old), Rule(0.05))
    assert known.pass_samples is not None
    assert unknown.pass_samples == pytest.approx(known.pass_samples, rel=0.3)
    assert unknown.passable_margin == pytest.approx(known.passable_margin, rel=0.3)


@pytest.mark.parametrize(
    "use",
    [
        micro_al,
        macro_al,
        scale_of,
        lambda old: pair(old, old),
        lambda old: non_inferiority(old, old, margin=0.02),
        lambda old: Sequential(old, Rule(0.02)),
        lambda old: plan(old, Rule(0.02)),
    ],
)
def test_an_unknown_number_of_steps_is_no_data(use: object) -> None:
    with pytest.raises(NoData, match="does not report how many decoding steps"):
        use(totals(run(1, n=12), steps=False))  # type: ignore[operator]


def test_what_needs_steps_refuses_totals() -> None:
    old = totals(run(1, n=6))
    with pytest.raises(NoData, match="acceptance by position needs the size of every"):
        acceptance_by_position(old, DL)
    with pytest.raises(NoData, match="a fit needs the size of every"):
        fit_process(step_traces(old, "a fit"), DL)


def test_a_rate_without_draft_counts_is_no_data() -> None:
    with pytest.raises(NoData, match="gives no draft counts"):
        acceptance_rate(totals(run(1, n=6)))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((1, 5, 5), "5 decoding steps cannot emit 4 tokens"),
        ((1, 5, 0), "0 decoding steps cannot emit 4 tokens"),
        ((1, 5, -1), "negative"),
        ((1, 5, 2, 2, 3), "3 accepted of 2 drafted"),
    ],
)
def test_refuses_totals_that_no_engine_can_produce(numbers: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TotalTrace("a", "math", 0, *numbers)


def test_an_output_that_ended_with_the_prefill_has_no_step() -> None:
    assert TotalTrace("a", "math", 0, 1, 0, 0).decode_tokens == 0
    assert TotalTrace("a", "math", 0, 1, 1, 0).decode_tokens == 0
