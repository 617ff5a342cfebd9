"""Everything that the commands print: lines, tables, colours; text of others is escaped here."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from pytest_speedbench.escapes import label, on_terminal, printable
from pytest_speedbench.report.tables import Column, table_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

NOTHING = "–"
_WIDEST = 110
_INDENT = "  "

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

    typer.echo(on_terminal(printable(text)), err=err)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file that a command was asked for, and makes its folder.

    Raises:
        CliError: it cannot be written.
    """
    from pytest_speedbench.errors import CliError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror or error}") from error


def write_file(path: Path, data: bytes, *, err: bool = False) -> None:
    """As :func:`write_bytes`, and says so; ``err``: on standard error."""
    write_bytes(path, data)
    echo(f"written: {path}", err=err)


def shared_words(names: Sequence[str]) -> tuple[str, list[str]]:
    """The words that all names begin with, and what is left of each, which is never empty."""
    if len(names) < 2:
        return "", list(names)
    split = [name.split(" ") for name in names]
    ends = [words[:-1] for words in split]
    shared = list(takewhile(lambda column: len(set(column)) == 1, zip(*ends, strict=False)))
    head = " ".join(column[0] for column in shared)
    return head, [" ".join(words[len(shared) :]) for words in split]


def rewrite(text: str, *, last: bool) -> None:
    """The line of progress on standard error, over the one before; ``last`` ends it."""
    import typer

    typer.echo("\r\x1b[K", err=True, nl=False)
    typer.echo(on_terminal(label(text)), err=True, nl=last)


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
        """A paragraph a line, wrapped at the width; the blanks before it indent all of it."""
        for part in text.split("\n"):
            words = part.lstrip(" ")
            self.item(" " * (len(part) - len(words)), words, style)

    def item(self, head: str, text: str, style: str = "") -> None:
        """A paragraph with a hanging indent: further lines start below ``text``."""
        from pytest_speedbench.report.folding import folded

        head = on_terminal(head)
        shown = on_terminal(printable(text))
        lines = folded(shown, self._console.width, head, " " * len(head))
        self._console.print("\n".join(lines), style=style or None, soft_wrap=True)

    def exact(self, text: str, style: str = "") -> None:
        """Text as it is, never wrapped: a path or a command to copy."""
        self._console.print(on_terminal(printable(text)), style=style or None, soft_wrap=True)

    def table(
        self,
        columns: Sequence[Column],
        rows: Iterable[Sequence[str]],
        styles: Sequence[str] = (),
    ) -> None:
        """A table (see :func:`~pytest_speedbench.report.tables.table_lines`); ``styles`` by row."""
        cells = [[on_terminal(label(cell)) for cell in row] for row in rows]
        width = self._console.width - len(_INDENT)
        for text, row in table_lines(columns, cells, width):
            style = "bold" if row is None else styles[row] if row < len(styles) else ""
            self._console.print(
                on_terminal(f"{_INDENT}{text}".rstrip()), style=style or None, soft_wrap=True
            )
