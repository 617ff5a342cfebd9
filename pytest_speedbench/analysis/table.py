"""What every analysis yields: a table of named columns, ready to print, plot or export."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pytest_speedbench.quantities import change_of
from pytest_speedbench.stats import Estimate

Value = str | int | float | Estimate | None
Form = Literal["text", "number", "value", "percent", "change", "difference"]
"""``value`` is a number without its interval; ``percent`` shows 0.12 as 12%, ``change`` a ratio of
0.97 as -3%, ``difference`` -0.03 as -3%."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its key in a row, its title, and how its numbers read.

    ``printed`` is false for numbers that are exported alone.
    """

    key: str
    title: str
    form: Form = "number"
    digits: int = 2
    printed: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """Rows by column key.

    Attributes:
        name: the analysis, as in ``speedbench analyze NAME``.
        title: what the table shows, one line.
        columns: shape (columns,), in their order.
        rows: shape (rows,); a key that a row lacks has no value there.
        notes: what limits the numbers, one sentence each.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Value], ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain builtins for JSON: an estimate is its value, limits, n, level and unit."""
        return {
            "analysis": self.name,
            "title": self.title,
            "columns": [{"key": c.key, "title": c.title} for c in self.columns],
            "rows": [{c.key: _plain(row.get(c.key)) for c in self.columns} for row in self.rows],
            "notes": list(self.notes),
        }


def _plain(value: Value) -> Any:
    if not isinstance(value, Estimate):
        return value
    names = ("value", "low", "high", "n", "level", "unit")
    return {name: getattr(value, name) for name in names}


def shared(table: Table) -> dict[str, str]:
    """Title and text of the columns in which all rows are the same; of one row, none.

    A column without a title marks rows: it is none.
    """
    if len(table.rows) < 2:
        return {}
    shown = [c for c in table.columns if c.printed and c.title]
    texts = {c.title: {cell(row.get(c.key), c) for row in table.rows} for c in shown}
    return {title: found.pop() for title, found in texts.items() if len(found) == 1}


def without(table: Table, titles: Container[str]) -> Table:
    """The printed columns of the table but some."""
    kept = tuple(c for c in table.columns if c.printed and c.title not in titles)
    return replace(table, columns=kept)


NOTHING = "–"
"""A cell without a value."""


def cell(value: Value, column: Column) -> str:
    """A value as text, with its interval where it has one."""
    if value is None:
        return NOTHING
    if isinstance(value, Estimate):
        shown = _number(value.value, column)
        if value.low is None or value.high is None or column.form == "value":
            return shown
        low, high = (_number(limit, column) for limit in (value.low, value.high))
        return f"{shown} [{low}, {high}]"
    if isinstance(value, str):
        return value
    return _number(value, column)


def _number(value: float, column: Column) -> str:
    match column.form:
        case "percent":
            return f"{value:.{column.digits}%}"
        case "change":
            return change_of(value, column.digits)
        case "difference":
            return change_of(1 + value, column.digits)
        case _:
            return f"{value:,}" if isinstance(value, int) else f"{value:,.{column.digits}f}"


def text_rows(table: Table) -> list[Sequence[str]]:
    """The rows as text, in the order of the columns."""
    return [[cell(row.get(c.key), c) for c in table.columns] for row in table.rows]
