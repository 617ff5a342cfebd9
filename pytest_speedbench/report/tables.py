"""Tables of a terminal: text wraps where there is no room for it, a number is never cut.

A table that is still too wide is divided: its first column stands before every division.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size

from pytest_speedbench.report.folding import points_joined, points_split

Justify = Literal["left", "right"]
Column = tuple[str, Justify]
_GAP = "  "
_NARROWEST_TEXT = 14
_PARTS = re.compile(r"[^-_/.]+[-_/.]*|[-_/.]+")


class TableLine(NamedTuple):
    """One line, and of which row it is; None for heads and rules."""

    text: str
    row: int | None = None


def table_lines(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int
) -> Iterator[TableLine]:
    """The lines of a table, in at most ``width`` cells where its numbers allow it.

    Args:
        columns: title and side of each; those on the left are text, and wrap where they must.
        rows: shape (rows, columns), free of line breaks and control characters.
        width: cells of the terminal.
    """
    cells = [
        _Cells(title, side, [row[number] for row in rows])
        for number, (title, side) in enumerate(columns)
    ]
    for number, part in enumerate(_divided(cells, width)):
        if number:
            yield TableLine("")
        yield from _lines(part, len(rows), width)


@dataclass(frozen=True, slots=True)
class _Cells:
    """One column."""

    title: str
    side: Justify
    texts: Sequence[str]

    @property
    def width(self) -> int:
        """Cells that the column takes without a line break."""
        return max(map(cell_len, (self.title, *self.texts)))

    @property
    def narrowest(self) -> int:
        """Cells that the column takes at least: its title, and text, wrap."""
        title = max(map(cell_len, self.title.split()), default=0)
        content = max(map(cell_len, self.texts), default=0)
        if self.side == "left":
            return min(self.width, max(title, min(content, _NARROWEST_TEXT)))
        return max(title, content)

    def wrapped(self, width: int) -> tuple[list[str], list[list[str]]]:
        """The lines of the title and of each cell."""
        return _wrap(self.title, width), [_wrap(text, width) for text in self.texts]

    def placed(self, line: str, width: int) -> str:
        """``line`` on its side of the column."""
        if self.side == "left":
            return set_cell_size(line, width)
        return " " * (width - cell_len(line)) + line


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` cells, broken at blanks, and longer words where they must."""
    lines = [""]
    for word in points_joined(text).split():
        for piece in _pieces(word, max(1, width)):
            joined = f"{lines[-1]} {piece}" if lines[-1] else piece
            if cell_len(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(piece)
    return [points_split(line) for line in lines]


def _pieces(word: str, width: int) -> list[str]:
    """A word in pieces of at most ``width`` cells: the parts of a name, or of a path, stay whole
    where they fit."""
    pieces = [""]
    for part in _PARTS.findall(word):
        if cell_len(pieces[-1] + part) <= width:
            pieces[-1] += part
        else:
            pieces += chop_cells(part, width)
    return [piece for piece in pieces if piece]


def _full(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _divided(cells: Sequence[_Cells], width: int) -> Iterator[Sequence[_Cells]]:
    """The columns in as many parts as it takes for each to fit."""
    first, *others = cells
    part = [first]
    for column in others:
        if len(part) > 1 and _full([c.narrowest for c in (*part, column)]) > width:
            yield part
            part = [first]
        part.append(column)
    yield part


def _lines(cells: Sequence[_Cells], rows: int, width: int) -> Iterator[TableLine]:
    widths = _widths(cells, width)
    wrapped = [column.wrapped(size) for column, size in zip(cells, widths, strict=True)]

    def laid_out(parts: Sequence[Sequence[str]]) -> Iterator[str]:
        for line in zip_longest(*parts, fillvalue=""):
            places = zip(cells, line, widths, strict=True)
            yield _GAP.join(column.placed(text, size) for column, text, size in places).rstrip()

    for text in laid_out([title for title, _ in wrapped]):
        yield TableLine(text)
    yield TableLine("─" * _full(widths))
    for number in range(rows):
        for text in laid_out([texts[number] for _, texts in wrapped]):
            yield TableLine(text, number)


def _widths(cells: Sequence[_Cells], width: int) -> list[int]:
    """The width of each column: titles of numbers wrap first where that is enough, otherwise the
    widest text."""
    widths = [column.width for column in cells]
    least = [column.narrowest for column in cells]
    titles = [column.narrowest if column.side == "right" else column.width for column in cells]
    for side in ("right", "left") if _full(titles) <= width else ("left", "right"):
        while _full(widths) > width:
            own = (n for n, column in enumerate(cells) if column.side == side)
            wide = [n for n in own if widths[n] > least[n]]
            if not wide:
                break
            widths[max(wide, key=widths.__getitem__)] -= 1
    return widths
