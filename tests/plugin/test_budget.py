"""The cost of a session before it starts, and a budget of time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_speedbench.plan.soak import parse_duration
from pytest_speedbench.session.cost import Cost, duration

from .conftest import Project, text_of

COMPARE = "--speed-compare"


@pytest.fixture
def saved(project: Project, kept: Path) -> Project:
    """A project with a saved run of 40 samples in each of two categories, timed."""
    project.ini |= {"speed_split": "s.jsonl", "speed_samples": "all", "speed_rounds": "2"}

    def make() -> None:
        project.split("s.jsonl", 40, "math", "qa")
        project.gate("bs=8, category='all'")
        project.run("--benchmark-save=base").assert_outcomes(passed=1)

    project.once(kept / "saved", make)
    return project


def test_the_cost_is_known_before_the_first_test(saved: Project) -> None:
    result = saved.run(COMPARE)
    before = text_of(result).partition("test_it.py")[0]
    # 80 samples over 2 rounds, with and without SD, at most 16 tokens each
    assert "speedbench: 160 requests in 2 rounds, at most 2,560 output tokens; about " in before
    assert " at the speed of 0001" in before


def test_a_budget_takes_the_samples_that_fit(saved: Project) -> None:
    (record,) = saved.records()
    rounds = [*record.rounds, *record.reference_rounds]
    half = sum(r.seconds for r in rounds) / 2
    result = saved.run(COMPARE, f"--speed-budget={half:.3f}s", "--benchmark-save=half")
    (line,) = [text for text in result.outlines if "--speed-budget" in text]
    found = re.search(r"at most (\d+) samples of each category", line)
    assert found is not None
    assert 12 <= int(found[1]) <= 22
    assert len({request.sample for request in saved.records()[0].requests}) == 2 * int(found[1])
    assert "a pass within 2% needs" in result.stdout.str()


def test_a_budget_that_is_too_small_is_one_error(saved: Project) -> None:
    result = saved.run(COMPARE, "--speed-budget=0.001s")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--speed-budget 1 s: one sample of each category takes about *give more, or choose*"]
    )


def test_a_budget_needs_a_saved_run(project: Project) -> None:
    project.gate()
    result = project.run("--speed-budget=5m")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--speed-budget 5.0 min: no saved run says how fast*"])


def test_durations() -> None:
    assert [parse_duration(text) for text in ("90s", "20m", "1.5h", 30)] == [90, 1200, 5400, 30]
    for wrong in ("", "20 minutes", "0s", -1, True, 10**400, "9" * 400 + "h"):
        with pytest.raises(ValueError, match="expected a time such as"):
            parse_duration(wrong)
    shown = {0.2: "1 s", 59: "59 s", 95: "1.6 min", 5400: "1.5 h"}
    assert {seconds: duration(seconds) for seconds in shown} == shown


def test_a_cost_without_a_saved_run_says_so() -> None:
    text = str(Cost(1, 16, None))
    assert text.startswith("1 request, at most 16 output tokens; the time is unknown")
