"""A build whose answers became loops, in whole sessions: AL is as before, and the session fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_speedbench.cli import app

from .conftest import Project, text_of

MANY = {"speed_samples": "40", "speed_max_tokens": "64"}
LOOPS = ("--speed-engine-arg", "loops=0.7")


@pytest.fixture
def healthy(project: Project, kept: Path) -> Project:
    """With a saved run of good answers."""

    def make() -> None:
        project.split("prompts.jsonl", 40)
        project.gate("split='prompts.jsonl'")
        project.run("--benchmark-autosave", **MANY).assert_outcomes(passed=1)

    project.once(kept / "healthy", make)
    return project


def test_loops_fail_a_session_whose_al_is_as_before(healthy: Project) -> None:
    result = healthy.run("--speed-compare", *LOOPS, "--benchmark-autosave", **MANY)
    result.assert_outcomes(failed=1)
    text = text_of(result)
    assert "output: degenerate" in text
    assert "of 40 samples repeat themselves, of 0 in the baseline" in text
    outcomes = {v.metric: v.outcome for v in healthy.records()[0].verdicts}
    assert outcomes["output"] == "degenerate"
    assert outcomes["acceptance_length"] != "fail"
    old, new = healthy.saved
    command = CliRunner().invoke(app, ["compare", str(old), str(new)])
    assert command.exit_code == 1
    assert "output: degenerate" in command.output


def test_a_run_with_loops_is_no_baseline(healthy: Project) -> None:
    healthy.run("--speed-compare", *LOOPS, "--benchmark-autosave", **MANY)
    result = healthy.run("--speed-compare", *LOOPS, **MANY)
    assert "output: degenerate" in text_of(result)


def test_an_assert_of_the_test_guards_its_answers_too(healthy: Project) -> None:
    healthy.gate("split='prompts.jsonl'", body="speed.assert_no_regression()")
    result = healthy.run(*LOOPS, **MANY)
    assert result.ret == 1
    assert "output: degenerate" in text_of(result)


def test_without_a_baseline_empty_answers_are_noted(project: Project) -> None:
    project.split("prompts.jsonl", 40)
    project.gate("split='prompts.jsonl'")
    result = project.run("--speed-engine-arg", "empties=0.5", **MANY)
    result.assert_outcomes(passed=1)
    assert "of 40 answers have at most one token, and no part in AL" in text_of(result)


def test_without_a_baseline_the_loops_are_noted(project: Project) -> None:
    project.split("prompts.jsonl", 40)
    project.gate("split='prompts.jsonl'")
    result = project.run(*LOOPS, **MANY)
    result.assert_outcomes(passed=1)
    assert "of 40 answers repeat themselves: their AL is that of loops" in text_of(result)
