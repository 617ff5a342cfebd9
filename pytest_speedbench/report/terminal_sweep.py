"""A sweep in the terminal: a grid of each method, and what failed or is undecided, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.compare.verdict import FAILING, Outcome
from pytest_speedbench.report.grid import Cell, Grid, grids
from pytest_speedbench.report.reasons import each_once, some
from pytest_speedbench.report.tables import Column
from pytest_speedbench.report.terminal_lines import (
    FullReports,
    Line,
    and_more,
    colour_of,
    rendered,
    wrapped,
)
from pytest_speedbench.report.terminal_run import (
    MOST_REASONS,
    change_lines,
    grouped,
    is_open,
    over_lines,
    run_lines,
    verdict_text,
)
from pytest_speedbench.report.titles import joined, shared_axes, short_titles
from pytest_speedbench.report.view import (
    NOTHING,
    Row,
    RunTable,
    attribution_text,
    widest,
)
from pytest_speedbench.splits import ALL

_GRID_LABEL, _GRID_CELL = 8, 16
_MOST_ROWS = 12
_MOST_LINES = 6
_MOST_CAUSES = 2
_COLUMNS: tuple[Column, ...] = (
    ("run", "left"),
    ("category", "left"),
    ("old AL", "right"),
    ("AL", "right"),
    ("change", "right"),
    ("verdict", "left"),
)


def sweep_lines(
    runs: Sequence[tuple[Sequence[CaseResult], RunTable]], width: int, full: FullReports
) -> Iterator[Line]:
    """A grid of each method; a single run that is open has its table, several have one of all."""
    tables = [table for _, table in runs]
    titles = [table.title for table in tables]
    names, setting = short_titles(titles), _shared_setting(tables)
    axes = joined([axis for axis in shared_axes(titles) if not setting.startswith(f"{axis} ")])
    head = f"{len(runs)} runs of {axes}" if axes else f"{len(runs)} runs"
    yield from wrapped(f"{head}: {setting}", width, indent="")
    found = grids([widest(cases).record for cases, _ in runs])
    for grid in found:
        yield from _grid_lines(grid, width)
    in_a_grid = {case for grid in found for case in grid.cases}
    for name, (cases, table) in zip(names, runs, strict=True):
        record = widest(cases).record
        if record.case not in in_a_grid and (record.spec.method != "none" or not found):
            yield from wrapped(f"{name}: {in_short(table)}", width)
    yield from _check_lines(names, tables, width, full)
    yield Line("")
    opened = [
        (name, table) for name, table in zip(names, tables, strict=True) if table.calls_for_causes
    ]
    if len(opened) == 1:
        yield from run_lines(opened[0][1], width, full, shown_setting=tables[0].setting)
    elif opened:
        yield from _open_lines(opened, width, full)
    above = opened[0][1].notes if len(opened) == 1 else ()
    yield from _note_lines(names, tables, above, width, full)


def _shared_setting(tables: Sequence[RunTable]) -> str:
    """The setting of all runs; where they differ, what they share, and the rest with how many."""
    settings = Counter(table.setting for table in tables)
    if len(settings) == 1:
        return tables[0].setting
    items = [[part.split(", ") for part in setting.split("; ")] for setting in settings]
    counts = Counter[str]()
    for parts, runs in zip(items, settings.values(), strict=True):
        counts.update({item: runs for part in parts for item in part})
    parts = [[item for item in part if counts[item] == len(tables)] for part in items[0]]
    shared = [", ".join(part) for part in parts if part]
    others = [f"{item} in {runs}" for item, runs in counts.items() if runs < len(tables)]
    return "; ".join((*shared, ", ".join(others)))


# -- several runs that failed or are undecided ----------------------------------------------


def _open_lines(
    opened: Sequence[tuple[str, RunTable]], width: int, full: FullReports
) -> Iterator[Line]:
    """One table of all, the worst first; then each reason and each cause once."""
    opened = sorted(opened, key=lambda entry: min(map(_severity, entry[1].rows)))
    rows = sorted(_open_rows(opened), key=lambda entry: _severity(entry[1]))
    if any(row.outcome for _, row in rows):
        yield from _row_lines(rows[:_MOST_ROWS], width)
        if len(rows) > _MOST_ROWS:
            yield Line(f"  {and_more(len(rows) - _MOST_ROWS, full.markdown)}")
        yield from over_lines([table for _, table in opened], width)
    yield from _reason_lines(rows, opened, width, full)
    causes = [(name, table.attribution) for name, table in opened if table.attribution]
    for name, attribution in causes[:_MOST_CAUSES]:
        yield from wrapped(f"{name}: {attribution_text(attribution)}", width)
    if len(causes) > _MOST_CAUSES:
        more = and_more(len(causes) - _MOST_CAUSES, full.markdown, "changes of speedup")
        yield Line(f"  {more}")
    yield from change_lines(_changes(opened), width, full)
    yield Line("")


def _open_rows(opened: Sequence[tuple[str, RunTable]]) -> Iterator[tuple[str, Row]]:
    """The whole split of each run, and the categories that are open themselves."""
    for name, table in opened:
        for row in table.rows:
            if is_open(row) or row.slice == ALL or len(table.rows) == 1:
                yield name, row


def _row_lines(rows: Sequence[tuple[str, Row]], width: int) -> Iterator[Line]:
    cells = [
        (name, row.slice, row.old, row.acceptance_length, row.change, verdict_text(row))
        for name, row in rows
    ]
    for text, number in rendered(_COLUMNS, cells, width):
        yield Line(text, colour_of(None if number is None else rows[number][1].outcome))


def _severity(row: Row) -> tuple[bool, float]:
    return row.outcome not in FAILING, 1.0 if row.ratio is None else row.ratio


def _reason_lines(
    rows: Sequence[tuple[str, Row]],
    opened: Sequence[tuple[str, RunTable]],
    width: int,
    full: FullReports,
) -> Iterator[Line]:
    """Why AL is not a pass, the numbers of the worst case first; then what else was tested."""
    found = each_once(
        (name if row.slice == ALL else f"{name} {row.slice}", row.reason, row.outcome)
        for name, row in rows
        if row.outcome and row.reason and is_open(row)
    )
    others = each_once(
        (name, text, outcome) for name, table in opened for text, outcome in table.verdicts
    )
    lines = [(str(reason), reason.outcome) for reason in found]
    lines += [(f"{some(r.names)}: {r.text}{r.likewise}", r.outcome) for r in others]
    quiet = [line for line in lines if line[1] is Outcome.NOT_GATED]
    loud = [line for line in lines if line[1] is not Outcome.NOT_GATED]
    for text, outcome in (*loud[:_MOST_LINES], *grouped(quiet, full)):
        yield from wrapped(text, width, colour_of(outcome))
    if len(loud) > _MOST_LINES:
        yield Line(f"  {and_more(len(loud) - _MOST_LINES, full.markdown)}")


def _changes(opened: Sequence[tuple[str, RunTable]]) -> list[str]:
    """Each change once, with the runs that it concerns where it does not concern all."""
    found: dict[str, list[str]] = {}
    for name, table in opened:
        for change in table.changes:
            found.setdefault(str(change), []).append(name)
    return [
        text if len(names) == len(opened) else f"{text} ({some(names)})"
        for text, names in found.items()
    ]


# -- runs without a table, and grids --------------------------------------------------------


def _check_lines(
    names: Sequence[str], tables: Sequence[RunTable], width: int, full: FullReports
) -> Iterator[Line]:
    """What was tested beside AL, of runs that have no table of their own."""
    found = [
        (f"{name}: {text}", outcome)
        for name, table in zip(names, tables, strict=True)
        if not table.calls_for_causes
        for text, outcome in table.verdicts
        if outcome is not Outcome.NOT_GATED
    ]
    for text, outcome in found[:MOST_REASONS]:
        yield from wrapped(text, width, colour_of(outcome))
    if len(found) > MOST_REASONS:
        yield Line(f"  {and_more(len(found) - MOST_REASONS, full.markdown)}")


def _note_lines(
    names: Sequence[str],
    tables: Sequence[RunTable],
    above: Sequence[str],
    width: int,
    full: FullReports,
) -> Iterator[Line]:
    """Each note once, those ``above`` aside; runs are named where others have other numbers."""
    notes = each_once(
        (name, note, Outcome.NOT_GATED)
        for name, table in zip(names, tables, strict=True)
        for note in table.notes
        if note not in above
    )
    for note in notes[:MOST_REASONS]:
        named = f"{some(note.names)}: " if note.alike else ""
        yield from wrapped(f"note: {named}{note.text}{note.likewise}", width, indent="")
    if len(notes) > MOST_REASONS:
        yield Line(and_more(len(notes) - MOST_REASONS, full.markdown, "notes"))


def in_short(table: RunTable) -> str:
    """AL and speedup of a run."""
    row = next((row for row in table.rows if row.slice == ALL), table.rows[0])
    return f"AL {row.acceptance_length} ({row.slice}), {table.speed.partition(':')[0]}"


def _grid_lines(grid: Grid, width: int) -> Iterator[Line]:
    """As many batch sizes side by side as fit, the next ones below."""
    title = f"{grid.title}: {grid.shows}{', * best of its BS' if grid.marked else ''}"
    yield from wrapped(title, width, {"bold": True}, indent="")
    fitting = max(1, (width - _GRID_LABEL) // _GRID_CELL)
    for start in range(0, len(grid.batches), fitting):
        part = slice(start, start + fitting)
        columns: list[Column] = [("", "left")]
        columns += [(f"BS {bs}", "right") for bs in grid.batches[part]]
        rows = [[name, *map(_cell_text, cells[part])] for name, cells in grid.rows]
        for text, _ in rendered(columns, rows, width):
            yield Line(text)
    if grid.note:
        yield from wrapped(grid.note, width)


def _cell_text(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    return f"{cell}{'*' if cell.best else ' '}"
