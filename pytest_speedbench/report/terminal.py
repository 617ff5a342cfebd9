"""The table at the end of a session."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.report.text import label, printable
from pytest_speedbench.report.view import Row, RunTable, run_tables

if TYPE_CHECKING:
    from pytest_speedbench.session.summary import Summary

Justify = Literal["left", "right"]
_WIDEST = 110
_MOST_REASONS = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One line and pytest's markup for it."""

    text: str
    markup: dict[str, bool] = field(default_factory=dict)


def summary_lines(summary: Summary, width: int) -> Iterator[Line]:
    """Every line under the heading ``speedbench``."""
    for table in run_tables(summary.results):
        yield from _run_lines(table, min(width, _WIDEST))
    yield from _gate_lines(summary)
    yield from _saved_lines(summary)
    for problem in summary.problems:
        yield Line(printable(problem), {"red": True, "bold": True})


def _run_lines(table: RunTable, width: int) -> Iterator[Line]:
    yield Line(printable(table.title), {"bold": True})
    yield Line(f"  {printable(table.setting)}")
    for number, text in enumerate(_grid(table, width).splitlines()):
        row = table.rows[number - 2] if 0 <= number - 2 < len(table.rows) else None
        yield Line(f"  {text.rstrip()}", _colour(row))
    yield Line(f"  {table.speed}", {"yellow" if table.slower else "green": True})
    for text in (*table.details, *(f"note: {note}" for note in table.notes)):
        yield Line(f"  {printable(text)}")
    yield Line("")


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
            ("gate", "left", lambda row: row.verdict),
        ]
    return columns


def _colour(row: Row | None) -> dict[str, bool]:
    if row is None or row.outcome is None:
        return {}
    match row.outcome:
        case Outcome.FAIL | Outcome.SPECULATION_OFF | Outcome.INCOMPARABLE:
            return {"red": True}
        case Outcome.UNDECIDED:
            return {"yellow": True}
        case Outcome.PASS | Outcome.IMPROVED:
            return {"green": True}
    return {}


def _gate_lines(summary: Summary) -> Iterator[Line]:
    verdicts = [verdict for result in summary.results for verdict in result.verdicts]
    if verdicts:
        counts = {outcome: sum(o.outcome is outcome for o in verdicts) for outcome in Outcome}
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        baselines = dict.fromkeys(o.baseline for o in verdicts if o.baseline)
        against = f" (against {', '.join(baselines)})" if baselines else ""
        yield Line(f"gate: {printable(told + against)}", {"bold": True})
        yield from _reason_lines(summary)
        yield Line(f"  {summary.family}")
    elif not summary.comparing:
        yield Line("gate: nothing compared; --speed-compare compares with the latest saved run")
    if summary.none_compared:
        yield Line(printable(summary.none_compared), {"red": True, "bold": True})


def _reason_lines(summary: Summary) -> Iterator[Line]:
    """Why, for what is neither a pass nor a missing baseline; the most are not all shown."""
    quiet = (Outcome.PASS, Outcome.NO_BASELINE)
    told = [
        f"  {result.record.case.slice} bs{result.record.case.bs} dl{result.record.case.dl} "
        f"{verdict}"
        for result in summary.results
        for verdict in result.verdicts
        if verdict.outcome not in quiet
    ]
    for text in told[:_MOST_REASONS]:
        yield Line(printable(text))
    if len(told) > _MOST_REASONS:
        yield Line(f"  … and {len(told) - _MOST_REASONS} more (all in --speed-summary=PATH.md)")


def _saved_lines(summary: Summary) -> Iterator[Line]:
    saving = summary.saving
    if saving is None or not summary.results:
        return
    for path in saving.saved:
        yield Line(f"saved: {_short(path)}")
    if not saving.saved and not saving.problems:
        yield Line("not saved: --benchmark-autosave keeps this run for later comparisons")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
