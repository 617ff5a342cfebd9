"""What stands at the end of a session: at most 80 columns, readable without colour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap

from pytest_speedbench.compare.gate import is_beside_all
from pytest_speedbench.compare.judge import ACCEPTANCE
from pytest_speedbench.compare.results import CaseResult, SessionResults
from pytest_speedbench.compare.verdict import FAILING, Outcome, Verdict
from pytest_speedbench.escapes import label
from pytest_speedbench.report.grid import Cell, Grid, grids
from pytest_speedbench.report.tables import Column, Justify, TableLine, table_lines
from pytest_speedbench.report.view import (
    NOTHING,
    Row,
    RunTable,
    attribution_text,
    run_table,
    runs_of,
    widest,
)

Columns = Sequence[tuple[str, Justify, Callable[[Row], str]]]
WIDEST = 80
_MOST_RUNS = 3
_MOST_REASONS = 4
_MOST_MISSING = 2
_MOST_CHANGES = 4
_MOST_CATEGORIES = 3
_MOST_SLICES = 4
_QUIET = (Outcome.PASS, Outcome.NO_BASELINE)
_GRID_LABEL, _GRID_CELL = 8, 16


@dataclass(frozen=True, slots=True)
class Line:
    """One line and pytest's markup for it."""

    text: str
    markup: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Everything:
    """What to type for the reports that leave nothing out."""

    markdown: str
    html: str


SESSION = Everything("--speed-summary=PATH.md", "--speed-report=PATH.html")
COMMAND = Everything(
    "speedbench report RUN --markdown PATH.md", "speedbench report RUN --html PATH.html"
)


def summary_lines(
    results: SessionResults, width: int, everything: Everything = SESSION
) -> Iterator[Line]:
    """Every line under the heading ``speedbench``.

    A single run has its table; several runs are a grid each method, and a table only where a run
    failed, improved or is undecided.
    """
    width = min(width, WIDEST)
    runs = runs_of(results.cases)
    tables = [run_table(cases) for cases in runs]
    own = [
        (cases, table)
        for cases, table in zip(runs, tables, strict=True)
        if not cases[0].record.of_reference_build
    ]
    if len(own) == 1:
        yield from _run_lines(own[0][1], width, everything)
    elif own:
        yield from _sweep_lines(own, width, everything)
    for cases, table in zip(runs, tables, strict=True):
        if cases[0].record.of_reference_build:
            yield from _wrapped(f"{table.title}: {_in_short(table)}", width, indent="")
    yield from _gate_lines(results, width, everything)
    yield from _skip_lines(results, width)
    yield from _saved_lines(results, width)
    for problem in filter(None, (*results.problems, results.failure)):
        yield from _wrapped(problem, width, {"red": True, "bold": True}, indent="")


def _wrapped(
    text: str, width: int, markup: dict[str, bool] | None = None, indent: str = "  "
) -> Iterator[Line]:
    """A paragraph, its further lines indented; a path or a command is not broken."""
    further = f"{indent}  "
    for line in wrap(
        label(text),
        width,
        initial_indent=indent,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        yield Line(line, markup or {})


# -- one run --------------------------------------------------------------------------------


def _run_lines(
    table: RunTable, width: int, everything: Everything, said: str = ""
) -> Iterator[Line]:
    """``said`` is the setting that stands above already."""
    yield from _wrapped(table.title, width, {"bold": True}, indent="")
    if table.setting != said:
        yield from _wrapped(table.setting, width)
    for text, row in _slices(table, width):
        yield Line(text, _colour(None if row is None else table.rows[row].outcome))
    yield from _wrapped(table.speed, width, {"yellow" if table.slower else "green": True})
    for text, outcome in (*_reasons(table, everything), *_grouped(table.verdicts)):
        yield from _wrapped(text, width, _colour(outcome))
    if table.attribution:
        yield from _wrapped(attribution_text(table.attribution), width)
    if table.calls_for_causes:
        yield from _change_lines([str(change) for change in table.changes], width, everything)
    for text in (*table.details, *(f"note: {note}" for note in table.notes)):
        yield from _wrapped(text, width)
    yield Line("")


def _reasons(table: RunTable, everything: Everything) -> Iterator[tuple[str, Outcome]]:
    """Why AL is neither a pass nor without a baseline; equal reasons once."""
    found: dict[tuple[str, Outcome], list[str]] = {}
    for row in table.rows:
        if row.outcome and row.outcome not in _QUIET and not row.beside_all:
            found.setdefault((row.reason, row.outcome), []).append(row.slice)
    order = sorted(found.items(), key=lambda entry: entry[0][1] not in FAILING)
    for (reason, outcome), slices in order[:_MOST_REASONS]:
        yield f"{outcome}: {_some(slices)}: {reason}", outcome
    if len(order) > _MOST_REASONS:
        more = len(order) - _MOST_REASONS
        yield f"… and {more} more (all in {everything.markdown})", Outcome.UNDECIDED


def _grouped(verdicts: Iterable[tuple[str, Outcome]]) -> Iterator[tuple[str, Outcome]]:
    """Verdicts on other metrics; of those that test nothing, one and the number of the others."""
    quiet = 0
    for text, outcome in verdicts:
        quiet += outcome is Outcome.NOT_GATED
        if outcome is not Outcome.NOT_GATED or quiet == 1:
            yield text, outcome
    if quiet > 1:
        yield f"… and {quiet - 1} more not gated", Outcome.NOT_GATED


def _change_lines(changes: Sequence[str], width: int, everything: Everything) -> Iterator[Line]:
    for change in changes[:_MOST_CHANGES]:
        yield from _wrapped(f"changed: {change}", width, {"yellow": True})
    if len(changes) > _MOST_CHANGES:
        more = len(changes) - _MOST_CHANGES
        yield Line(f"  … and {more} more changes (all in {everything.html})")


def _slices(table: RunTable, width: int) -> Iterator[TableLine]:
    columns = _columns(table)
    rows = [[cell(row) for _, _, cell in columns] for row in table.rows]
    return _rendered([(title, justify) for title, justify, _ in columns], rows, width)


def _columns(table: RunTable) -> Columns:
    """Titles, alignment and contents; the gate's columns only where something was compared."""
    first: Columns = [
        ("category", "left", lambda row: row.slice),
        ("n", "right", lambda row: row.n),
    ]
    if not any(row.outcome for row in table.rows):
        return [
            *first,
            ("AL", "right", lambda row: row.acceptance_length),
            ("95 %", "right", lambda row: row.interval),
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
        ("95 %", "right", lambda row: row.interval),
        ("acc.", "right", lambda row: row.accepted),
        ("change", "right", lambda row: row.change),
        ("verdict", "left", lambda row: row.outcome.value if row.outcome else row.verdict),
    ]


def _rendered(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int
) -> Iterator[TableLine]:
    """The lines of a table, indented."""
    cells = [[label(cell) for cell in row] for row in rows]
    for text, row in table_lines(columns, cells, width - 2):
        yield TableLine(f"  {text}".rstrip(), row)


def _colour(outcome: Outcome | None) -> dict[str, bool]:
    match outcome:
        case outcome if outcome in FAILING:
            return {"red": True}
        case Outcome.UNDECIDED:
            return {"yellow": True}
        case Outcome.PASS | Outcome.IMPROVED:
            return {"green": True}
    return {}


# -- several runs ---------------------------------------------------------------------------


def _sweep_lines(
    runs: Sequence[tuple[Sequence[CaseResult], RunTable]], width: int, everything: Everything
) -> Iterator[Line]:
    tables = [table for _, table in runs]
    yield from _wrapped(f"{len(runs)} runs: {tables[0].setting}", width, indent="")
    found = grids([widest(cases).record for cases, _ in runs])
    for grid in found:
        yield from _grid_lines(grid, width)
    in_a_grid = {case for grid in found for case in grid.cases}
    for cases, table in runs:
        record = widest(cases).record
        if record.case not in in_a_grid and (record.spec.method != "none" or not found):
            yield from _wrapped(f"{table.title}: {_in_short(table)}", width)
    yield from _check_lines(tables, width, everything)
    yield Line("")
    open_runs = [table for table in tables if table.calls_for_causes]
    open_runs.sort(key=lambda table: not table.outcomes & FAILING)
    for table in open_runs[:_MOST_RUNS]:
        yield from _run_lines(table, width, everything, said=tables[0].setting)
    if len(open_runs) > _MOST_RUNS:
        names = [table.title for table in open_runs[_MOST_RUNS:]]
        yield from _wrapped(f"neither pass nor untested, too: {_some(names)}", width, indent="")
        yield Line("")
    shown = {note for table in open_runs[:_MOST_RUNS] for note in table.notes}
    notes = dict.fromkeys(note for table in tables for note in table.notes if note not in shown)
    for note in list(notes)[:_MOST_REASONS]:
        yield from _wrapped(f"note: {note}", width, indent="")


def _check_lines(tables: Sequence[RunTable], width: int, everything: Everything) -> Iterator[Line]:
    """What was tested beside AL, of runs that have no table of their own."""
    found = [
        (f"{table.title}: {text}", outcome)
        for table in tables
        if not table.calls_for_causes
        for text, outcome in table.verdicts
        if outcome is not Outcome.NOT_GATED
    ]
    for text, outcome in found[:_MOST_REASONS]:
        yield from _wrapped(text, width, _colour(outcome))
    if len(found) > _MOST_REASONS:
        yield Line(f"  … and {len(found) - _MOST_REASONS} more (all in {everything.markdown})")


def _in_short(table: RunTable) -> str:
    row = next((row for row in table.rows if row.slice == "all"), table.rows[0])
    return f"AL {row.acceptance_length} ({row.slice}), {table.speed.partition(':')[0]}"


def _grid_lines(grid: Grid, width: int) -> Iterator[Line]:
    """As many batch sizes side by side as fit, the next ones below."""
    title = f"{grid.title}: AL and speedup, * best of its BS"
    yield from _wrapped(title, width, {"bold": True}, indent="")
    fitting = max(1, (width - _GRID_LABEL) // _GRID_CELL)
    for start in range(0, len(grid.batches), fitting):
        part = slice(start, start + fitting)
        columns: list[Column] = [("", "left")]
        columns += [(f"BS {bs}", "right") for bs in grid.batches[part]]
        rows = [[name, *map(_cell_text, cells[part])] for name, cells in grid.rows]
        for text, _ in _rendered(columns, rows, width):
            yield Line(text)


def _cell_text(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    return f"{cell}{'*' if cell.best else ' '}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_SLICES])
    more = len(names) - _MOST_SLICES
    return f"{shown} and {more} more" if more > 0 else shown


# -- the gate -------------------------------------------------------------------------------


def _gate_lines(results: SessionResults, width: int, everything: Everything) -> Iterator[Line]:
    verdicts = results.verdicts
    if verdicts:
        baselines = dict.fromkeys(verdict.baseline for verdict in verdicts if verdict.baseline)
        against = f" (against {', '.join(baselines)})" if baselines else ""
        yield from _wrapped(f"gate: {_counts(verdicts) + against}", width, {"bold": True}, "")
        missing = {v.reason for v in verdicts if v.outcome is Outcome.NO_BASELINE}
        for reason in sorted(missing)[:_MOST_MISSING]:
            yield from _wrapped(f"no baseline: {reason}", width)
        if len(missing) > _MOST_MISSING:
            more = len(missing) - _MOST_MISSING
            yield Line(f"  … and {more} more (all in {everything.markdown})")
        yield from _category_lines(results, width)
        yield from _wrapped(results.family, width)
    elif results.cases and not results.comparing:
        hint = "nothing compared; --speed-compare compares with the latest saved run"
        yield from _wrapped(f"gate: {hint}", width, indent="")


def _counts(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts of each outcome, by metric where there are several metrics."""
    metrics = dict.fromkeys(verdict.metric for verdict in verdicts)
    parts = []
    for metric in metrics:
        found = [verdict.outcome for verdict in verdicts if verdict.metric == metric]
        counts = ", ".join(f"{found.count(o)} {o}" for o in Outcome if o in found)
        parts.append(counts if len(metrics) == 1 else f"{metric}: {counts}")
    return "; ".join(parts)


def _category_lines(results: SessionResults, width: int) -> Iterator[Line]:
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
    yield from _wrapped(
        f"too few samples to gate each category: {', '.join(names)}{more}; "
        "--speed-category-verdicts asks for a verdict on each",
        width,
    )


def _beside_all(case: CaseResult, verdict: Verdict) -> bool:
    """Whether this is the verdict on AL of a category that only the whole split is judged for."""
    not_gated = verdict.metric == ACCEPTANCE and verdict.outcome is Outcome.NOT_GATED
    return not_gated and is_beside_all(case.record)


def _change(verdict: Verdict) -> str:
    assert verdict.ratio is not None
    bound = "" if verdict.low is None else f" (lost at most {max(0.0, 1 - verdict.low):.1%})"
    return f"{verdict.ratio - 1:+.1%}{bound}"


# -- what else ------------------------------------------------------------------------------


def _skip_lines(results: SessionResults, width: int) -> Iterator[Line]:
    for reason, count in results.skipped.items():
        yield from _wrapped(f"{count} skipped: {reason}", width, {"yellow": True}, "")


def _saved_lines(results: SessionResults, width: int) -> Iterator[Line]:
    for path in results.saved:
        yield Line(f"saved: {_short(path)}")
    if results.report:
        yield Line(f"report: {_short(results.report)}")
    if results.saved and any(v.outcome is Outcome.FAIL for v in results.verdicts):
        yield Line(f"intended? accept it: {results.promote_command}")
    if results.cases and not results.saved and not results.problems:
        hint = "not saved: --benchmark-autosave keeps this run for later comparisons"
        yield from _wrapped(hint, width, indent="")


def _short(path: str) -> str:
    return path.removeprefix(f"{Path.cwd()}/")
