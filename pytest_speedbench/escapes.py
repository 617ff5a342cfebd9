"""Text that others wrote, made safe for a terminal, a CI log, Markdown and HTML.

Others are models, engines, servers, libraries, and the authors of files. What is printed or written
goes through one of these functions. Each gives the same text when it is applied again.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from functools import cache

# What makes a line an order to a CI system: GitHub's commands, and those of Azure and TeamCity.
_GITHUB_COMMANDS = (
    "add-mask|add-matcher|add-path|debug|echo|endgroup|error|group|notice|remove-matcher"
    "|save-state|set-env|set-output|stop-commands|warning"
)
_MARKDOWN = "|`*_[]~$"
_ASCII = {
    **dict.fromkeys("─–—−", "-"),
    **dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True)),
    "·": "|",
    "…": "...",
    "→": "->",
    "×": "x",
    "±": "+/-",
    "≤": "<=",
    "≥": ">=",
    "α": "alpha",
    "Σ": "sum ",
    "₀": "0",
    "’": "'",
    "✓": "ok",
    "✗": "x",
    "▲": "^",
    "▼": "v",
}
"""What stands for a character of ours where the terminal has only others."""


def printable(text: str) -> str:
    """The text without control characters, line ends and tabs apart.

    Escape sequences, C1 controls, overrides of the writing direction, invisible characters and
    lone surrogates show as ``\\x1b`` and the like. Commands to a CI system are taken apart: also
    in mid-line, since a line may be wrapped there.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)
    return _commands().sub(_taken_apart, text) if "::" in text or "##" in text else text


def on_terminal(text: str, encoding: str = "") -> str:
    """The text in characters that the terminal's ``encoding`` has: ``->`` for an arrow, ``-`` for a
    rule; of a character without such a stand-in its number. Standard output's, where not given."""
    if text.isascii():
        return text
    encoding = encoding or getattr(sys.__stdout__, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(c if _has(encoding, c) else _stand_in(c) for c in text)
    return text


def stand_in_for(error: UnicodeError) -> tuple[str, int]:
    """The same as a handler of :mod:`codecs`, for what a library prints by itself."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_stand_in, error.object[error.start : error.end])), error.end


def _has(encoding: str, character: str) -> bool:
    try:
        return bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False


def _stand_in(character: str) -> str:
    return _ASCII.get(character) or _escaped(character)


def label(text: str) -> str:
    """A name in one line: :func:`printable`, line ends and tabs escaped too."""
    return "".join(c if c.isprintable() else _escaped(c) for c in printable(text))


def markdown_cell(text: str) -> str:
    """One cell of a Markdown table: no line breaks, markup, tags or links of its own."""
    plain = (
        printable(text)
        .replace("\n", " ")
        .replace("\t", " ")
        .replace("\\", "\\\\")
        .replace("&", "&amp;")
    )
    for character in _MARKDOWN:
        plain = plain.replace(character, f"\\{character}")
    return plain.replace("<", "&lt;").replace(">", "&gt;")


def shortened(text: str, most: int) -> str:
    """At most ``most`` characters and a few: what is in the middle is left out, which is said."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[-half:]}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@cache
def _commands() -> re.Pattern[str]:
    return re.compile(
        rf"(?<!\S):(?=:)|:(?=:(?:{_GITHUB_COMMANDS})\b)|#(?=#(?:vso|teamcity)?\[)", re.I
    )


def _taken_apart(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"


def text_table(rows: Iterable[Sequence[str]]) -> str:
    """Lines of aligned columns, for print; every cell stays on its line."""
    shown = [[label(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in shown)


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a notebook; every cell stays text."""
    from html import escape

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}>{escape(printable(cell))}</{tag}>" for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def github_command(command: str, message: str, **properties: str) -> str:
    """A command to GitHub Actions, such as ``::error title=…::…``, in one line.

    ``message`` and ``properties`` are data: neither ends the command nor begins another one.
    """
    given = ",".join(f"{name}={_github(printable(v), ':,')}" for name, v in properties.items())
    return f"::{command}{' ' if given else ''}{given}::{_github(printable(message))}"


def _github(text: str, separators: str = "") -> str:
    """``%`` first: it begins the escapes of the others."""
    for character in f"%\r\n\t{separators}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
