"""What fails, in one table; and margins by category."""

from __future__ import annotations

import pytest

from pytest_speedbench.compare.gate import margin_for
from pytest_speedbench.compare.verdict import Outcome, Verdict

ALWAYS = {Outcome.FAIL, Outcome.SPECULATION_OFF, Outcome.INCOMPARABLE}


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("inconclusive", ["pass", "warn", "fail"])
@pytest.mark.parametrize("required", [False, True])
def test_what_fails(outcome: Outcome, inconclusive: str, required: bool) -> None:
    fails = (
        outcome in ALWAYS
        or (outcome is Outcome.NO_BASELINE and required)
        or (outcome is Outcome.UNDECIDED and inconclusive == "fail")
    )
    assert Verdict("case", "acceptance_length", outcome).fails(inconclusive, required) is fails


def test_an_verdict_survives_the_way_from_worker_to_controller() -> None:
    verdict = Verdict("c", "m", Outcome.UNDECIDED, "why", 0.9, 0.8, 1.0, 0.02, 0.5, "0001")
    assert Verdict.from_dict(verdict.as_dict()) == verdict


def test_an_verdict_reads_as_metric_word_change_and_reason() -> None:
    assert str(Verdict("c", "speedup", Outcome.FAIL, "too slow", 0.9)) == (
        "speedup: fail (-10.0%), too slow"
    )
    assert str(Verdict("c", "speedup", Outcome.NO_BASELINE)) == "speedup: no baseline"


def test_a_categorys_own_margin_goes_before_the_general_one() -> None:
    margins = {"acceptance_length": 0.02, "acceptance_length/math": 0.1}
    assert margin_for(margins, "acceptance_length", "math") == 0.1
    assert margin_for(margins, "acceptance_length", "qa") == 0.02
    assert margin_for({"acceptance_length/math": 0.1}, "acceptance_length", "qa") is None
