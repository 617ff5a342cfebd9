"""The headline: the worst outcome, or the numbers where nothing was compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.report.headline import headline_of
from tests.report.conftest import estimate, record, result

CATEGORIES = ("coding", "math", "qa")


@pytest.mark.parametrize(
    ("outcomes", "title", "tone"),
    [
        ((Outcome.PASS,), "No regression", "good"),
        ((Outcome.PASS, Outcome.IMPROVED), "No regression, some improved", "good"),
        ((Outcome.IMPROVED,), "Improved", "good"),
        ((Outcome.PASS, Outcome.NO_BASELINE), "No regression", "good"),
        ((Outcome.PASS, Outcome.UNDECIDED), "Undecided", "open"),
        ((Outcome.PASS, Outcome.FAIL), "Regression", "bad"),
        ((Outcome.PASS, Outcome.INCOMPARABLE), "Incomparable with the baseline", "bad"),
        ((Outcome.FAIL, Outcome.SPECULATION_OFF), "Speculation is off", "bad"),
        ((Outcome.NO_BASELINE,), "AL 2.50, 1.40x", "plain"),
        ((Outcome.NOT_GATED,), "AL 2.50, 1.40x", "plain"),
    ],
)
def test_the_worst_outcome(outcomes: tuple[Outcome, ...], title: str, tone: str) -> None:
    cases = [
        result(record(name), outcome) for name, outcome in zip(CATEGORIES, outcomes, strict=False)
    ]
    headline = headline_of(SessionResults(cases, comparing=True))
    assert (headline.title, headline.tone) == (title, tone)
    assert dict(headline.counts) == dict.fromkeys(outcomes, 1)


def test_an_assert_that_failed_is_no_regression() -> None:
    failed = result(record(), Outcome.PASS)
    failed.add(replace(failed.verdicts[0], metric="assert", outcome=Outcome.FAIL))
    assert headline_of(SessionResults([failed])).title == "Failed: assert"
    worse = result(record("qa"), Outcome.FAIL)
    assert headline_of(SessionResults([failed, worse])).title == "Regression"


@pytest.mark.parametrize(("outcome", "named"), [(Outcome.PASS, "all"), (Outcome.FAIL, "qa")])
def test_the_sentence_is_about_the_whole_split_unless_a_category_fails(
    outcome: Outcome, named: str
) -> None:
    cases = [result(record(name), outcome) for name in ("qa", "all")]
    cases[0].verdicts = [replace(cases[0].verdicts[0], ratio=0.9)]
    assert headline_of(SessionResults(cases)).text.startswith(f"{named}, vllm · m")


def test_what_cannot_be_compared_says_why_in_place_of_numbers() -> None:
    reason = "sampling: max_tokens 64 there, max_tokens 32 here"
    case = result(record("all"), Outcome.INCOMPARABLE, reason=reason, baseline=record("all"))
    assert headline_of(SessionResults([case])).text.endswith(f"BS 1: {reason}.")


def test_a_run_without_a_baseline_is_its_numbers() -> None:
    headline = headline_of(SessionResults([result(record())]))
    assert headline.title == "AL 2.50, 1.40x"
    assert "--speed-compare" in headline.text


def test_several_runs_are_a_range_and_the_fastest() -> None:
    slow = record(dl=5, metrics={"speedup": estimate(0.57), "acceptance_length": estimate(1.98)})
    plain = record(dl=0, method="none", metrics={"acceptance_length": estimate(1.0)})
    headline = headline_of(SessionResults([result(record()), result(slow), result(plain)]))
    assert headline.title == "AL 1.98 to 2.50, 0.57x to 1.40x"
    assert headline.text.startswith("Highest speedup: 1.40x, vllm · m · eagle3 · DL 3")


def test_the_sentence_has_old_and_new() -> None:
    old = record(metrics={"acceptance_length": estimate(2.7), "speedup": estimate(1.6)})
    cases = [
        result(record("qa"), Outcome.PASS),
        result(record("math"), Outcome.FAIL, baseline=old),
    ]
    text = headline_of(SessionResults(cases)).text
    assert text == (
        "math, vllm · m · eagle3 · DL 3 · head · BS 1: AL 2.70 → 2.50 (-1.00%), "
        "speedup 1.60x → 1.40x [1.30, 1.50]."
    )


def test_the_speedup_of_another_machine_is_not_the_old_one() -> None:
    machine = {"fingerprint": "f2", "cpu": "CPU", "cores": 2, "memory_gib": 8}
    old = record(metrics={"speedup": estimate(1.6)}, machine=machine)
    text = headline_of(SessionResults([result(record(), Outcome.FAIL, baseline=old)])).text
    assert "speedup 1.40x" in text


def test_baselines_that_fit_no_case() -> None:
    headline = headline_of(SessionResults([result(record())], failure="0 of 1 compared: why"))
    assert (headline.title, headline.text) == ("Nothing could be compared", "0 of 1 compared: why")


def test_nothing_measured() -> None:
    assert headline_of(SessionResults()).title == "Nothing was measured"


def test_a_case_counts_once_by_its_worst_verdict() -> None:
    case = result(record("math"), Outcome.FAIL)
    case.add(Verdict("c", "speedup", Outcome.NOT_GATED))
    other = result(record("qa"), Outcome.PASS)
    other.add(Verdict("c", "assert", Outcome.UNDECIDED))
    found = headline_of(SessionResults([case, other]))
    assert found.counts == ((Outcome.FAIL, 1), (Outcome.UNDECIDED, 1))
