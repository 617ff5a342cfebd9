"""Error rates of timing: sessions, starts and blocks of rounds are the units."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pytest_speedbench.stats import Conclusion, NoData
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.timing import (
    Spread,
    against_sessions,
    block_means,
    correlation_limit,
    side_by_side,
    start_spread,
    units_needed,
    within_session,
)

SD = 0.004
Session = list[float]


def rounds(rng: np.random.Generator, n: int, phi: float = 0.0, offset: float = 0.0) -> Session:
    """Tokens/s of a first-order autoregressive process around 100."""
    values = rng.normal(size=n)
    for k in range(1, n):
        values[k] = phi * values[k - 1] + (1 - phi**2) ** 0.5 * values[k]
    return (100 * np.exp(offset + SD * values)).tolist()


def history(
    rng: np.random.Generator, sessions: int, ratio: float, phi: float, n: int = 5
) -> dict[str, list[Session]]:
    """Three cases whose sessions share half of their offset."""
    shared = SD * ratio * rng.normal(size=sessions)
    own = SD * ratio * rng.normal(size=(3, sessions))
    return {
        str(case): [
            rounds(rng, n, phi, (shared[s] + own[case, s]) / 2**0.5) for s in range(sessions)
        ]
        for case in range(3)
    }


@pytest.mark.parametrize("phi", [0.0, 0.8])
@pytest.mark.parametrize("ratio", [0.0, 1.0, 2.0])
def test_a_loss_of_the_margin_is_rarely_passed_or_failed(ratio: float, phi: float) -> None:
    rng, margin, seen = np.random.default_rng(0), 0.03, Counter[Conclusion]()
    for _ in range(150):
        runs = history(rng, 5, ratio, phi)
        new = [(1 - margin) * tps for tps in runs["0"][-1]]
        earlier = {case: sessions[:-1] for case, sessions in runs.items()}
        decision = against_sessions(earlier, new, "0", margin=margin, alpha=0.05)
        seen[decision.conclusion] += 1
    assert seen[Conclusion.PASS] <= 15  # of 150 at 5%: above with a probability of 0.5%
    assert seen[Conclusion.FAIL] <= 15


def test_stored_sessions_decide_clear_cases() -> None:
    rng = np.random.default_rng(1)
    runs = history(rng, 9, 1.0, 0.0)
    earlier = {case: sessions[:-1] for case, sessions in runs.items()}
    for factor, verdict in ((1.0, "pass"), (0.8, "fail"), (1.2, "improved")):
        new = [factor * tps for tps in runs["1"][-1]]
        decision = against_sessions(earlier, new, "1", margin=0.05, alpha=0.01)
        assert decision.conclusion == verdict
        assert (decision.unit, decision.ratio.n) == ("session", 8)
        assert decision.ratio.value == pytest.approx(factor, rel=0.03)


def test_too_few_sessions_are_not_gated_and_the_number_needed_is_named() -> None:
    rng = np.random.default_rng(2)
    runs = history(rng, 3, 1.0, 0.0)
    earlier = {case: sessions[:2] for case, sessions in runs.items()}
    with pytest.raises(NoData, match=r"2 earlier sessions .* at least 3, for this margin about \d"):
        against_sessions(earlier, runs["0"][2], "0", margin=0.05, alpha=0.01)
    with pytest.raises(NoData, match="0 earlier sessions"):
        against_sessions({}, runs["0"][2], "0", margin=0.05, alpha=0.01)
    with pytest.raises(NoData, match="without timed rounds"):
        against_sessions(earlier, [], "0", margin=0.05, alpha=0.01)


def test_a_variance_that_came_out_small_by_luck_does_not_decide() -> None:
    rng = np.random.default_rng(3)
    runs = history(rng, 4, 2.0, 0.0)
    equal = [runs["0"][0]] * 3
    alone = against_sessions({"0": equal}, runs["0"][3], "0", margin=0.02, alpha=0.01)
    earlier = {"0": equal, "1": runs["1"][:3], "2": runs["2"][:3]}
    pooled = against_sessions(earlier, runs["0"][3], "0", margin=0.02, alpha=0.01)
    assert pooled.low < alone.low
    assert pooled.conclusion is Conclusion.UNDECIDED


def test_the_units_needed_are_enough() -> None:
    needed = units_needed(SD**2, 0.02, 0.01, earlier=True)
    assert needed is not None
    rng, passed = np.random.default_rng(4), 0
    for _ in range(200):
        runs = {"0": [[100 * float(np.exp(SD * rng.normal()))] for _ in range(needed + 1)]}
        earlier = {"0": runs["0"][:-1]}
        decision = against_sessions(earlier, runs["0"][-1], "0", margin=0.02, alpha=0.01)
        passed += decision.conclusion is Conclusion.PASS
    assert passed >= 170
    assert units_needed(1.0, 0.01, 0.01, earlier=True) is None


# -- starts ------------------------------------------------------------------------------------


def starts(rng: np.random.Generator, pairs: int, offset: float) -> list[tuple[Session, Session]]:
    return [
        (rounds(rng, 5, 0.0, a), rounds(rng, 5, 0.0, b))
        for a, b in offset * rng.normal(size=(pairs, 2))
    ]


def test_the_spread_between_starts_is_that_of_the_process() -> None:
    known = start_spread(starts(np.random.default_rng(5), 400, 0.01))
    assert known.df == 400
    assert known.variance == pytest.approx(2 * (0.01**2 + SD**2 / 5), rel=0.2)


@pytest.mark.parametrize("pairs", [1, 4])
def test_an_offset_of_a_start_is_no_change_of_speed(pairs: int) -> None:
    rng, seen = np.random.default_rng(6), Counter[Conclusion]()
    known = start_spread(starts(rng, 40, 0.01))
    for _ in range(200):
        measured = [(a, [0.97 * x for x in b]) for a, b in starts(rng, pairs, 0.01)]
        decision = side_by_side(measured, margin=0.03, alpha=0.05, known=known)
        seen[decision.conclusion] += 1
    assert seen[Conclusion.PASS] <= 19
    assert seen[Conclusion.FAIL] <= 19


def test_one_pair_of_starts_says_nothing_by_itself() -> None:
    rng = np.random.default_rng(7)
    with pytest.raises(NoData, match="1 start of each build: processes of one build differ too"):
        side_by_side(starts(rng, 1, 0.0), margin=0.02, alpha=0.01)
    with pytest.raises(NoData, match="no rounds in common"):
        side_by_side([], margin=0.02, alpha=0.01)
    with pytest.raises(NoData, match="no pairs of starts"):
        start_spread([])
    sure = side_by_side(starts(rng, 1, 0.0), margin=0.05, alpha=0.01, known=Spread(SD**2, 40))
    assert sure.conclusion is Conclusion.PASS


# -- rounds ------------------------------------------------------------------------------------


def test_rounds_that_depend_on_one_another_are_grouped() -> None:
    rng = np.random.default_rng(8)
    free, bound = (np.log(rounds(rng, 200, phi)) for phi in (0.0, 0.8))
    assert len(block_means(bound)) < len(block_means(free)) / 3
    assert correlation_limit(free) < 0.3 < 0.7 < correlation_limit(bound)
    assert block_means(free[:120]).mean() == pytest.approx(free.mean(), abs=SD)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_dependent_rounds_keep_the_error_rates(phi: float) -> None:
    rng, seen = np.random.default_rng(9), Counter[Conclusion]()
    for _ in range(200):
        old, new = rounds(rng, 40, phi), [0.98 * x for x in rounds(rng, 40, phi)]
        try:
            decision = within_session(old, new, margin=0.02, alpha=0.05)
        except NoData:
            continue
        seen[decision.conclusion] += 1
    assert seen[Conclusion.PASS] <= 19
    assert seen[Conclusion.FAIL] <= 19


def test_enough_free_rounds_decide() -> None:
    rng = np.random.default_rng(10)
    old, new = rounds(rng, 40), rounds(rng, 40)
    assert within_session(old, new, margin=0.02, alpha=0.01).conclusion is Conclusion.PASS
    slow = [0.9 * x for x in new]
    assert within_session(old, slow, margin=0.02, alpha=0.01).conclusion is Conclusion.FAIL


def test_rounds_that_cannot_be_grouped_are_no_data() -> None:
    drift: Floats = np.linspace(0, 1, 12)
    with pytest.raises(NoData, match="12 rounds may depend on one another too much: at least"):
        block_means(drift)
    with pytest.raises(NoData, match="2 rounds; at least 10"):
        block_means(drift[:2])
    with pytest.raises(NoData, match="3 rounds of one arm, 2 of the other"):
        within_session([1.0] * 3, [1.0] * 2, margin=0.02, alpha=0.01)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_speeds_must_be_positive_and_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="round 2: must be positive and finite"):
        within_session([1.0, bad, 1.0], [1.0] * 3, margin=0.02, alpha=0.01)


@pytest.mark.parametrize(("margin", "alpha"), [(0.0, 0.01), (1.0, 0.01), (0.02, 0.0), (0.02, 0.5)])
def test_margins_and_levels_have_ranges(margin: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and"):
        side_by_side([([1.0], [1.1]), ([1.0], [1.0]), ([1.0], [0.9])], margin=margin, alpha=alpha)
