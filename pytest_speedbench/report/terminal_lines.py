"""Lines of the terminal: folded paragraphs and tables, with pytest's markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_speedbench.compare.verdict import FAILING, Outcome
from pytest_speedbench.escapes import label, on_terminal
from pytest_speedbench.report.folding import folded
from pytest_speedbench.report.tables import Column, TableLine, table_lines


@dataclass(frozen=True, slots=True)
class Line:
    """One line and pytest's markup for it."""

    text: str
    markup: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FullReports:
    """What to type for the reports that leave nothing out."""

    markdown: str
    html: str


SESSION = FullReports("--speed-summary=PATH.md", "--speed-report=PATH.html")
COMMAND = FullReports(
    "speedbench report RUN --markdown PATH.md", "speedbench report RUN --html PATH.html"
)


def wrapped(
    text: str, width: int, markup: dict[str, bool] | None = None, indent: str = "  "
) -> Iterator[Line]:
    """A paragraph, its further lines indented; a path or a command is not broken."""
    for line in folded(on_terminal(label(text)), width, indent, f"{indent}  "):
        yield Line(line, markup or {})


def rendered(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int
) -> Iterator[TableLine]:
    """The lines of a table, indented."""
    cells = [[on_terminal(label(cell)) for cell in row] for row in rows]
    for text, row in table_lines(columns, cells, width - 2):
        yield TableLine(on_terminal(f"  {text}".rstrip()), row)


def and_more(count: int, report: str, what: str = "") -> str:
    """``… and 3 more changes (all in --speed-summary=PATH.md)``."""
    more = f"{count} more {what}" if what else f"{count} more"
    return f"… and {more} (all in {report})"


def colour_of(outcome: Outcome | None) -> dict[str, bool]:
    """The markup of an outcome."""
    match outcome:
        case outcome if outcome in FAILING:
            return {"red": True}
        case Outcome.UNDECIDED:
            return {"yellow": True}
        case Outcome.PASS | Outcome.IMPROVED:
            return {"green": True}
    return {}
