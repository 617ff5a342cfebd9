"""A build whose answers became loops, or empty, does not pass, however well it drafts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pytest_speedbench.baselines.packing import pack_ids
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.degeneration import guard
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.stats.paired_shares import excess_p_value, sign_p_value
from pytest_speedbench.stats.repetition import NGRAM, repeated_share, text_repeats_itself

from .saved_runs import TOKENS, record

Change = Callable[[dict[str, Any]], None]


def changed(share: float, change: Change) -> Record:
    """A record in which the answers of the first samples are other ones."""
    data = record().model_dump(by_alias=True)
    for request in data["requests"][: round(share * len(data["requests"]))]:
        change(request)
    return Record.model_validate(data)


def loop(request: dict[str, Any]) -> None:
    request["ids"] = pack_ids([n % 5 for n in range(TOKENS)])


def late_loop(request: dict[str, Any]) -> None:
    request["ids"] = pack_ids([*range(TOKENS // 2), *[7] * (TOKENS // 2)])


def empty(request: dict[str, Any]) -> None:
    request |= {"tokens": 1, "steps": "", "ids": pack_ids([2]), "finish": "stop"}


def stop_early(request: dict[str, Any]) -> None:
    request |= {"tokens": 12, "steps": "1 " * 10 + "1", "ids": pack_ids(range(12))}


def end(request: dict[str, Any]) -> None:
    request["finish"] = "stop"


def verdict(old: Record, new: Record, cases: int = 1) -> Verdict | None:
    return guard("case", new, Match(old), cases)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (loop, "answers of 24 of 40 samples repeat themselves, of 0 in the baseline"),
        (late_loop, "answers of 24 of 40 samples repeat themselves"),
        (empty, "answers of 24 of 40 samples have at most one token"),
        (stop_early, "outputs have -45% tokens: 0 of 40 samples more, 24 fewer"),
    ],
)
def test_degenerate_answers_are_named(change: Change, words: str) -> None:
    found = verdict(record(), changed(0.6, change))
    assert found is not None
    assert found.outcome is Outcome.DEGENERATE
    assert found.fails("pass", require_baseline=False)
    assert words in found.reason
    assert "α = 0.00025" in found.reason


def test_answers_that_do_not_end_any_more_are_named() -> None:
    found = verdict(changed(0.6, end), record())
    assert found is not None
    assert "answers of 40 of 40 samples are cut by max_tokens, of 16 in" in found.reason


@pytest.mark.parametrize("change", [loop, empty, stop_early])
def test_what_was_so_before_is_no_news(change: Change) -> None:
    assert verdict(changed(0.6, change), changed(0.6, change)) is None
    if change is not stop_early:
        assert verdict(changed(0.6, change), record()) is None or change is empty


def test_a_few_answers_are_chance() -> None:
    assert verdict(record(), changed(0.2, loop)) is None


def test_the_alpha_is_divided_over_the_cases() -> None:
    assert verdict(record(), changed(0.35, loop)) is not None
    assert verdict(record(), changed(0.35, loop), cases=12) is None


def text(*, repeats: bool | None) -> Change:
    """Answers without token ids; None as of versions that did not look at their text."""
    return lambda request: request.update(ids=pack_ids([]), repeats=repeats)


def test_text_without_token_ids_is_judged_by_itself() -> None:
    healthy = changed(1.0, text(repeats=False))
    found = verdict(healthy, changed(1.0, text(repeats=True)))
    assert found is not None
    assert "answers of 40 of 40 samples repeat themselves, of 0 in" in found.reason
    assert verdict(healthy, healthy) is None
    assert verdict(changed(1.0, text(repeats=None)), changed(1.0, text(repeats=True))) is None


def test_nothing_is_said_without_a_baseline_that_fits() -> None:
    assert guard("case", changed(1.0, loop), Match(), 1) is None
    other = Match(record(), incomparable=("model: w2 there",))
    assert guard("case", changed(1.0, loop), other, 1) is None


def test_damaged_answers_cannot_be_compared() -> None:
    def damage(request: dict[str, Any]) -> None:
        request["ids"] = "AAAA"  # no zlib

    found = verdict(changed(0.1, damage), record())
    assert found is not None
    assert found.outcome is Outcome.INCOMPARABLE
    assert "damaged" in found.reason


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_tests_are_those_of_scipy(new: int, old: int) -> None:
    if new + old:
        one = binomtest(new, new + old, alternative="greater").pvalue
        assert excess_p_value(new, old) == pytest.approx(one)
        assert sign_p_value(new, old) == pytest.approx(binomtest(new, new + old).pvalue)


@given(st.lists(st.integers(0, 5), max_size=60))
def test_the_share_is_that_of_repeated_ngrams(ids: list[int]) -> None:
    grams = [tuple(ids[at : at + NGRAM]) for at in range(len(ids) - NGRAM + 1)]
    expected = 1 - len(set(grams)) / len(grams) if grams else 0.0
    assert repeated_share(ids) == pytest.approx(expected)


PROSE = " ".join(f"Boat {n} has {n * n} sails." for n in range(8))


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        (PROSE + "It never did. " * 12, True),
        ("ha" * 100, True),
        ("海" * 200, True),
        (PROSE, False),
        ("no no no no no", False),  # too short for one
        ("", False),
        ("\ud800" * 200, True),  # half of a pair
    ],
)
def test_a_text_is_a_loop_by_its_characters(text: str, loop: bool) -> None:
    assert text_repeats_itself(text) is loop
