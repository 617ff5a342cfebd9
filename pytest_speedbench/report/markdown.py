"""The Markdown summary, as a pull request or a CI job shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_speedbench.report.text import markdown_cell
from pytest_speedbench.report.view import RunTable, run_tables

if TYPE_CHECKING:
    from pytest_speedbench.session.summary import Summary

_HEAD = "| category | n | AL | 95 % | macro | engine's own | accepted | vs baseline | gate |"
_RULE = "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"


def render_markdown(summary: Summary) -> str:
    """The whole summary."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: Summary) -> Iterator[str]:
    yield "## Speculative decoding"
    for table in run_tables(summary.results):
        yield from ("", *_table(table))
    if summary.comparing:
        yield from ("", markdown_cell(summary.family))
    for text in (summary.none_compared, *summary.problems):
        if text:
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
    for text in (table.setting, *table.details, *table.notes):
        yield f"- {markdown_cell(text)}"
    for row in table.rows:
        for reason in row.reasons:
            yield f"- {markdown_cell(f'{row.slice}: {reason}')}"
