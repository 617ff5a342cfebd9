"""Files and properties that a run leaves for others to read."""

from __future__ import annotations

import html
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from .conftest import Project

ESCAPE = "\x1b[31mRED\x1b]0;title\x07"


def test_markdown_summary(project: Project) -> None:
    project.gate("category=['math', 'qa']")
    project.run("--speed-summary=out.md", "--speed-compare").assert_outcomes(passed=2)
    text = (project.path / "out.md").read_text()
    assert "<summary>simulated · org/model · eagle3 · DL 3 · BS 1</summary>" in text
    assert "| math | 8 | " in text
    assert "| no baseline |" in text


def test_the_summary_of_a_step_of_github_actions_is_appended_to(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.gate()
    project.file("step.md", "before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "step.md"))
    project.run()
    project.run()
    text = (project.path / "step.md").read_text()
    assert text.startswith("before\n## Speculative decoding: AL ")
    assert text.count("## Speculative decoding: ") == 2


def test_html_report(project: Project) -> None:
    project.gate("category=['math', 'qa']")
    project.run("--speed-report=out.html").assert_outcomes(passed=2)
    text = (project.path / "out.html").read_text()
    assert "<html" in text
    assert "math" in text


def test_report_files_may_be_named_in_the_ini_file(project: Project) -> None:
    project.gate()
    project.run(speed_summary="out.md")
    assert (project.path / "out.md").exists()


def test_folders_of_a_report_are_made(project: Project) -> None:
    project.gate()
    project.run("--speed-summary=a/b/out.md")
    assert (project.path / "a" / "b" / "out.md").exists()


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_report_that_cannot_be_written_is_refused_before_measuring(
    project: Project, workers: tuple[str, ...]
) -> None:
    project.gate()
    project.file("taken", "")
    result = project.run("--speed-summary=taken/out.md", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines if "no file can be written there" in line]
    assert len(errors) == 1
    assert errors[0].startswith("ERROR: --speed-summary=taken/out.md: ")
    assert "no tests ran" in result.outlines[-1]


def test_a_report_whose_place_is_taken_while_measuring_is_named(project: Project) -> None:
    project.gate(body="import os; os.mkdir('out.md'); assert speed.acceptance_length >= 1")
    result = project.run("--speed-summary=out.md")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["cannot write out.md: *"])


def test_junit_property_tells_the_word(project: Project) -> None:
    project.gate()
    project.run("--junitxml=out.xml", "--speed-compare")
    tree = ElementTree.parse(project.path / "out.xml")
    properties = [(p.get("name"), p.get("value")) for p in tree.iter("property")]
    assert ("speedbench", "acceptance_length: no baseline") in properties
    reasons = dict(properties).get("speedbench_reason", "")
    assert reasons.startswith("acceptance_length: no record of this case")


def test_junit_property_of_a_failed_gate(project: Project) -> None:
    project.gate()
    project.run("--junitxml=out.xml", "--speed-engine-arg=speculation_off=1")
    tree = ElementTree.parse(project.path / "out.xml")
    properties = {p.get("name"): p.get("value") for p in tree.iter("property")}
    assert properties["speedbench"] == "acceptance_length: speculation off"
    assert str(properties["speedbench_reason"]).startswith("acceptance_length: ")


def test_what_all_runs_share_is_named_once(project: Project) -> None:
    project.gate("model=['org/one', 'org/two']")
    text = project.run().stdout.str()
    assert "2 runs of eagle3 · DL 3 · BS 1: simulated 1" in text
    assert "  org/one: AL " in text
    assert "  org/two: AL " in text


def test_escape_sequences_of_a_users_split_stay_out_of_terminal_and_files(
    project: Project,
) -> None:
    project.split("s.jsonl", 8, ESCAPE, "a|b<script>")
    project.gate()
    result = project.run(
        "--speed-split=s.jsonl",
        "--speed-summary=out.md",
        "--speed-report=out.html",
        "-v",
        speed_category=None,
    )
    result.assert_outcomes(passed=3)
    for text in (
        result.stdout.str(),
        (project.path / "out.md").read_text(),
        (project.path / "out.html").read_text(),
    ):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "RED" in text
    assert "<script>RED" not in (project.path / "out.html").read_text()
    assert "<script>" not in (project.path / "out.md").read_text()


def test_escape_sequences_of_a_sample_id_stay_out_of_messages(project: Project) -> None:
    project.file(
        "s.jsonl",
        '{"id": "\\u001b[31mRED", "category": "math", "prompt": "' + "word " * 3000 + '"}\n',
    )
    project.gate()
    result = project.run("--speed-split=s.jsonl", "--speed-max-tokens=1048000")
    result.assert_outcomes(errors=1)
    assert "\x1b" not in result.stdout.str()
    assert "context window" in result.stdout.str()


def test_escape_sequences_of_an_engines_last_words_stay_out(project: Project) -> None:
    project.gate()
    result = project.run("--speed-engine-arg=die_at=1", "--speed-engine-arg=last_words=\x1b[31mRED")
    assert "\x1b" not in result.stdout.str()


# -- for CI ---------------------------------------------------------------------------------


def test_junit_properties_have_the_numbers(project: Project) -> None:
    project.gate()
    project.run("--benchmark-save=a")
    project.run("--junitxml=out.xml", "--speed-compare", "--speed-engine-arg=acceptance=0.2")
    tree = ElementTree.parse(project.path / "out.xml")
    found = {p.get("name"): p.get("value") for p in tree.iter("property")}
    value, low, high = (
        float(found[f"speedbench_acceptance_length{end}"] or 0) for end in ("", "_low", "_high")
    )
    assert 1 <= low < value < high
    assert float(found["speedbench_acceptance_length_ratio"] or 0) < 1
    assert str(found["speedbench_baseline"]).startswith("0001")


def test_failures_are_annotations_of_github_actions(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    project.gate()
    result = project.run("--speed-engine-arg=speculation_off=1")
    found = [line for line in result.outlines if line.startswith("::")]
    assert len(found) == 1
    assert found[0].startswith(
        "::error title=acceptance_length%3A speculation off%3A simulated org/model eagle3"
    )
    assert ",file=test_it.py::AL 1.00" in found[0]
    monkeypatch.delenv("GITHUB_ACTIONS")
    result = project.run("--speed-engine-arg=speculation_off=1")
    assert not [line for line in result.outlines if line.startswith("::")]


def test_the_page_of_pytest_html_shows_the_numbers(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pytest_html")
    monkeypatch.delenv("PYTEST_ADDOPTS")  # it leaves other plugins out
    project.gate()
    project.run("--html=page.html", "--self-contained-html", "--speed-compare")
    page = (project.path / "page.html").read_text(encoding="utf-8")
    blob = re.search(r'data-jsonblob="(.*?)"', page, re.S)
    assert blob
    (test,) = json.loads(html.unescape(blob[1]))["tests"].values()
    shown = " ".join(extra["content"] for run in test for extra in run["extras"])
    assert "simulated · org/model · eagle3 · DL 3 · BS 1" in shown
    assert "acceptance_length: no baseline" in shown


def test_reasons_of_skips_are_shown_once(project: Project) -> None:
    project.gate("engine='sglang', category=['math', 'qa']")
    result = project.run()
    result.assert_outcomes(skipped=2)
    assert [line for line in result.outlines if line.startswith("2 skipped: ")]
    assert not [line for line in project.run("-rs").outlines if line.startswith("2 skipped: ")]


@pytest.mark.parametrize("path", ["x.pdf", "x", "x.md"])
def test_a_report_of_another_format_is_refused_before_measuring(
    project: Project, path: str
) -> None:
    project.gate()
    result = project.run(f"--speed-report={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*expected a path that ends in .html*"])


def test_a_report_without_its_packages_is_refused_before_measuring(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    project.gate()
    result = project.run("--speed-report=x.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pip install 'pytest-speedbench?report?'*"])


def test_the_summary_links_the_report_that_was_written(project: Project) -> None:
    project.gate()
    result = project.run("--speed-summary=out.md", "--speed-report=out.html")
    assert "[out.html](<out.html>)" in (project.path / "out.md").read_text()
    result.stdout.fnmatch_lines(["report: out.html"])


# -- while it runs --------------------------------------------------------------------------


def test_progress_has_cases_requests_and_tokens(project: Project) -> None:
    project.gate("dl=[1, 3]")
    text = project.run().stdout.str()
    assert "  0/2 cases · starting simulated with eagle3 dl1" in text
    assert re.search(r"  1/2 cases · \d+/\d+ requests · \d+ tokens/s · \d+ s left · ", text)


def test_quiet_shows_no_progress(project: Project) -> None:
    project.gate()
    assert "starting simulated" not in project.run("-q").stdout.str()
