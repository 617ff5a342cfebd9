"""Text in lines that fit the terminal."""

from __future__ import annotations

import re
from textwrap import wrap
from typing import Final

WIDEST = 80
"""Columns of what a session writes, where the terminal has as many."""


_POINT: Final = re.compile(r"\b(BS|DL) (?=\d)")
_JOINT: Final = "\ue000"  # of private use, and no blank


def points_joined(text: str) -> str:
    """``text`` with each ``BS 8`` and ``DL 3`` as one word, until :func:`points_split`."""
    return _POINT.sub(rf"\1{_JOINT}", text)


def points_split(line: str) -> str:
    """The inverse of :func:`points_joined`."""
    return line.replace(_JOINT, " ")


def folded(text: str, width: int, first: str, further: str) -> list[str]:
    """The lines of one paragraph, which begin with ``first`` and ``further``. A word that is
    longer than a line, such as a path or a command, is not broken, nor is ``BS 8``."""
    lines = wrap(
        points_joined(text),
        width,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [points_split(line) for line in lines]
