"""What fails, in one table; and margins by category."""

from __future__ import annotations

import pytest

from pytest_speedbench.gates.outcome import Outcome, Word
from pytest_speedbench.gates.regression import margin_for

ALWAYS = {Word.FAIL, Word.SPECULATION_OFF, Word.INCOMPARABLE}


@pytest.mark.parametrize("word", list(Word))
@pytest.mark.parametrize("inconclusive", ["pass", "warn", "fail"])
@pytest.mark.parametrize("required", [False, True])
def test_what_fails(word: Word, inconclusive: str, required: bool) -> None:
    fails = (
        word in ALWAYS
        or (word is Word.NO_BASELINE and required)
        or (word is Word.UNDECIDED and inconclusive == "fail")
    )
    assert Outcome("case", "acceptance_length", word).fails(inconclusive, required) is fails


def test_an_outcome_survives_the_way_from_worker_to_controller() -> None:
    outcome = Outcome("c", "m", Word.UNDECIDED, "why", 0.9, 0.8, 1.0, 0.02, 0.5, "0001")
    assert Outcome.from_dict(outcome.as_dict()) == outcome


def test_an_outcome_reads_as_metric_word_change_and_reason() -> None:
    assert str(Outcome("c", "speedup", Word.FAIL, "too slow", 0.9)) == (
        "speedup: fail (-10.0%), too slow"
    )
    assert str(Outcome("c", "speedup", Word.NO_BASELINE)) == "speedup: no baseline"


def test_a_categorys_own_margin_goes_before_the_general_one() -> None:
    margins = {"acceptance_length": 0.02, "acceptance_length/math": 0.1}
    assert margin_for(margins, "acceptance_length", "math") == 0.1
    assert margin_for(margins, "acceptance_length", "qa") == 0.02
    assert margin_for({"acceptance_length/math": 0.1}, "acceptance_length", "qa") is None
