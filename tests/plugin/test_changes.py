"""A comparison that is not a plain pass names what changed since the baseline."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from pytest_speedbench.baselines.storage import read_run
from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.report.markdown import render_markdown

from .conftest import Project

pytestmark = pytest.mark.usefixtures("plain_figures")

COMPARE = "--speed-compare"
WORSE = ("--speed-engine-arg", "acceptance=0.2")
MANY = (
    "acceptance=0.2",
    "spread=0.4",
    "step_ms=11",
    "draft_ms=2",
    "batch_ms=0.1",
    "tokens=0",
    "build=7",
)


@pytest.fixture
def saved(project: Project, kept: Path) -> Project:
    """A project with one saved run of two categories."""
    project.ini |= {"speed_split": "s.jsonl", "speed_samples": "all", "speed_max_tokens": "24"}

    def make() -> None:
        project.split("s.jsonl", 40, "math", "qa")
        project.gate("bs=8, category=['math', 'qa']")
        project.run("--benchmark-save=base").assert_outcomes(passed=2)

    project.once(kept / "saved", make)
    return project


def changed(text: str) -> list[str]:
    return re.findall(r"changed: (.*)", text)


def test_a_failing_gate_names_the_argument_in_every_report(saved: Project) -> None:
    line = "acceptance: – → 0.2"
    files = ("--speed-summary=out.md", "--speed-report=out.html", "--junitxml=out.xml")
    result = saved.run(COMPARE, *WORSE, *files, "--benchmark-save=worse")
    result.assert_outcomes(failed=2)
    failures, _, summary = result.stdout.str().partition("= speedbench =")
    assert changed(failures) == []
    assert changed(summary)[0] == line
    assert summary.count(f"changed: {line}") == 1  # once for the run
    assert f'name="speedbench_changed" value="{line}"' in (saved.path / "out.xml").read_text()
    markdown = (saved.path / "out.md").read_text()
    assert "### What changed\n\n- acceptance:" in markdown
    page = html.unescape((saved.path / "out.html").read_text())
    assert page.count('<th scope="row">acceptance</th><td><code>–</code></td><td><code>0.2<') == 1
    assert line in html.unescape((saved.path / "out.xml").read_text())
    (first, _) = saved.records()
    assert [(c.field, c.old, c.new) for c in first.changes] == [("acceptance", None, "0.2")]
    again = render_markdown(SessionResults.of_saved_run(read_run(saved.saved[-1])))
    assert "### What changed\n\n- acceptance:" in again


def test_equal_runs_have_nothing_to_name(saved: Project) -> None:
    result = saved.run(COMPARE, "--speed-summary=out.md", "--speed-report=out.html")
    assert changed(result.stdout.str()) == []
    for name in ("out.md", "out.html"):
        text = (saved.path / name).read_text()
        assert "What changed" not in text
        assert "changed: " not in text


def test_a_pass_names_changes_in_the_files_alone(saved: Project) -> None:
    result = saved.run(
        COMPARE,
        "--speed-compare-fail=acceptance_length:25%",
        "--speed-engine-arg",
        "step_ms=11",
        "--speed-summary=out.md",
        "--speed-report=out.html",
    )
    result.assert_outcomes(passed=2)
    assert changed(result.stdout.str()) == []
    assert "- changed: step\\_ms: – → 11" in (saved.path / "out.md").read_text()
    page = (saved.path / "out.html").read_text()
    assert '<th scope="row">step_ms</th>' in page


def test_the_terminal_shows_a_few_and_counts_the_rest(saved: Project) -> None:
    arguments = [word for argument in MANY for word in ("--speed-engine-arg", argument)]
    result = saved.run(COMPARE, *arguments, "--speed-summary=out.md")
    _, _, summary = result.stdout.str().partition("= speedbench =")
    assert len(changed(summary)) == 4
    assert f"… and {len(MANY) - 4} more changes (all in --speed-report=PATH.html)" in summary
    causes = (saved.path / "out.md").read_text().partition("### What changed")[2]
    assert len(re.findall("^- ", causes.partition("<details>")[0], re.M)) == len(MANY)


def test_speculation_off_names_what_switched_it_off(saved: Project) -> None:
    result = saved.run(COMPARE, "--speed-engine-arg", "speculation_off=1")
    result.assert_outcomes(failed=2)
    assert "speculation off" in result.stdout.str()
    assert "speculation_off: – → 1" in changed(result.stdout.str())


def test_an_assertion_that_fails_on_worse_numbers_has_its_causes_in_the_report(
    saved: Project,
) -> None:
    saved.gate("bs=8", body="assert speed.acceptance_length >= 3.9")
    result = saved.run(COMPARE, *WORSE)
    result.assert_outcomes(failed=1)
    assert "acceptance: – → 0.2" in changed(result.stdout.str())


def test_an_environment_that_changed(saved: Project) -> None:
    def older(record: dict) -> None:
        record["engine"]["packages"] = {"torch": "1.0"}
        record["machine"]["driver"] = "570.1"
        record["harness"] = "0.0.1"

    saved.edit(saved.saved[-1], older)
    result = saved.run(COMPARE, *WORSE, "--speed-summary=out.md")
    text = (saved.path / "out.md").read_text()
    assert f"- packages.torch: 1.0 → {installed('torch')}" in text
    assert "- pytest-speedbench: 0.0.1 → " in text
    assert "driver" not in text  # unknown here
    assert result.ret == 1


def installed(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "–"


def test_workers_send_the_changes_to_the_controller(saved: Project) -> None:
    result = saved.run(COMPARE, *WORSE, "-n1", "--speed-summary=out.md")
    _, _, summary = result.stdout.str().partition("= speedbench =")
    assert changed(summary) == ["acceptance: – → 0.2"]
