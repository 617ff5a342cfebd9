"""Text in lines that fit the terminal."""

from __future__ import annotations

from textwrap import wrap

WIDEST = 80
"""Columns of what a session writes, where the terminal has as many."""


def folded(text: str, width: int, first: str, further: str) -> list[str]:
    """The lines of one paragraph, which begin with ``first`` and ``further``. A word that is
    longer than a line, such as a path or a command, is not broken."""
    return wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
