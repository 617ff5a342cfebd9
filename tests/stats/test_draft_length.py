"""The best draft length: the set that cannot be told apart, and predictions from one run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.draft_length import (
    Arm,
    best_draft_length,
    best_of_arms,
    predicted_al,
    predicted_speedup,
)

FLAT = (100.0, 102.0, 98.0, 101.0, 99.0)


def scaled(factor: float, noise: float = 0.001) -> list[float]:
    signs = (1, -1, 1, -1, 1)
    return [tps * factor * (1 + noise * sign) for tps, sign in zip(FLAT, signs, strict=True)]


def test_a_clear_winner_stands_alone() -> None:
    found = best_draft_length({0: FLAT, 1: scaled(1.2), 3: scaled(1.5), 5: scaled(1.3)})
    assert (found.value, found.candidates) == (3, (3,))
    assert found.speedup[3] == pytest.approx(1.5, rel=0.01)
    assert 3 in found
    assert 5 not in found
    assert str(found) == "DL 3"


def test_what_cannot_be_told_apart_is_a_set() -> None:
    found = best_draft_length({0: FLAT, 3: scaled(1.5, 0.05), 5: scaled(1.55, -0.05)})
    assert found.candidates == (3, 5)
    assert str(found) == "DL 5, tied with DL 3"


def test_no_speculation_takes_part() -> None:
    found = best_draft_length({0: FLAT, 3: scaled(0.8)})
    assert (found.value, str(found)) == (0, "no SD")


def test_few_or_unpaired_rounds_show_nothing() -> None:
    arms = {0: FLAT[:2], 3: scaled(2.0)[:2]}
    assert best_draft_length(arms).candidates == (0, 3)
    assert best_draft_length({0: FLAT, 3: scaled(2.0)}, paired=False).candidates == (0, 3)


def test_arms_that_took_turns_share_their_rounds_without_speculation() -> None:
    together = {dl: Arm(tuple(scaled(1 + dl / 10)), FLAT) for dl in (1, 3)}
    assert best_of_arms(together).candidates == (3,)
    apart = together | {3: Arm(tuple(scaled(1.3)), tuple(scaled(1.0)))}
    assert best_of_arms(apart).candidates == (0, 1, 3)


def test_the_best_is_lost_rarely() -> None:
    """P(the truly best is not a candidate) is at most 5%."""
    rng = np.random.default_rng(0)
    trials = 2000
    lost = 0
    for _ in range(trials):
        tps = {dl: np.exp(rng.normal(0, 0.05, 5)).tolist() for dl in (1, 3, 5)}
        lost += 3 not in best_draft_length(tps)
    assert lost / trials < 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


@given(st.floats(0, 1), st.integers(1, 8))
def test_equal_acceptance_gives_leviathans_formula(alpha: float, length: int) -> None:
    expected = length + 1 if alpha == 1 else (1 - alpha ** (length + 1)) / (1 - alpha)
    assert predicted_al([alpha] * length, length) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_the_longest_length_is_predicted_as_it_was_measured(acceptance: list[float]) -> None:
    longest = len(acceptance)
    al = predicted_al(acceptance, longest)
    assert predicted_speedup(acceptance, longest, 1.4) == pytest.approx(al / 1.4)


def test_a_position_without_a_draft_ends_the_prediction() -> None:
    assert predicted_al([0.5, None, 0.9], 3) == 1.5


@pytest.mark.parametrize(
    ("tps", "error", "message"),
    [
        ({3: FLAT}, NoData, "at least two"),
        ({0: FLAT, 3: ()}, NoData, "draft length 3: no round"),
        ({0: FLAT, 3: FLAT[:3]}, ValueError, "different numbers of rounds"),
        ({0: FLAT, 3: [0.0] * 5}, ValueError, "positive and finite"),
    ],
)
def test_what_cannot_be_compared(
    tps: dict[int, list[float]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        best_draft_length(tps)


def test_no_prediction_beyond_what_was_measured() -> None:
    with pytest.raises(ValueError, match="up to position 3, not 4"):
        predicted_al([0.5] * 3, 4)
