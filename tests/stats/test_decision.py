from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_speedbench.stats import (
    Conclusion,
    NoData,
    Rule,
    StepTrace,
    bound_text,
    judge,
    micro_al,
    non_inferiority,
    pair,
    scale_of,
)
from pytest_speedbench.stats.betting import contrast, stress
from pytest_speedbench.stats.decision import verdict_of

from .stats_makers import diverging, recorded, run, slower, totals, trace, without_ids


def test_an_equal_run_passes_over_whole_outputs() -> None:
    old = run(1, n=150)
    decision = non_inferiority(old, old, margin=0.02)
    assert decision.conclusion is Conclusion.PASS
    assert decision.carried_by is not None
    assert decision.carried_by.evidence == "whole"
    assert decision.reason.startswith("compared over whole outputs (100% of")
    assert decision.reason.endswith("assuming that a loss spreads over at least 12% of the samples")
    assert decision.more_samples is None


def test_a_loss_fails_and_a_gain_is_improved() -> None:
    old = run(1, n=150)
    new = slower(old, 0.3)
    assert non_inferiority(old, new, margin=0.02).conclusion == "fail"
    decision = non_inferiority(new, old, margin=0.02)
    assert decision.conclusion == "improved"
    assert decision.reason.endswith("the baseline is stale; margin 2.00%")


def test_no_observed_difference_is_not_certainty() -> None:
    few, many = (non_inferiority(run(1, n), run(1, n), margin=0.02) for n in (20, 400))
    assert few.conclusion is Conclusion.UNDECIDED
    assert few.more_samples is not None
    assert 10 < few.more_samples < 150
    lows = [d.findings[0].low for d in (few, many)]
    assert lows[0] < lows[1] < 1  # type: ignore[operator]


def test_the_further_samples_it_asks_for_settle_it() -> None:
    old = run(1, n=400)
    few = non_inferiority(old[:30], old[:30], margin=0.02)
    assert few.more_samples is not None
    enough = old[: 30 + round(1.2 * few.more_samples)]
    assert non_inferiority(enough, enough, margin=0.02).conclusion is Conclusion.PASS


def test_without_drafts_there_is_nothing_to_lose() -> None:
    plain = [trace(f"s{n}", [1] * 9) for n in range(4)]
    decision = non_inferiority(plain, plain, margin=0.02, draft_length=0)
    assert decision.conclusion is Conclusion.PASS
    assert decision.reason == "a step without a draft emits one token, so AL is 1"
    pairs, scale = pair(plain, plain), scale_of(plain, 0)
    assert verdict_of(pairs, scale, Rule(0.02, 0.01)) is Conclusion.PASS


def test_totals_show_drafts_that_the_draft_length_denies() -> None:
    """Such as of a server that was joined as one without SD."""
    old = run(1, n=60)
    decision = non_inferiority(totals(old), totals(slower(old, 1.0)), margin=0.02, draft_length=0)
    assert decision.conclusion is not Conclusion.PASS


def test_fewer_than_eight_samples_give_no_verdict() -> None:
    old = run(1, n=7)
    decision = non_inferiority(old, slower(old, 1.0), margin=0.02)
    assert decision.conclusion is Conclusion.UNDECIDED
    assert decision.reason == "7 samples in common; a verdict needs at least 8"
    assert [finding.evidence for finding in decision.findings] == ["prefix", "whole"]


def test_without_token_ids_whole_outputs_decide_and_it_says_so() -> None:
    old = run(1, n=300)
    new = without_ids(old)
    decision = non_inferiority(old[:20], new[:20], margin=0.02)
    assert decision.reason.endswith("whole outputs only, without a common prefix of tokens")
    assert non_inferiority(old, without_ids(slower(old, 0.5)), margin=0.02).conclusion == "fail"


def test_a_prefix_cannot_give_a_pass_and_what_could_hide_is_named() -> None:
    old = run(1, n=100)
    decision = non_inferiority(old, _healthy_rebuild(old), margin=0.02)
    assert decision.conclusion is Conclusion.UNDECIDED
    assert decision.reason.startswith("common prefixes lost at most ")
    assert "% of the tokens; whole outputs lost at most " in decision.reason
    assert decision.reason.endswith("% at 95%, however a loss spreads; margin 2.00%")


def test_what_prefixes_do_not_see_is_named_where_they_show_nothing() -> None:
    old = run(1, n=20)
    reason = non_inferiority(old, _healthy_rebuild(old), margin=0.02).reason
    assert re.match(
        r"common prefixes cover \d+% of the tokens; whole outputs lost at most ", reason
    )
    assert "cover" not in non_inferiority(old, old, margin=0.02).reason


def test_whole_outputs_give_a_healthy_rebuild_its_pass() -> None:
    old = run(1, n=400)
    decision = non_inferiority(old, _healthy_rebuild(old), margin=0.05)
    assert decision.conclusion is Conclusion.PASS
    assert decision.carried_by is not None
    assert decision.carried_by.evidence == "whole"


def _healthy_rebuild(old: list[StepTrace]) -> list[StepTrace]:
    """Half of the outputs diverge after 30 tokens, and go on as the next of their kind does."""
    return [
        _spliced(t, old[(number + 3) % len(old)], 30) if number % 2 else t
        for number, t in enumerate(old)
    ]


def _spliced(old: StepTrace, other: StepTrace, tokens: int) -> StepTrace:
    head = old.steps[: _step_at(old, tokens)]
    steps = np.concatenate([head, other.steps[_step_at(other, int(head.sum())) :]])
    ids = np.where(np.arange(1 + steps.sum()) <= tokens, np.arange(1 + steps.sum()), -1)
    return replace(old, steps=steps, token_ids=ids)


def _step_at(old: StepTrace, token: int) -> int:
    return int(np.searchsorted(np.cumsum(old.steps), token, side="right"))


def _slower_part(old: StepTrace, first: int, last: int) -> StepTrace:
    """The same output with some steps between two tokens split in two."""
    start, end = _step_at(old, first), _step_at(old, last)
    part = replace(old, steps=old.steps[start:end], token_ids=None)
    lost = slower([part], 0.3, seed=start)[0].steps
    return replace(old, steps=np.concatenate([old.steps[:start], lost, old.steps[end:]]))


def test_a_late_loss_is_not_passed_at_a_margin_that_it_exceeds() -> None:
    """The common prefixes lose less than the margin, the whole outputs more."""
    old = run(1, n=400, tokens=120)
    late = diverging([_slower_part(t, 40, 120) for t in old], 50)
    pairs = pair(old, late)
    assert pairs.prefix is not None
    prefix, whole = pairs.prefix.al_ratio().value, pairs.whole.al_ratio().value
    assert whole < prefix - 0.02
    decision = non_inferiority(old, late, margin=1 - (prefix + whole) / 2)
    assert decision.conclusion in (Conclusion.FAIL, Conclusion.UNDECIDED)


def test_a_loss_that_hides_behind_the_prefix_is_caught() -> None:
    old = run(1, n=300, tokens=100)
    late = [
        replace(t, steps=np.concatenate([t.steps[:20], np.ones(int(t.steps[20:].sum()), int)]))
        for t in old
    ]
    decision = non_inferiority(old, diverging(late, 20), margin=0.02)
    assert decision.conclusion is Conclusion.FAIL
    assert decision.carried_by is not None
    assert decision.carried_by.evidence == "whole"


def test_an_early_loss_that_is_made_good_later_does_not_fail() -> None:
    base = run(1, n=60, tokens=100)
    old, new = ([_slower_part(t, *part) for t in base] for part in ((50, 100), (0, 50)))
    decision = non_inferiority(old, diverging(new, 51), margin=0.05)
    assert decision.conclusion is Conclusion.PASS
    seen = decision.findings[0]
    assert seen.evidence == "prefix"
    assert seen.high is not None
    assert seen.high < 0.95


def test_unmatched_samples_are_listed() -> None:
    old = run(1, n=20)
    decision = non_inferiority(old, old[1:], margin=0.02)
    assert (decision.only_old, decision.only_new, decision.n) == (("s0",), (), 19)


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1, float("nan")])
def test_margins_of_nothing_or_everything_are_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=r"margin must lie between 0 and 100%, both excluded"):
        non_inferiority(run(1, 9), run(1, 9), margin=margin)


@pytest.mark.parametrize("field", ["alpha", "fail_alpha", "reach", "healthy_divergence"])
def test_other_arguments_out_of_range_are_named(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Rule(0.02, **{field: 1.5})


def test_zero_decoding_steps_are_no_data() -> None:
    old = [trace(f"s{i}", []) for i in range(9)]
    with pytest.raises(NoData, match="no decoding step"):
        non_inferiority(old, old, margin=0.02)
    with pytest.raises(NoData, match="zero"):
        non_inferiority(run(1, 9), [replace(t, steps=t.steps[:0], token_ids=t.token_ids[:1])
                                    for t in run(1, 9)], margin=0.02)  # type: ignore[index] # fmt: skip


def test_outputs_that_part_at_once_leave_whole_outputs() -> None:
    old = run(1, n=40)
    decision = non_inferiority(old, diverging(old, 0), margin=0.02)
    assert [f.evidence for f in decision.findings] == ["whole"]
    assert decision.divergence_rate == 1


@settings(max_examples=10)
@given(st.integers(0, 100), st.floats(0, 0.3))
def test_bounds_nest_with_alpha(seed: int, share: float) -> None:
    old = run(seed, n=40)
    pairs, scale = pair(old, slower(old, share)), scale_of(old)
    strict, loose = (judge(pairs, scale, Rule(0.05, a)).findings[0] for a in (1e-5, 0.05))
    assert (strict.low or 0) <= (loose.low or 0) <= (loose.high or 9) <= (strict.high or 9)


@settings(max_examples=10)
@given(st.integers(0, 100), st.randoms())
def test_the_decision_does_not_depend_on_the_order_of_samples(seed: int, random: object) -> None:
    old = run(seed, n=30)
    new = slower(old, 0.1)
    mixed = list(new)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    first, second = (non_inferiority(old, n, margin=0.05) for n in (new, mixed))
    assert first.findings == second.findings


def test_the_contrast_has_mean_zero_at_the_true_ratio() -> None:
    old, new = run(1, n=50), run(2, n=50, accept=0.4, tokens=45)
    sums = pair(old, new).whole
    values = contrast(sums, sums.al_ratio().value, micro_al(old).value)
    assert values.sum() == pytest.approx(0, abs=1e-9)


def test_a_short_samples_loss_is_scaled_to_the_longest() -> None:
    old = [trace(f"s{i}", [4] * 5) for i in range(8)]
    new = [trace(f"s{i}", [1] * 20) for i in range(8)]
    prefix = pair(old, new).prefix
    assert prefix is not None
    # 15 steps lost by a sample of 5, less half a step of chance; a gain counts from 2 steps on.
    assert stress(prefix, 100, against_loss=True).tolist() == [14.5 * 100 / 8] * 8
    assert not stress(prefix, 100, against_loss=False).any()
    back = pair(new, old).prefix
    assert back is not None
    assert stress(back, 100, against_loss=False).tolist() == [13 * 100 / 25] * 8


def test_recorded_rebuilds_pass_and_the_real_loss_fails() -> None:
    full = {bs: recorded("eagle3-v49152-dl3", bs) for bs in (32, 128)}
    assert non_inferiority(full[32], full[128], margin=0.02).conclusion is Conclusion.PASS
    cut = recorded("eagle3-v4096-dl3", 32)
    decision = non_inferiority(full[32], cut, margin=0.02, fail_alpha=0.01 / 66)
    assert decision.conclusion is Conclusion.FAIL
    assert "at α = 0.00015" in decision.reason


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.982, None, "lost at most 1.80%"),
        (1.0, None, "gained at least 0.00%"),
        (1.03, None, "gained at least 3.00%"),
        (None, 0.96, "lost at least 4.00%"),
        (None, 1.01, "gained at most 1.00%"),
        (0.97, 1.02, "-3.0% to +2.0%"),
        (None, None, ""),
    ],
)
def test_a_bound_is_a_statement(low: float | None, high: float | None, text: str) -> None:
    assert bound_text(low, high) == text


def test_a_decision_states_the_bound_that_it_rests_on() -> None:
    old = run(1, n=150)
    passed = non_inferiority(old, old, margin=0.05)
    failed = non_inferiority(old, slower(old, 0.3), margin=0.05)
    assert (passed.conclusion, failed.conclusion) == (Conclusion.PASS, Conclusion.FAIL)
    assert passed.shown == (passed.carried_by and passed.carried_by.low, None)
    assert failed.shown == (None, failed.carried_by and failed.carried_by.high)
    few = non_inferiority(old[:40], old[:40], margin=0.02)
    assert few.conclusion is Conclusion.UNDECIDED
    assert few.shown[0] is not None
    assert few.shown[0] < 0.98
