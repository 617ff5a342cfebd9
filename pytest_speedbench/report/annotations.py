"""Verdicts as annotations of GitHub Actions: shown beside the changed files of a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_speedbench.compare.results import CaseResult, SessionResults, merged
from pytest_speedbench.compare.verdict import FAILING, Outcome, Verdict
from pytest_speedbench.escapes import github_command
from pytest_speedbench.report.view import change_text

GITHUB_ACTIONS = "GITHUB_ACTIONS"
"""``true`` in a step of GitHub Actions."""
_MOST = 10
"""GitHub shows as many of each level in a step."""


def annotation_lines(results: SessionResults) -> Iterator[str]:
    """``::error`` for each verdict that fails, ``::warning`` for each that is undecided."""
    if results.failure:
        yield github_command("error", results.failure, title="Speculative decoding")
    found = [(case, verdict) for case in merged(results.cases) for verdict in case.verdicts]
    for level, outcomes in (("error", FAILING), ("warning", frozenset({Outcome.UNDECIDED}))):
        own = [(case, verdict) for case, verdict in found if verdict.outcome in outcomes]
        for case, verdict in own[:_MOST]:
            yield _annotation(level, case, verdict)


def _annotation(level: str, case: CaseResult, verdict: Verdict) -> str:
    file = case.nodeid.partition("::")[0]
    here = {"file": file} if file and Path(file).is_file() else {}
    lines = filter(None, (change_text(case, verdict), verdict.reason))
    title = f"{verdict.metric}: {verdict.outcome}: {case.record.case}"
    return github_command(level, "\n".join(lines), title=title, **here)
