"""One run in the terminal: its slices, its speed, and why it is not simply a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.report.tables import Justify, TableLine
from pytest_speedbench.report.terminal_lines import (
    FullReports,
    Line,
    and_more,
    colour_of,
    rendered,
    wrapped,
)
from pytest_speedbench.report.view import NOTHING, Row, RunTable, attribution_text, reasons_of

Columns = Sequence[tuple[str, Justify, Callable[[Row], str]]]
MOST_REASONS = 4
_MOST_CHANGES = 4
_QUIET = (Outcome.PASS, Outcome.NO_BASELINE)
"""Outcomes whose reasons are left to the other reports."""


def run_lines(
    table: RunTable, width: int, full: FullReports, shown_setting: str = ""
) -> Iterator[Line]:
    """The table of a run and what stands below; ``shown_setting`` stands above."""
    yield from wrapped(table.title, width, {"bold": True}, indent="")
    if table.setting != shown_setting:
        yield from wrapped(table.setting, width)
    for text, row in _slices(table, width):
        yield Line(text, colour_of(None if row is None else table.rows[row].outcome))
    yield from over_lines([table], width)
    yield from wrapped(table.speed, width, {"yellow" if table.slower else "green": True})
    for text, outcome in (*_reasons(table, full), *grouped(table.verdicts, full)):
        yield from wrapped(text, width, colour_of(outcome))
    if table.attribution:
        yield from wrapped(attribution_text(table.attribution), width)
    if table.calls_for_causes:
        yield from change_lines([str(change) for change in table.changes], width, full)
    for text in (*table.details, *(f"note: {note}" for note in table.notes)):
        yield from wrapped(text, width)
    yield Line("")


def _reasons(table: RunTable, full: FullReports) -> Iterator[tuple[str, Outcome]]:
    """Why AL is neither a pass nor without a baseline."""
    found = reasons_of(filter(is_open, table.rows))
    for reason in found[:MOST_REASONS]:
        yield str(reason), reason.outcome
    if len(found) > MOST_REASONS:
        yield and_more(len(found) - MOST_REASONS, full.markdown), Outcome.UNDECIDED


def over_lines(tables: Iterable[RunTable], width: int) -> Iterator[Line]:
    """What the changes of AL are over, each text once."""
    for text in dict.fromkeys(table.over for table in tables if table.over):
        yield from wrapped(text, width)


def is_open(row: Row) -> bool:
    """Whether the verdict of a slice has a reason that a reader needs."""
    return row.outcome is not None and row.outcome not in _QUIET and not row.beside_all


def grouped(
    verdicts: Iterable[tuple[str, Outcome]], full: FullReports
) -> Iterator[tuple[str, Outcome]]:
    """Verdicts on other metrics; of those that test nothing, one and the number of the others."""
    quiet = 0
    for text, outcome in verdicts:
        quiet += outcome is Outcome.NOT_GATED
        if outcome is not Outcome.NOT_GATED or quiet == 1:
            yield text, outcome
    if quiet > 1:
        yield and_more(quiet - 1, full.markdown, "not gated"), Outcome.NOT_GATED


def change_lines(changes: Sequence[str], width: int, full: FullReports) -> Iterator[Line]:
    for change in changes[:_MOST_CHANGES]:
        yield from wrapped(f"changed: {change}", width, {"yellow": True})
    if len(changes) > _MOST_CHANGES:
        yield Line(f"  {and_more(len(changes) - _MOST_CHANGES, full.html, 'changes')}")


def _slices(table: RunTable, width: int) -> Iterator[TableLine]:
    columns = _columns(table)
    rows = [[cell(row) for _, _, cell in columns] for row in table.rows]
    return rendered([(title, justify) for title, justify, _ in columns], rows, width)


def _columns(table: RunTable) -> Columns:
    """Titles, alignment and contents; the gate's columns only where something was compared."""
    first: Columns = [
        ("category", "left", lambda row: row.slice),
        ("n", "right", lambda row: row.n),
    ]
    if not table.judged:
        return [
            *first,
            ("AL", "right", lambda row: row.acceptance_length),
            ("95%", "right", lambda row: row.interval),
            ("macro", "right", lambda row: row.macro),
            ("engine", "right", lambda row: row.engine),
            ("acc.", "right", lambda row: row.accepted),
        ]
    before: Columns = (
        [("old AL", "right", lambda row: row.old)]
        if any(row.old != NOTHING for row in table.rows)
        else []
    )
    return [
        *first,
        *before,
        ("AL", "right", lambda row: row.acceptance_length),
        ("95%", "right", lambda row: row.interval),
        ("change", "right", lambda row: row.change),
        ("verdict", "left", verdict_text),
    ]


def verdict_text(row: Row) -> str:
    """The verdict with what it states; a category that is not gated states nothing."""
    return row.outcome.value if row.outcome is Outcome.NOT_GATED else row.verdict
