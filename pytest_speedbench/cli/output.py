"""Everything that the commands print: lines, tables, colours; text of others is escaped here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pytest_speedbench.escapes import label, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

NOTHING = "–"
_WIDEST = 110
_INDENT, _GAP = "  ", "  "
Justify = Literal["left", "right"]

WORD_STYLES = {
    "pass": "green",
    "improved": "green",
    "undecided": "yellow",
    "fail": "red",
    "speculation off": "red",
    "incomparable": "red",
    "degenerate": "red",
}


def echo(text: str = "", *, err: bool = False) -> None:
    """One line as it is, not wrapped; ``err``: on standard error."""
    import typer

    typer.echo(printable(text), err=err)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file that a command was asked for.

    Raises:
        CliError: it cannot be written.
    """
    from pytest_speedbench.errors import CliError

    try:
        path.write_bytes(data)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror or error}") from error


def write_file(path: Path, data: bytes, *, err: bool = False) -> None:
    """As :func:`write_bytes`, and says so; ``err``: on standard error."""
    write_bytes(path, data)
    echo(f"written: {path}", err=err)


def rewrite(text: str, *, last: bool) -> None:
    """The line of progress on standard error, over the one before; ``last`` ends it."""
    import typer

    typer.echo("\r\x1b[K", err=True, nl=False)
    typer.echo(label(text), err=True, nl=last)


def console() -> Console:
    """Standard output, at most 110 columns wide; 80 if it is not a terminal."""
    from rich.console import Console

    found = Console(highlight=False, markup=False, emoji=False)
    found.width = min(found.width, _WIDEST)
    return found


class Lines:
    """Prints plain lines and tables, everything made printable."""

    def __init__(self) -> None:
        self._console = console()

    def line(self, text: str = "", style: str = "") -> None:
        """One paragraph, wrapped at the width."""
        self._console.print(printable(text), style=style or None, soft_wrap=False)

    def item(self, head: str, text: str, style: str = "") -> None:
        """A paragraph with a hanging indent: further lines start below ``text``."""
        from textwrap import fill

        indent = " " * len(head)
        width = self._console.width
        text = fill(
            printable(text),
            width,
            initial_indent=head,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self._console.print(text, style=style or None, soft_wrap=True)

    def exact(self, text: str, style: str = "") -> None:
        """Text as it is, never wrapped: a path or a command to copy."""
        self._console.print(printable(text), style=style or None, soft_wrap=True)

    def table(
        self,
        columns: Sequence[tuple[str, Justify]],
        rows: Iterable[Sequence[str]],
        styles: Iterable[str] = (),
        *,
        wrap: frozenset[str] = frozenset(),
    ) -> None:
        """A table; only the columns in ``wrap`` wrap their text."""
        from itertools import zip_longest

        cells = [[label(cell) for cell in row] for row in rows]
        styled = list(zip_longest(cells, list(styles)[: len(cells)], fillvalue=""))
        if not self._plain_table(columns, styled):
            self._fitted_table(columns, styled, wrap)

    def _plain_table(
        self, columns: Sequence[tuple[str, Justify]], rows: Sequence[tuple[Sequence[str], str]]
    ) -> bool:
        """Prints a table that is not too wide, as rich would but much faster; else False."""
        from itertools import groupby

        from rich.cells import cell_len, set_cell_size

        heads = [title for title, _ in columns]
        cells = [heads, *(row for row, _ in rows)]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        full = sum(widths) + len(_GAP) * (len(widths) - 1)
        if len(_INDENT) + full > self._console.width:
            return False

        def line(row: Sequence[str]) -> str:
            return _INDENT + _GAP.join(
                " " * (width - cell_len(cell)) + cell
                if justify == "right"
                else set_cell_size(cell, width)
                for cell, width, (_, justify) in zip(row, widths, columns, strict=True)
            )

        self._console.print(line(heads), style="bold", soft_wrap=True)
        self._console.print(_INDENT + "─" * full, soft_wrap=True)
        for style, group in groupby(rows, key=lambda row: row[1]):
            text = "\n".join(line(row) for row, _ in group)
            self._console.print(text, style=style or None, soft_wrap=True)
        return True

    def _fitted_table(
        self,
        columns: Sequence[tuple[str, Justify]],
        rows: Sequence[tuple[Sequence[str], str]],
        wrap: frozenset[str],
    ) -> None:
        """Prints a table that must be fitted to the width: cut, and wrapped where that is asked."""
        from rich.box import SIMPLE_HEAD
        from rich.padding import Padding
        from rich.table import Table

        grid = Table(
            box=SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False, collapse_padding=True
        )
        for title, justify in columns:
            grid.add_column(title, justify=justify, no_wrap=title not in wrap)
        for row, style in rows:
            grid.add_row(*row, style=style or None)
        self._console.print(Padding(grid, (0, 0, 0, 2)))


def percent(value: float, digits: int = 2) -> str:
    """A change as text: 0.98 - 1 → ``-2.00 %``."""
    return f"{round(value, digits + 2) + 0.0:+.{digits}%}".replace("%", " %")


def change(ratio: float | None) -> str:
    """The ratio new / old as a change."""
    return NOTHING if ratio is None else percent(ratio - 1)


def change_interval(low: float | None, high: float | None) -> str:
    """Both ends of a ratio's interval as changes in per cent; a dash if both print the same."""
    if low is None or high is None:
        return NOTHING
    ends = [percent(end - 1).removesuffix(" %") for end in (low, high)]
    return NOTHING if ends[0] == ends[1] else " … ".join(ends)
