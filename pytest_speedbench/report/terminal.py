"""The table at the end of a session."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pytest_speedbench.compare.gate import is_beside_all
from pytest_speedbench.compare.judge import ACCEPTANCE
from pytest_speedbench.compare.results import CaseResult, SessionResults
from pytest_speedbench.compare.verdict import FAILING, Outcome, Verdict
from pytest_speedbench.escapes import label
from pytest_speedbench.report.view import Row, RunTable, run_tables

Justify = Literal["left", "right"]
_WIDEST = 110
_MOST_REASONS = 4
_MOST_CHANGES = 4
_MOST_CATEGORIES = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One line and pytest's markup for it."""

    text: str
    markup: dict[str, bool] = field(default_factory=dict)


def summary_lines(results: SessionResults, width: int) -> Iterator[Line]:
    """Every line under the heading ``speedbench``."""
    for table in run_tables(results.cases):
        yield from _run_lines(table, min(width, _WIDEST))
    yield from _gate_lines(results)
    yield from _saved_lines(results)
    for problem in results.problems:
        yield Line(problem, {"red": True, "bold": True})
    if results.failure:
        yield Line(results.failure, {"red": True, "bold": True})


def _run_lines(table: RunTable, width: int) -> Iterator[Line]:
    yield Line(table.title, {"bold": True})
    yield Line(f"  {table.setting}")
    for number, text in enumerate(_grid(table, width).splitlines()):
        row = table.rows[number - 2] if 0 <= number - 2 < len(table.rows) else None
        yield Line(f"  {text.rstrip()}", _colour(row.outcome if row else None))
    yield Line(f"  {table.speed}", {"yellow" if table.slower else "green": True})
    for text, outcome in table.verdicts:
        yield Line(f"  {text}", _colour(outcome))
    for text in (*table.details, *(f"note: {note}" for note in table.notes)):
        yield Line(f"  {text}")
    if table.calls_for_causes:
        yield from _change_lines(table.changes)
    yield Line("")


def _change_lines(changes: Sequence[str]) -> Iterator[Line]:
    for change in changes[:_MOST_CHANGES]:
        yield Line(f"  changed: {change}", {"yellow": True})
    if len(changes) > _MOST_CHANGES:
        more = len(changes) - _MOST_CHANGES
        yield Line(f"  … and {more} more changes (all in --speed-report=PATH.html)")


def _grid(table: RunTable, width: int) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    grid = Table(
        box=SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False, collapse_padding=True
    )
    columns = _columns(table)
    for title, justify, _ in columns:
        grid.add_column(title, justify=justify, no_wrap=True)
    for row in table.rows:
        grid.add_row(*(label(cell(row)) for _, _, cell in columns))
    out = io.StringIO()
    Console(file=out, width=width - 2, color_system=None, markup=False, highlight=False).print(grid)
    return out.getvalue()


def _columns(table: RunTable) -> list[tuple[str, Justify, Callable[[Row], str]]]:
    """Titles, alignment and contents; the gate's columns only where something was compared."""
    columns: list[tuple[str, Justify, Callable[[Row], str]]] = [
        ("category", "left", lambda row: row.slice),
        ("n", "right", lambda row: row.n),
        ("AL", "right", lambda row: row.acceptance_length),
        ("95 %", "right", lambda row: row.interval),
        ("macro", "right", lambda row: row.macro),
        ("engine", "right", lambda row: row.engine),
        ("acc.", "right", lambda row: row.accepted),
    ]
    if any(row.outcome for row in table.rows):
        columns += [
            ("change", "right", lambda row: row.change),
            ("verdict", "left", lambda row: row.outcome.value if row.outcome else row.verdict),
        ]
    return columns


def _colour(outcome: Outcome | None) -> dict[str, bool]:
    match outcome:
        case outcome if outcome in FAILING:
            return {"red": True}
        case Outcome.UNDECIDED:
            return {"yellow": True}
        case Outcome.PASS | Outcome.IMPROVED:
            return {"green": True}
    return {}


def _gate_lines(results: SessionResults) -> Iterator[Line]:
    verdicts = results.verdicts
    if verdicts:
        baselines = dict.fromkeys(verdict.baseline for verdict in verdicts if verdict.baseline)
        against = f" (against {', '.join(baselines)})" if baselines else ""
        yield Line(f"gate: {_counts(verdicts) + against}", {"bold": True})
        yield from _reason_lines(results)
        yield from _category_lines(results)
        yield Line(f"  {results.family}")
    elif not results.comparing:
        yield Line("gate: nothing compared; --speed-compare compares with the latest saved run")


def _counts(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts of each outcome, by metric where there are several metrics."""
    metrics = dict.fromkeys(verdict.metric for verdict in verdicts)
    parts = []
    for metric in metrics:
        found = [verdict.outcome for verdict in verdicts if verdict.metric == metric]
        counts = ", ".join(f"{found.count(o)} {o}" for o in Outcome if o in found)
        parts.append(counts if len(metrics) == 1 else f"{metric}: {counts}")
    return "; ".join(parts)


def _reason_lines(results: SessionResults) -> Iterator[Line]:
    """Why, for each verdict on AL that is neither a pass nor a missing baseline."""
    quiet = (Outcome.PASS, Outcome.NO_BASELINE)
    found = [
        (case.record.case, verdict)
        for case in results.cases
        for verdict in case.verdicts
        if verdict.metric == ACCEPTANCE
        and verdict.outcome not in quiet
        and not _beside_all(case, verdict)
    ]
    found.sort(key=lambda pair: pair[1].outcome not in FAILING)
    reasons = dict.fromkeys(f"  {key.slice} bs{key.bs} dl{key.dl} {v}" for key, v in found)
    missing = {v.reason for v in results.verdicts if v.outcome is Outcome.NO_BASELINE}
    reasons |= dict.fromkeys(f"  no baseline: {reason}" for reason in sorted(missing))
    for text in list(reasons)[:_MOST_REASONS]:
        yield Line(text)
    if len(reasons) > _MOST_REASONS:
        yield Line(f"  … and {len(reasons) - _MOST_REASONS} more (all in --speed-summary=PATH.md)")


def _category_lines(results: SessionResults) -> Iterator[Line]:
    """The categories that are not gated, the largest losses first, and the way to gate them."""
    found = {
        case.record.case.slice: verdict
        for case in results.cases
        for verdict in case.verdicts
        if verdict.ratio is not None and _beside_all(case, verdict)
    }
    worst = sorted(found.items(), key=lambda item: item[1].ratio or 0.0)
    if not worst:
        return
    names = [f"{name} {_change(verdict)}" for name, verdict in worst[:_MOST_CATEGORIES]]
    more = f" and {len(worst) - len(names)} more" if len(worst) > len(names) else ""
    yield Line(
        f"  too few samples to gate each category: {', '.join(names)}{more}; "
        "--speed-category-verdicts asks for a verdict on each"
    )


def _beside_all(case: CaseResult, verdict: Verdict) -> bool:
    """Whether this is the verdict on AL of a category that only the whole split is judged for."""
    not_gated = verdict.metric == ACCEPTANCE and verdict.outcome is Outcome.NOT_GATED
    return not_gated and is_beside_all(case.record)


def _change(verdict: Verdict) -> str:
    assert verdict.ratio is not None
    bound = "" if verdict.low is None else f" (lost at most {max(0.0, 1 - verdict.low):.1%})"
    return f"{verdict.ratio - 1:+.1%}{bound}"


def _saved_lines(results: SessionResults) -> Iterator[Line]:
    for path in results.saved:
        yield Line(f"saved: {_short(path)}")
    if results.saved and any(v.outcome is Outcome.FAIL for v in results.verdicts):
        yield Line(f"intended? accept the new level: {results.promote_command}")
    if results.cases and not results.saved and not results.problems:
        yield Line("not saved: --benchmark-autosave keeps this run for later comparisons")


def _short(path: str) -> str:
    return path.removeprefix(f"{Path.cwd()}/")
