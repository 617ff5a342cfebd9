"""Every kind of warning points at a line of the user's: of the test, or where the test begins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Project

# One line each in the file that `Project.gate` writes.
TEST, BODY = 4, 6


def places(result: pytest.RunResult, text: str, kind: str = "SpeedWarning") -> set[str]:
    """file:line of the warnings that begin with ``text``, as pytest's summary shows them."""
    shown = re.findall(rf"^  (\S+):(\d+): {kind}: {text}", result.stdout.str(), re.MULTILINE)
    return {f"{path.rpartition('/')[2]}:{line}" for path, line in shown}


@pytest.fixture
def saved(project: Project, kept: Path) -> Project:
    """One saved run of 8 samples: too few to decide about a margin of 2%."""

    def make() -> None:
        project.gate()
        project.run("--benchmark-save=base").assert_outcomes(passed=1)

    project.once(kept / "saved", make)
    return project


def test_an_undecided_assert(project: Project) -> None:
    project.gate("", "assert speed.acceptance_length >= 2.2")
    assert places(project.run(), "undecided: assert: see") == {f"test_it.py:{BODY}"}


def test_an_undecided_comparison_of_the_test(saved: Project) -> None:
    saved.gate("", "speed.assert_no_regression()")
    result = saved.run()
    assert places(result, "undecided: acceptance_length: see") == {f"test_it.py:{BODY}"}


def test_an_undecided_comparison_of_the_session(saved: Project) -> None:
    result = saved.run("--speed-compare")
    assert places(result, "undecided: acceptance_length: see") == {f"test_it.py:{TEST}"}


def test_a_saved_file_that_is_left_out(saved: Project) -> None:
    saved.saved[-1].with_name("0002_bad.json").write_text("{")
    result = saved.run("--speed-compare")
    assert places(result, "left out as a baseline: ") == {f"test_it.py:{TEST}"}


def test_random_input(project: Project) -> None:
    project.gate("", "speed.output_tps")
    result = project.run("--speed-split=random", speed_category="all", speed_samples="2")
    assert places(result, "speed on random token ids") == {f"test_it.py:{BODY}"}


def test_rows_of_a_split_that_are_left_out(project: Project) -> None:
    good = project.split("s.jsonl", 2).read_text()
    project.file("s.jsonl", good + "{}\n")
    project.gate()
    result = project.run("--speed-split=s.jsonl", "--speed-keep-good")
    assert places(result, r"left out 1 bad row", "SplitWarning") == {f"test_it.py:{TEST}"}
