"""What a session prints of a verdict stands in one place."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_speedbench.cli import app

from .conftest import Project, text_of

WORSE = ("--speed-engine-arg", "acceptance=0.1")


@pytest.fixture
def saved(project: Project, kept: Path) -> Project:
    """One saved run of 40 samples: too few for a verdict on equal runs."""
    project.ini |= {"speed_samples": "40"}

    def make() -> None:
        project.gate("bs=[1, 2]")
        project.run("--benchmark-save=base").assert_outcomes(passed=2)

    project.once(kept / "saved", make)
    return project


def test_an_undecided_case(saved: Project) -> None:
    result = saved.run("--speed-compare")
    text = text_of(result)
    assert text.count("more samples like these would settle it") == 1
    assert len(re.findall(r"undecided, -\d", text)) == 2  # a row of the table each
    warned = result.stdout.str().partition("warnings summary")[2].partition("= speedbench =")[0]
    assert warned.count("SpeedWarning: undecided: acceptance_length: see the section") == 1
    assert warned.count("test_it.py::test_gate[") == 2


def test_where_warnings_are_errors_the_message_has_the_reason(saved: Project) -> None:
    result = saved.run("--speed-compare", "-W", "error::pytest_speedbench.SpeedWarning", "-kbs1")
    result.assert_outcomes(failed=1)
    failure, _, report = text_of(result).partition("= speedbench =")
    assert "acceptance_length: undecided (+0.00%), -" in failure
    assert "would settle it" in failure
    assert "would settle it" not in report


@pytest.mark.parametrize(("style", "above"), [("auto", 2), ("line", 2), ("no", 0)])
def test_a_failure(saved: Project, style: str, above: int) -> None:
    result = saved.run("--speed-compare-fail=acceptance_length:5%", *WORSE, f"--tb={style}")
    result.assert_outcomes(failed=2)
    failures, _, report = text_of(result).partition("= speedbench =")
    reason = "the baseline's text (100% of the tokens) at α = "
    assert failures.count(reason) == above
    assert report.count(reason) == (0 if above else 1)


def test_pytests_short_summary_begins_with_what_was_measured(saved: Project) -> None:
    saved.gate("bs=1", "assert speed.acceptance_length >= 3.9")
    result = saved.run(*WORSE, "--junitxml=out.xml")
    line = "assert acceptance_length >= 3.9: measured "
    assert f"FAILED test_it.py::test_gate[math-bs1-dl3] - {line}" in result.stdout.str()
    xml = (saved.path / "out.xml").read_text()
    assert f'<failure message="{line}' in xml.replace("&gt;", ">")
    saved.gate("bs=1", "speed.assert_no_drift()")
    assert "bs1-dl3] - no soak, so no trend" in saved.run().stdout.str()


def test_an_ascii_terminal_gets_ascii(saved: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "__stdout__", io.TextIOWrapper(io.BytesIO(), "ascii"))
    result = saved.run("--speed-compare-fail=acceptance_length:5%", *WORSE, "-v")
    result.assert_outcomes(failed=2)
    assert [line for line in result.outlines if not line.isascii()] == []
    assert "0/2 cases | starting simulated" in result.stdout.str()
    done = CliRunner().invoke(app, ["compare", str(saved.saved[-1]), str(saved.saved[-1])])
    assert done.output.isascii()
    assert " | eagle3 | DL 3" in done.output
