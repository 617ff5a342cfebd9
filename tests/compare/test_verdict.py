"""What fails, margins by category, and how a case spends its α."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_speedbench.compare.family import Family
from pytest_speedbench.compare.judge import Judge
from pytest_speedbench.compare.verdict import Outcome, Verdict

ALWAYS = {Outcome.FAIL, Outcome.SPECULATION_OFF, Outcome.INCOMPARABLE, Outcome.DEGENERATE}


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


def test_a_verdict_survives_the_way_from_worker_to_controller() -> None:
    verdict = Verdict("c", "m", Outcome.UNDECIDED, "why", 0.9, 0.8, 1.0, 0.02, 0.5, "0001")
    assert Verdict.from_dict(verdict.as_dict()) == verdict


def test_a_verdict_reads_as_metric_outcome_change_and_reason() -> None:
    assert str(Verdict("c", "speedup", Outcome.FAIL, "too slow", 0.9)) == (
        "speedup: fail (-10.00%), too slow"
    )
    gated = Verdict("c", "speedup", Outcome.PASS, "why", 0.9, 0.8, 1.0)
    assert str(gated) == "speedup: pass (-10.00%), 95% interval [-20.00%, +0.00%], why"
    shown = replace(gated, shown_low=0.85)
    assert str(shown) == "speedup: pass (-10.00%), lost at most 15.00%, why"
    assert str(Verdict("c", "speedup", Outcome.NO_BASELINE)) == "speedup: no baseline"


def judge(**margins: float) -> Judge:
    named = {name.replace("__", "/"): margin for name, margin in margins.items()}
    return Judge(named, Family(0.01, 3))


def test_the_margin_of_a_category_comes_before_the_general_one() -> None:
    both = judge(acceptance_length=0.02, acceptance_length__math=0.1)
    assert both.margins_of("ngram", "math") == {"acceptance_length": 0.1}
    assert both.margins_of("ngram", "qa") == {"acceptance_length": 0.02}
    assert judge(acceptance_length__math=0.1).margins_of("ngram", "qa") == {}


def test_a_run_without_sd_has_no_speedup_to_gate() -> None:
    both = judge(speedup=0.05, acceptance_length=0.02)
    assert list(both.margins_of("none", "all")) == ["acceptance_length"]
    assert list(both.margins_of("ngram", "all")) == ["acceptance_length", "speedup"]


def test_comparisons_known_beforehand_come_first() -> None:
    spending = Family(0.06, 1).sequence(["AL", "speedup"])
    assert spending.level("assert") == pytest.approx(0.005)
    assert [spending.level(k) for k in ("AL", "speedup", "assert")] == pytest.approx(
        [0.03, 0.01, 0.005]
    )
