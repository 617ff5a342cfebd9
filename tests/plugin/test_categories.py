"""Categories beside ``all``: they can fail, and are otherwise not gated, with their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.compare.comparison import compare_runs
from pytest_speedbench.compare.verdict import Outcome

from .conftest import Project, text_of

COMPARE = ("--speed-compare", "--speed-compare-fail=acceptance_length:25%")


@pytest.fixture
def saved(project: Project, kept: Path) -> Project:
    """A saved run of 9 samples in each of three categories: enough for the whole alone."""
    project.ini |= {"speed_split": "s.jsonl", "speed_samples": "all", "speed_max_tokens": "24"}
    del project.ini["speed_category"]

    def make() -> None:
        project.split("s.jsonl", 9, "math", "qa", "rag")
        project.gate("bs=8")
        project.run("--benchmark-save=base").assert_outcomes(passed=4)

    project.once(kept / "saved", make)
    return project


def test_a_healthy_session_passes_without_a_warning(saved: Project) -> None:
    result = saved.run(*COMPARE, "--speed-inconclusive=fail", "--speed-summary=s.md")
    result.assert_outcomes(passed=4, warnings=0)
    text = text_of(result)
    assert "gate: 1 pass, 3 not gated" in text
    assert " math 9 " in text
    assert "too few samples to gate each category: math lost at most " in text
    summary = (saved.path / "s.md").read_text()
    assert "not gated, lost at most " in summary
    assert "more samples like these would settle it" in summary


def test_a_category_can_fail(saved: Project) -> None:
    result = saved.run("--speed-compare", "--speed-engine-arg=acceptance.qa=0.0")
    result.assert_outcomes(passed=2, failed=2, warnings=0)
    assert "gate: 2 fail, 2 not gated" in result.stdout.str()
    result.stdout.fnmatch_lines(["FAILED *qa-bs8-dl3*", "FAILED *all-bs8-dl3*"])


@pytest.mark.parametrize(
    ("arguments", "marker"),
    [
        (("--speed-category-verdicts",), "bs=8"),
        ((), "bs=8, category_verdicts=True"),
        ((), "bs=8, category=['math', 'qa', 'rag', 'all']"),
    ],
    ids=["option", "marker", "named"],
)
def test_a_verdict_on_each_where_asked_for(
    saved: Project, arguments: tuple[str, ...], marker: str
) -> None:
    saved.gate(marker)
    result = saved.run(*COMPARE, *arguments)
    result.assert_outcomes(passed=4, warnings=3)
    assert "gate: 1 pass, 3 undecided" in result.stdout.str()


def test_a_category_alone_is_judged_by_itself(saved: Project) -> None:
    result = saved.run(*COMPARE, "-k", "math")
    result.assert_outcomes(passed=1, warnings=1)
    assert "gate: 1 undecided" in result.stdout.str()


def test_open_asserts_of_a_category_are_not_gated_either(saved: Project) -> None:
    saved.gate("bs=8", "assert speed.acceptance_length > 2")
    result = saved.run("--speed-inconclusive=warn")
    result.assert_outcomes(passed=4, warnings=1)  # that of all
    assert "assert: not gated" in text_of(result)


def test_early_decision_does_not_wait_for_categories(saved: Project) -> None:
    result = saved.run("--speed-early", COMPARE[1])
    result.assert_outcomes(passed=4, warnings=0)
    assert "stopped early: decided after" in result.stdout.str()


def test_the_command_judges_categories_as_the_session_did(saved: Project) -> None:
    saved.run(*COMPARE, "--benchmark-save=new")
    old, new = Store(saved.path / ".benchmarks").runs()
    found = compare_runs(old, new, {"acceptance_length": 0.25})
    outcomes = {verdict.case.rpartition(":")[2]: verdict for verdict in found.verdicts}
    assert outcomes["all"].outcome is Outcome.PASS
    assert {outcomes[name].outcome for name in ("math", "qa", "rag")} == {Outcome.NOT_GATED}
    assert {v.reason for v in found.verdicts} == {
        verdict.reason for record in new.records.values() for verdict in record.verdicts
    }
