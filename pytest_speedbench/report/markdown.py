"""The Markdown summary, as a pull request or a CI job shows it: the verdict first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pytest_speedbench.compare.results import CaseResult, SessionResults
from pytest_speedbench.compare.verdict import FAILING, Outcome
from pytest_speedbench.escapes import markdown_cell
from pytest_speedbench.report.grid import Grid, grids
from pytest_speedbench.report.headline import headline_of, severity
from pytest_speedbench.report.titles import short_titles
from pytest_speedbench.report.view import (
    NOTHING,
    Row,
    RunTable,
    attribution_text,
    run_table,
    runs_of,
    speedup_text,
    widest,
)

_OVERVIEW = (
    "| run | slice | AL | change | verdict | speedup |",
    "| --- | --- | ---: | ---: | --- | ---: |",
)
_MOST_ROWS = 20
_BAD = FAILING | {Outcome.UNDECIDED}


def render_markdown(results: SessionResults, folder: Path | None = None) -> str:
    """The whole summary.

    Args:
        results: of the session.
        folder: where the text is written to, from which the HTML report is linked; without it the
            report is named.
    """
    return "\n".join(_lines(results, folder)) + "\n"


def _lines(results: SessionResults, folder: Path | None) -> Iterator[str]:
    headline = headline_of(results)
    sign = "" if headline.tone == "plain" else f"{headline.sign} "  # a dash would be a minus
    yield f"## Speculative decoding: {sign}{markdown_cell(headline.title)}"
    if headline.text:
        yield from ("", f"**{markdown_cell(headline.text)}**")
    counts = [f"{count} {outcome}" for outcome, count in headline.counts]
    against = f"against {', '.join(headline.against)}" if headline.against else ""
    if said := "; ".join(filter(None, (", ".join(counts), against))):
        yield from ("", markdown_cell(said))
    for text in results.problems:
        yield from ("", f"**{markdown_cell(text)}**")
    runs = sorted(runs_of(results.cases), key=_severity)
    tables = [run_table(cases) for cases in runs]
    titles = [table.title for table in tables]
    names = short_titles(titles) if len(tables) > 1 else titles
    yield from _overview(runs, tables, names)
    yield from _causes(tables, names)
    for grid in grids([widest(cases).record for cases in runs]):
        yield from _grid(grid)
    for table in tables:
        yield from _details(table)
    for reason, count in results.skipped.items():
        yield from ("", markdown_cell(f"{count} skipped: {reason}"))
    if results.verdicts and results.family:
        yield from ("", markdown_cell(results.family))
    if results.report:
        yield from ("", f"Full report: {_report(results.report, folder)}")


def _severity(cases: Sequence[CaseResult]) -> tuple[int, float]:
    """Sorts the worst first: by the worst outcome, then by the largest loss of AL."""
    verdicts = [verdict for case in cases for verdict in case.verdicts]
    ratios = [v.ratio for v in verdicts if v.ratio is not None]
    return severity(v.outcome for v in verdicts), min(ratios, default=1.0)


# -- what comes first -----------------------------------------------------------------------


def _overview(
    runs: Sequence[Sequence[CaseResult]], tables: Sequence[RunTable], names: Sequence[str]
) -> Iterator[str]:
    """The whole split of each run, and the slices that failed or are undecided."""
    lines = [
        f"| {' | '.join(map(markdown_cell, _overview_row(case, row, name)))} |"
        for cases, table, name in zip(runs, tables, names, strict=True)
        for case, row in _shown(cases, table)
    ]
    if lines:
        yield from ("", *_OVERVIEW, *lines[:_MOST_ROWS])
    if len(lines) > _MOST_ROWS:
        yield from ("", f"… and {len(lines) - _MOST_ROWS} more, below")


def _shown(cases: Sequence[CaseResult], table: RunTable) -> Iterator[tuple[CaseResult, Row]]:
    whole = widest(cases)
    pairs = list(zip(cases, table.rows, strict=True))
    yield from (pair for pair in pairs if pair[0] is whole)
    bad = [(case, row) for case, row in pairs if case is not whole and row.outcome in _BAD]
    yield from sorted(bad, key=lambda pair: pair[1].ratio or 1.0)


def _overview_row(case: CaseResult, row: Row, name: str) -> tuple[str, ...]:
    before = "" if row.old == NOTHING else f"{row.old} → "
    interval = "" if row.interval == NOTHING else f" [{row.interval}]"
    return (
        name,
        row.slice,
        f"{before}{row.acceptance_length}{interval}",
        row.change,
        row.verdict,
        speedup_text(case.record, case.baseline) or NOTHING,
    )


def _causes(tables: Sequence[RunTable], names: Sequence[str]) -> Iterator[str]:
    """What changed since the baseline, each once, and what each change of speedup is due to."""
    opened = [
        (name, table) for name, table in zip(names, tables, strict=True) if table.calls_for_causes
    ]
    changes = dict.fromkeys(str(change) for _, table in opened for change in table.changes)
    several = len({table.title for _, table in opened}) > 1
    factors = [
        (f"{name}: " if several else "") + attribution_text(table.attribution)
        for name, table in opened
        if table.attribution
    ]
    if changes or factors:
        yield from ("", "### What changed", "")
        yield from (f"- {markdown_cell(text)}" for text in (*changes, *factors))


def _grid(grid: Grid) -> Iterator[str]:
    yield from ("", f"### {markdown_cell(grid.title)}: {grid.shows}", "")
    yield f"| | {' | '.join(f'BS {bs}' for bs in grid.batches)} |"
    yield f"| --- |{' ---: |' * len(grid.batches)}"
    for name, cells in grid.rows:
        texts = [NOTHING if cell is None else markdown_cell(str(cell)) for cell in cells]
        best = [cell is not None and cell.best for cell in cells]
        shown = [f"**{text}**" if bold else text for text, bold in zip(texts, best, strict=True)]
        yield f"| {name} | {' | '.join(shown)} |"
    if grid.note:
        yield from ("", markdown_cell(grid.note))


# -- the runs, folded -----------------------------------------------------------------------


def _details(table: RunTable) -> Iterator[str]:
    yield from ("", f"<details><summary>{markdown_cell(table.title)}</summary>", "")
    columns = _columns(table.judged)
    yield f"| {' | '.join(title for title, _ in columns)} |"
    yield f"| --- |{' ---: |' * (len(columns) - 1)}"
    for row in _worst_first(table.rows):
        yield f"| {' | '.join(markdown_cell(cell(row)) for _, cell in columns)} |"
    yield ""
    others = [text for text, _ in table.verdicts]
    for text in (table.over, table.speed, table.setting, *others, *table.details, *table.notes):
        if text:
            yield f"- {markdown_cell(text)}"
    yield from (f"- {markdown_cell(str(reason))}" for reason in table.reasons)
    if not table.calls_for_causes:
        yield from (f"- changed: {markdown_cell(str(change))}" for change in table.changes)
    yield from ("", "</details>")


def _columns(compared: bool) -> list[tuple[str, Callable[[Row], str]]]:
    """Titles and contents; those of the gate only where something was compared."""
    old: list[tuple[str, Callable[[Row], str]]] = [("old AL", lambda row: row.old)]
    gate: list[tuple[str, Callable[[Row], str]]] = [
        ("change", lambda row: row.change),
        ("verdict", lambda row: row.verdict),
        ("change, 95%", lambda row: row.change_interval),
    ]
    return [
        ("category", lambda row: row.slice),
        ("n", lambda row: row.n),
        *(old if compared else []),
        ("AL", lambda row: row.acceptance_length),
        ("95%", lambda row: row.interval),
        ("macro", lambda row: row.macro),
        ("engine's own", lambda row: row.engine),
        ("accepted", lambda row: row.accepted),
        *(gate if compared else []),
    ]


def _worst_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: 1.0 if row.ratio is None else row.ratio)


# -- links ----------------------------------------------------------------------------------


def _report(path: str, folder: Path | None) -> str:
    if folder is None:
        return markdown_cell(path)
    target = os.path.relpath(path, folder)
    return f"[{markdown_cell(Path(path).name)}](<{_address(target)}>)"


def _address(path: str) -> str:
    """A path as a link's target in angle brackets."""
    from urllib.parse import quote

    return quote(path, safe="/:._-~")
