"""Verdicts as annotations of GitHub Actions: shown beside the changed files of a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_speedbench.compare.results import CaseResult, SessionResults, merged
from pytest_speedbench.compare.verdict import FAILING, Outcome, Verdict
from pytest_speedbench.errors import count_of
from pytest_speedbench.escapes import github_command
from pytest_speedbench.report.reasons import kind_of
from pytest_speedbench.report.view import change_text

GITHUB_ACTIONS = "GITHUB_ACTIONS"
"""``true`` in a step of GitHub Actions."""
_MOST = 10
"""GitHub shows as many of each level in a step."""


def annotation_lines(results: SessionResults) -> Iterator[str]:
    """``::error`` for the verdicts that fail, ``::warning`` for those that are undecided: one for
    each reason."""
    if results.failure:
        yield github_command("error", results.failure, title="Speculative decoding")
    found: dict[tuple[str, str, Outcome, str], list[tuple[CaseResult, Verdict]]] = {}
    for case in merged(results.cases):
        for verdict in case.verdicts:
            kind = kind_of(verdict.reason)
            file = case.nodeid.partition("::")[0]
            key = file, verdict.metric, verdict.outcome, kind
            found.setdefault(key, []).append((case, verdict))
    for level, outcomes in (("error", FAILING), ("warning", frozenset({Outcome.UNDECIDED}))):
        own = [alike for (_, _, outcome, _), alike in found.items() if outcome in outcomes]
        yield from (_annotation(level, alike) for alike in own[:_MOST])


def _annotation(level: str, alike: Sequence[tuple[CaseResult, Verdict]]) -> str:
    """One annotation for the cases of a file with the same reason, numbers apart: those of each
    case, and the whole reason of the first."""
    case, verdict = alike[0]
    file = case.nodeid.partition("::")[0]
    here = {"file": file} if file and Path(file).is_file() else {}
    numbers = [(one.record.case, change_text(one, found)) for one, found in alike]
    if len(alike) == 1:
        lines = [text for _, text in numbers]
    else:
        lines = [f"{key}: {text}" for key, text in numbers[:_MOST] if text]
        if len(alike) > _MOST:
            lines.append(f"… and {len(alike) - _MOST} more cases")
    what = str(case.record.case) if len(alike) == 1 else count_of(len(alike), "case")
    title = f"{verdict.metric}: {verdict.outcome}: {what}"
    return github_command(
        level, "\n".join(filter(None, (*lines, verdict.reason))), title=title, **here
    )
