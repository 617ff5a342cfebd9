"""Text that comes from models, engines or files, made safe for a terminal, Markdown or a page."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without control characters: escape sequences show as ``\\x1b``, not as colours."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def label(text: str) -> str:
    """A name in one line: :func:`printable`, line ends and tabs escaped too."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def markdown_cell(text: str) -> str:
    """One cell of a Markdown table: no line breaks, bars, tags or links of its own."""
    plain = printable(text).replace("\n", " ").replace("\\", "\\\\")
    for character in "|`*_[]":
        plain = plain.replace(character, f"\\{character}")
    return plain.replace("<", "&lt;").replace(">", "&gt;")
