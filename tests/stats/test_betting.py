"""Bets are valid at any theta, use what AL cannot do, and never reverse a verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.stats import Conclusion, Rule, StepTrace, judge, pair, scale_of
from pytest_speedbench.stats.betting import Bet, Monotone, bets_of, contrast
from pytest_speedbench.stats.bounds import Bound, highest_line, lower_of
from pytest_speedbench.stats.decision import verdict_of
from pytest_speedbench.stats.scale import HIGHEST

from .stats_makers import diverging, run, trace

MARGINS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.45, 0.6, 0.9)
DL = 3


def twos(n: int) -> list[StepTrace]:
    """Samples of 48 steps at AL 2."""
    return [trace(f"s{i}", [2] * 48) for i in range(n)]


def samples_to_pass(margin: float, reach: float) -> int:
    for n in range(8, 300):
        old = twos(n)
        if verdict_of(pair(old, old), scale_of(old), Rule(margin, reach=reach)) is Conclusion.PASS:
            return n
    return 300


def test_identical_runs_need_fewer_samples_at_a_wider_margin() -> None:
    needed = [samples_to_pass(margin, 0.0) for margin in (0.02, 0.05, 0.1, 0.2, 0.3)]
    assert needed == sorted(needed, reverse=True)
    assert needed[2] <= 40
    assert needed[3] <= 17
    assumed = [samples_to_pass(margin, 0.12) for margin in (0.02, 0.1, 0.2)]
    assert assumed == sorted(assumed, reverse=True)
    assert assumed[1:] == needed[2:4]
    assert assumed[0] < needed[0] / 3


def test_a_verdict_names_what_it_assumes() -> None:
    old = twos(60)
    pairs, scale = pair(old, old), scale_of(old)
    assumed, proved = (judge(pairs, scale, Rule(0.02, reach=r)) for r in (0.12, 0.0))
    assert assumed.conclusion is Conclusion.PASS
    assert "assuming that a loss spreads over at least 12% of the samples" in assumed.reason
    assert proved.conclusion is Conclusion.UNDECIDED
    wide = judge(pairs, scale, Rule(0.2))
    assert wide.conclusion is Conclusion.PASS
    assert "assuming" not in wide.reason


STEPS = st.lists(st.integers(1, DL + 1), min_size=1, max_size=30)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[StepTrace], list[StepTrace]]:
    """Random pairs: gains and losses of any size, divergences, unequal lengths."""
    n = draw(st.integers(8, 14))
    times = draw(st.integers(1, 6))  # the same kinds of samples several times: enough for verdicts
    kinds = [(draw(STEPS), draw(STEPS), draw(st.integers(0, 60))) for _ in range(n)]
    same = draw(st.booleans())
    old, new = [], []
    for number, (before, after, at) in enumerate(kinds * times):
        old.append(trace(f"s{number}", before))
        other = _same_length(after, sum(before)) if same else after
        new += diverging([trace(f"s{number}", other)], at)
    return old, new


def _same_length(steps: list[int], tokens: int) -> list[int]:
    found: list[int] = []
    while (left := tokens - sum(found)) > 0:
        found.append(min(left, steps[len(found) % len(steps)]))
    return found


@given(runs(), st.sampled_from([0.0, 0.12, 0.5]), st.sampled_from([0.2, 0.01]), st.booleans())
def test_a_verdict_never_reverses_when_the_margin_grows(
    both: tuple[list[StepTrace], list[StepTrace]], reach: float, alpha: float, swapped: bool
) -> None:
    old, new = both[::-1] if swapped else both
    pairs, scale = pair(old, new), scale_of(old, DL)
    verdicts = [
        verdict_of(pairs, scale, Rule(m, alpha, fail_alpha=alpha / 3, reach=reach)) for m in MARGINS
    ]
    passed = [v in (Conclusion.PASS, Conclusion.IMPROVED) for v in verdicts]
    assert passed == sorted(passed), verdicts
    for gravest in (Conclusion.FAIL, Conclusion.IMPROVED):
        shown = [v is gravest for v in verdicts]
        assert shown == sorted(shown, reverse=True), verdicts


@given(runs(), st.sampled_from([0.0, 0.12]))
def test_capital_is_monotone_and_never_above_the_plain_mixture(
    both: tuple[list[StepTrace], list[StepTrace]], reach: float
) -> None:
    old, new = both
    sums, scale = pair(old, new).whole, scale_of(old)
    for against_loss in (True, False):
        bets = bets_of(Rule(0.02, reach=reach), scale, sums.evidence, against_loss=against_loss)
        none = np.zeros(len(sums.old_steps))
        capital = Monotone(bets, sums, none, scale.al)
        thetas = np.linspace(bets.lowest + 0.01, 3, 40)
        found = np.array([capital.log_capital(float(theta)) for theta in thetas])
        rising = found[::-1] if against_loss else found
        assert (rising[1:] >= rising[:-1] - 1e-9).all()
        for theta, value in zip(thetas, found, strict=True):
            bounds, may_end = bets.bounds(float(theta))
            each = [bet.bound(float(theta)) for bet in bets.bets]
            assert each == list(zip(bounds, may_end, strict=True))
            values = bets.sign * contrast(sums, float(theta), scale.al)
            plain = [bet.path(float(theta), values, none)[-1] for bet in bets.bets]
            assert value <= np.logaddexp.reduce(plain) + 1e-9


@given(STEPS, STEPS, st.integers(0, 80), st.floats(0.5, 3))
def test_no_sample_exceeds_its_bound(
    before: list[int], after: list[int], at: int, theta: float
) -> None:
    old = [trace(steps=before)]
    new = diverging([trace(steps=_same_length(after, sum(before)))], at)
    pairs, scale = pair(old, new), scale_of(old, DL)
    assert pairs.prefix is not None
    for sums in (pairs.whole, pairs.prefix):
        value = float(contrast(sums, theta, scale.al)[0])
        if theta >= scale.lowest:
            assert value >= -scale.most_lost(sums.evidence).at(theta) - 1e-9
        assert value <= scale.most_saved(sums.evidence).at(min(theta, 1.0)) + 1e-9 or theta > 1


def test_a_bet_with_an_assumption_ends_for_good() -> None:
    flat = [Bound(np.array([0.0, HIGHEST]), np.full(2, value)) for value in (8.0, 1.0)]
    calm, upset, none = np.zeros(3), np.array([0.0, 2.0, 0.0]), np.zeros(3)
    bet = Bet(flat[0], flat[1], 1.0, np.log(0.5))
    assert bet.path(1.0, none, calm)[-1] == pytest.approx(np.log(0.5))
    assert np.isneginf(bet.path(1.0, none, upset)[-1])
    sure = Bet(flat[0], flat[1], np.inf, 0.0)
    assert sure.path(1.0, np.array([4.0, -2.0]), np.array([9.0, 9.0]))[-1] == pytest.approx(
        np.log(1.5 * 0.75)
    )


@given(
    st.lists(st.tuples(st.integers(-50, 50), st.floats(-50, 50)), max_size=12), st.floats(0.1, 10)
)
def test_the_envelope_is_the_highest_line(lines: list[tuple[float, float]], floor: float) -> None:
    bound = highest_line(lines, floor=floor, start=0.5, end=4.0)
    for theta in np.linspace(0.5, 4.0, 30):
        highest = max([floor, *(slope * theta + offset for slope, offset in lines)])
        assert bound.at(float(theta)) == pytest.approx(highest, rel=1e-6, abs=1e-6)


def test_the_lower_of_two_bounds_has_a_knot_where_they_cross() -> None:
    up, flat = (Bound(np.array([0.0, 1.0]), np.array(v)) for v in ([1.0, 3.0], [2.0, 2.0]))
    low = lower_of(up, flat)
    assert low.knots.tolist() == [0.0, 0.5, 1.0]
    assert low.values.tolist() == [1.0, 2.0, 2.0]


def test_capital_of_a_fair_game_rarely_grows_a_hundredfold() -> None:
    """Losses of exactly the margin, few and as large as they can be, looked at every sample."""
    rng = np.random.default_rng(0)
    steps, tokens, theta, wrong = 24.0, 48.0, 0.9, 0
    share = steps * (1 - theta) / (theta * (tokens - steps))  # of samples that lose all drafts
    old = [trace(f"s{i}", [2] * 24) for i in range(200)]
    scale = scale_of(old)
    sums = pair(old, old).prefix
    assert sums is not None
    bet = bets_of(Rule(0.1, reach=0.0), scale, sums.evidence, against_loss=True).bets[0]
    for _ in range(2000):
        extra = (tokens - steps) * (rng.random(200) < share)
        values = contrast(replace(sums, new_steps=sums.old_steps + extra), theta, scale.al)
        wrong += bet.path(theta, values, np.zeros(200)).max() >= np.log(100)
    assert wrong <= 33  # of 2000 at 1%: exceeded by chance with a probability below 0.003


def test_plain_runs_keep_their_order() -> None:
    old = run(1, n=60)
    assert verdict_of(pair(old, old), scale_of(old), Rule(0.2)) is Conclusion.PASS
