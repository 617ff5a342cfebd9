"""What the page of pytest-html shows of one test."""

from __future__ import annotations

from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.report.html.runs import chip
from pytest_speedbench.report.html.templates import template
from pytest_speedbench.report.view import run_table


def render_extra(case: CaseResult) -> str:
    """A fragment of HTML: the case's numbers and verdicts."""
    table = run_table([case])
    return template("extra.html").render(
        table=table,
        row=table.rows[0],
        verdicts=[(chip(verdict.outcome), str(verdict)) for verdict in case.verdicts],
    )
