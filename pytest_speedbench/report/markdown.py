"""The Markdown summary, as a pull request or a CI job shows it."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.escapes import markdown_cell
from pytest_speedbench.report.view import RunTable, run_tables

_HEAD = "| category | n | AL | 95 % | macro | engine's own | accepted | vs baseline | verdict |"
_RULE = "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"


def render_markdown(results: SessionResults) -> str:
    """The whole summary."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: SessionResults) -> Iterator[str]:
    yield "## Speculative decoding"
    if results.failure:
        yield from ("", f"**{markdown_cell(results.failure)}**")
    for table in run_tables(results.cases):
        yield from ("", *_table(table))
    if results.comparing:
        yield from ("", markdown_cell(results.family))
    for text in results.problems:
        yield from ("", f"**{markdown_cell(text)}**")


def _table(table: RunTable) -> Iterator[str]:
    yield f"### {markdown_cell(table.title)}"
    yield from ("", _HEAD, _RULE)
    for row in table.rows:
        cells = (
            row.slice,
            row.n,
            row.acceptance_length,
            row.interval,
            row.macro,
            row.engine,
            row.accepted,
            row.change,
            row.verdict,
        )
        yield f"| {' | '.join(map(markdown_cell, cells))} |"
    yield from ("", f"**{markdown_cell(table.speed)}**", "")
    others = [text for text, _ in table.verdicts]
    for text in (table.setting, *others, *table.details, *table.notes):
        yield f"- {markdown_cell(text)}"
    for row in table.rows:
        for reason in row.reasons:
            yield f"- {markdown_cell(f'{row.slice}: {reason}')}"
    if table.changes:
        count = len(table.changes)
        summary = f"{count} change{'s' * (count > 1)} since the baseline"
        yield from ("", f"<details><summary>{summary}</summary>", "")
        yield from (f"- {markdown_cell(change)}" for change in table.changes)
        yield from ("", "</details>")
