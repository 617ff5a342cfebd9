"""What stands at the end of a session: at most 80 columns, readable without colour."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_speedbench.compare.gate import is_beside_all
from pytest_speedbench.compare.results import CaseResult, SessionResults
from pytest_speedbench.compare.verdict import FAILING, Outcome, Verdict
from pytest_speedbench.errors import count_of
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH, GATED_METRICS
from pytest_speedbench.quantities import change_of
from pytest_speedbench.report.folding import WIDEST
from pytest_speedbench.report.reasons import each_once
from pytest_speedbench.report.terminal_lines import (
    SESSION,
    FullReports,
    Line,
    and_more,
    wrapped,
)
from pytest_speedbench.report.terminal_run import run_lines
from pytest_speedbench.report.terminal_sweep import in_short, sweep_lines
from pytest_speedbench.report.view import run_table, runs_of

_MOST_MISSING = 2
_MOST_CATEGORIES = 3


def summary_lines(
    results: SessionResults, width: int, full: FullReports = SESSION
) -> Iterator[Line]:
    """Every line under the heading ``speedbench``.

    A single run has its table; several runs are a grid each method, and a table only where a run
    failed, improved or is undecided.
    """
    width = min(width, WIDEST)
    shown = [_without_reported(case, results.reported) for case in results.cases]
    results = replace(results, cases=shown)
    runs = runs_of(results.cases)
    tables = [run_table(cases) for cases in runs]
    own = [
        (cases, table)
        for cases, table in zip(runs, tables, strict=True)
        if not cases[0].record.of_reference_build
    ]
    if len(own) == 1:
        yield from run_lines(own[0][1], width, full)
    elif own:
        yield from sweep_lines(own, width, full)
    for cases, table in zip(runs, tables, strict=True):
        if cases[0].record.of_reference_build:
            yield from wrapped(f"{table.title}: {in_short(table)}", width, indent="")
    yield from _gate_lines(results, width, full)
    yield from _skip_lines(results, width)
    yield from _saved_lines(results, width)
    for problem in filter(None, (*results.problems, results.failure)):
        yield from wrapped(problem, width, {"red": True, "bold": True}, indent="")


def _without_reported(case: CaseResult, reported: Container[str]) -> CaseResult:
    """The case without the reason for which its test failed, where that stands above."""
    if case.nodeid not in reported:
        return case
    for outcomes in (FAILING, {Outcome.UNDECIDED}, {Outcome.NO_BASELINE}):
        for place, verdict in enumerate(case.verdicts):
            if verdict.outcome in outcomes:
                verdicts = [*case.verdicts]
                verdicts[place] = replace(verdict, reason="")
                return replace(case, verdicts=verdicts)
    return case


# -- the gate -------------------------------------------------------------------------------


def _gate_lines(results: SessionResults, width: int, full: FullReports) -> Iterator[Line]:
    verdicts = results.verdicts
    if verdicts:
        baselines = dict.fromkeys(verdict.baseline for verdict in verdicts if verdict.baseline)
        against = f" (against {', '.join(baselines)})" if baselines else ""
        yield from wrapped(f"gate: {_counts(verdicts) + against}", width, {"bold": True}, "")
        yield from _missing_lines(verdicts, width, full)
        yield from _category_lines(results, width, changes=len(runs_of(results.cases)) > 1)
        yield from wrapped(results.family, width)
    elif results.cases and not results.comparing:
        hint = "nothing compared; --speed-compare compares with the latest saved run"
        yield from wrapped(f"gate: {hint}", width, indent="")


def _missing_lines(verdicts: Sequence[Verdict], width: int, full: FullReports) -> Iterator[Line]:
    """Why cases have no baseline, each reason once."""
    missing = each_once(
        (v.case, v.reason, v.outcome)
        for v in verdicts
        if v.outcome is Outcome.NO_BASELINE and v.reason
    )
    for reason in missing[:_MOST_MISSING]:
        others = len({*reason.names, *reason.alike}) - 1
        alike = f" ({count_of(others, 'more case')} without one)" if others else ""
        yield from wrapped(f"no baseline: {reason.text}{alike}", width)
    if len(missing) > _MOST_MISSING:
        yield Line(f"  {and_more(len(missing) - _MOST_MISSING, full.markdown)}")


def _counts(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts of each outcome, by metric where there are several metrics."""
    found_of = {verdict.metric for verdict in verdicts}
    metrics = [*(m for m in GATED_METRICS if m in found_of), *sorted(found_of - {*GATED_METRICS})]
    parts = []
    for metric in metrics:
        found = [verdict.outcome for verdict in verdicts if verdict.metric == metric]
        counts = ", ".join(f"{found.count(o)} {o}" for o in Outcome if o in found)
        parts.append(counts if len(metrics) == 1 else f"{metric}: {counts}")
    return "; ".join(parts)


def _category_lines(results: SessionResults, width: int, *, changes: bool) -> Iterator[Line]:
    """The categories that are not gated, the largest losses first, and the way to gate them."""
    found = [
        (verdict.ratio, case.record.case.slice, verdict)
        for case in results.cases
        for verdict in case.verdicts
        if verdict.ratio is not None and _beside_all(case, verdict)
    ]
    worst: dict[str, Verdict] = {}
    for _, name, verdict in sorted(found, key=lambda item: item[0]):
        worst.setdefault(name, verdict)  # of several runs, the one that lost most
    if not worst:
        return
    names = [
        " ".join(filter(None, (name, _change(verdict, changes))))
        for name, verdict in list(worst.items())[:_MOST_CATEGORIES]
    ]
    more = f" and {len(worst) - len(names)} more" if len(worst) > len(names) else ""
    yield from wrapped(
        f"too few samples to gate each category: {', '.join(names)}{more}; "
        "--speed-category-verdicts asks for a verdict on each",
        width,
    )


def _beside_all(case: CaseResult, verdict: Verdict) -> bool:
    """Whether this is the verdict on AL of a category that only the whole split is judged for."""
    not_gated = verdict.metric == ACCEPTANCE_LENGTH and verdict.outcome is Outcome.NOT_GATED
    return not_gated and is_beside_all(case.record)


def _change(verdict: Verdict, with_change: bool) -> str:
    """The change, where no table has it, and what it is at most."""
    assert verdict.ratio is not None
    if not with_change:
        return verdict.shown
    return change_of(verdict.ratio) + (f" ({verdict.shown})" if verdict.shown else "")


# -- what else ------------------------------------------------------------------------------


def _skip_lines(results: SessionResults, width: int) -> Iterator[Line]:
    for remark in results.remarks:
        yield from wrapped(remark, width, {"yellow": True}, "")
    for reason, count in results.skipped.items():
        yield from wrapped(f"{count} skipped: {reason}", width, {"yellow": True}, "")


def _saved_lines(results: SessionResults, width: int) -> Iterator[Line]:
    for path in results.saved:
        yield Line(f"saved: {_short(path)}")
    if results.report:
        yield Line(f"report: {_short(results.report)}")
    if results.saved and any(map(_is_accepted_by_promoting, results.verdicts)):
        yield Line(f"intended? accept it: {results.promote_command}")
    if results.cases and not results.saved and not results.problems:
        hint = "not saved: --benchmark-autosave keeps this run for later comparisons"
        yield from wrapped(hint, width, indent="")


def _is_accepted_by_promoting(verdict: Verdict) -> bool:
    """Whether it failed against a baseline; an assert fails against any."""
    return bool(verdict.baseline) and verdict.outcome in (Outcome.FAIL, Outcome.DEGENERATE)


def _short(path: str) -> str:
    return path.removeprefix(f"{Path.cwd()}/")
