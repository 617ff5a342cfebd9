"""pytest's report of a test of ours, made safe to print.

A library's error is shown by pytest with its message as it is, its causes too, and with
``--showlocals`` the variables of each function. All of it may quote a server, a file or a key.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from textwrap import wrap
from types import TracebackType
from typing import Any

import pytest

from pytest_speedbench.errors import is_ours
from pytest_speedbench.escapes import printable
from pytest_speedbench.secrets import without_secrets

WIDEST = 80
"""Columns of what is written for a session, or fewer where the terminal has fewer."""
_NARROWEST = 20
"""Columns that a text has in any terminal."""


def within(text: str, margin: int = 0) -> str:
    """The text in lines that fit beside ``margin`` columns; further lines of one are indented.

    A word that is longer, such as a path, is not broken.
    """
    width = max(min(WIDEST, shutil.get_terminal_size().columns) - margin, _NARROWEST)
    return "\n".join(line for part in text.split("\n") for line in _folded(part, width))


def _folded(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip(" ")))
    return wrap(
        line,
        width,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def clean(report: pytest.TestReport) -> None:
    """Escapes control characters and hides secrets in the failure that a report shows."""
    report.longrepr = _cleaned(report.longrepr)


def _cleaned(shown: Any) -> Any:
    """The same text; the same object of ``_pytest._code``, its texts replaced at any depth."""
    if isinstance(shown, str):
        return without_secrets(printable(shown))
    if isinstance(shown, list | tuple):
        return type(shown)(map(_cleaned, shown))
    if type(shown).__module__.startswith("_pytest."):
        for name, value in vars(shown).items():
            setattr(shown, name, _cleaned(value))
    return shown


def cut_our_frames(traceback: TracebackType | None) -> None:
    """Ends a traceback at the last line outside of this package, which called us."""
    last, entry = None, traceback
    while entry is not None:
        if not is_ours(entry.tb_frame.f_code.co_filename):
            last = entry
        entry = entry.tb_next
    if last is not None:
        last.tb_next = None


SKIPPED = "_speedbench_skipped"
"""The reason why a test of ours was skipped; an attribute of its report, which xdist sends."""


def note_skip(report: pytest.TestReport) -> None:
    """Keeps the reason of a skipped test of ours for the end of the session."""
    if report.skipped and isinstance(report.longrepr, tuple):
        setattr(report, SKIPPED, report.longrepr[2].removeprefix("Skipped: "))


def skip_reasons(reports: Iterable[object]) -> dict[str, int]:
    """How many tests of ours were skipped for each reason."""
    return dict(Counter(reason for report in reports if (reason := getattr(report, SKIPPED, ""))))
