"""The Markdown summary: verdict first, worst first, and nothing of others is markup."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pytest_speedbench.compare.attribution import Attribution, Factor
from pytest_speedbench.compare.changes import Change
from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.report.markdown import render_markdown
from pytest_speedbench.report.titles import short_titles
from pytest_speedbench.report.view import run_table
from tests.report.conftest import estimate, record, result


def compared() -> SessionResults:
    cases = []
    for name, value, outcome in (
        ("coding", 2.4, Outcome.PASS),
        ("math", 2.0, Outcome.FAIL),
        ("all", 2.2, Outcome.FAIL),
    ):
        new = record(name, metrics={"acceptance_length": estimate(value, value - 0.1, value + 0.1)})
        case = result(new, reason="why")
        case.baseline = record(name)
        verdict = result(new, outcome, reason="why").verdicts[0]
        case.verdicts = [replace(verdict, ratio=value / 2.5)]
        case.changes = (Change("engine.version", "0.31", "0.32"),)
        cases.append(case)
    return SessionResults(cases, family="α = 0.01", comparing=True, report="out/my report.html")


def test_the_verdict_comes_first() -> None:
    lines = render_markdown(compared()).splitlines()
    assert lines[0] == "## Speculative decoding: ✗ Regression"
    assert "AL 2.50 → 2.00 (-20.00%)" in lines[2]
    assert lines[4] == "2 fail, 1 pass; against 0001"


def test_old_and_new_with_intervals_and_the_worst_first() -> None:
    text = render_markdown(compared())
    overview = [line for line in text.splitlines() if line.startswith("| vllm · m")]
    assert [line.split(" | ")[1] for line in overview] == ["all", "math"]
    assert r"2.50 → 2.20 \[2.10–2.30\] | -12.00% | fail |" in overview[0]
    details = text.partition("<details>")[2]
    rows = [line for line in details.splitlines() if re.match(r"\| (coding|math|all) ", line)]
    assert [row.split(" | ")[0] for row in rows] == ["| math", "| all", "| coding"]


def test_changes_are_said_once_and_the_report_is_linked() -> None:
    text = render_markdown(compared(), Path("out/summaries"))
    assert text.count("engine.version: 0.31 → 0.32") == 1
    assert "Full report: [my report.html](<../my%20report.html>)" in text
    assert "Full report: out/my report.html\n" in render_markdown(compared())


def test_a_change_of_speedup_names_its_run() -> None:
    cases, slow = [], Factor("step time with SD", 0.8, None, None)
    for bs in (1, 8):
        case = result(record("all", bs=bs), Outcome.FAIL)
        case.attribution = Attribution(Factor("speedup", 0.8, None, None), (slow,), 3, "")
        cases.append(case)
    found = render_markdown(SessionResults(cases)).partition("### What changed")[2].splitlines()
    for line, bs in zip(found[2:4], (1, 8), strict=True):
        assert re.match(rf"- BS {bs}: speedup -20.0%", line)
    alone = render_markdown(SessionResults(cases[:1]))
    assert "\n- speedup -20.0%" in alone


def test_folds_are_closed() -> None:
    text = render_markdown(compared())
    assert text.count("<details>") == text.count("</details>") == 1


def test_hostile_names_are_text() -> None:
    name = "<script>x</script> | `a` [b](c) ![d](e) *f*\n# g \x1b[31m"
    case = result(record(name, model={"name": name, "weights": ""}), Outcome.FAIL, reason=name)
    text = render_markdown(SessionResults([case], skipped={name: 1}, problems=[name]))
    assert "<script>" not in text
    assert "\n# g" not in text
    assert "\x1b" not in text
    assert "](c)" not in text.replace(r"\](c)", "")


def test_without_a_comparison_there_are_no_columns_of_the_gate() -> None:
    text = render_markdown(SessionResults([result(record())]))
    assert "| category | n | AL | 95% | macro | engine's own | accepted |" in text
    assert text.startswith("## Speculative decoding: AL 2.50, 1.40x")


def test_a_run_that_has_no_axis_of_its_own_is_named_by_method_and_point() -> None:
    title = run_table([result(record())]).title
    assert short_titles([title, f"{title} · cached"]) == ["eagle3 · DL 3 · head · BS 1", "cached"]
