"""pytest's report of a test of ours, made safe to print.

A library's error is shown by pytest with its message as it is, its causes too, and with
``--showlocals`` the variables of each function. All of it may quote a server, a file or a key.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from _pytest._code.code import ReprEntry

from pytest_speedbench.errors import SpeedbenchError, is_ours
from pytest_speedbench.escapes import on_terminal, printable
from pytest_speedbench.report.folding import WIDEST, folded
from pytest_speedbench.secrets import without_secrets

_MESSAGE = "E"
"""What pytest writes before each line of an exception's message."""
_NARROWEST = 20
"""Columns of it in any terminal."""


def line_width() -> int:
    """Columns of a line."""
    return max(min(WIDEST, shutil.get_terminal_size().columns), _NARROWEST)


def within(line: str, mark: str = "") -> list[str]:
    """The lines that ``line`` takes on the terminal: further ones are indented, ``mark`` stands
    before each. A word that is longer, such as a path, is not broken."""
    line, width = on_terminal(line), line_width()
    if len(line) <= width:
        return [line]
    text = line.removeprefix(mark).lstrip(" ")
    indent = mark + " " * (len(line) - len(mark) - len(text))
    return folded(text, width, indent, f"{indent}  ")


def clean(report: pytest.TestReport) -> None:
    """Escapes control characters and hides secrets in the failure that a report shows, and folds
    its long lines; its one line in pytest's summary stays as it is."""
    report.longrepr = _cleaned(report.longrepr)


def begin_with_message(report: pytest.TestReport, error: BaseException) -> None:
    """Leaves the class of an error of ours, and of a failed ``assert``, out of the line that pytest
    shows in its short summary and in JUnit XML; the traceback has it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return
    name = type(error).__name__
    if isinstance(error, SpeedbenchError):
        crash.message = crash.message.removeprefix(f"{type(error).__module__}.{name}: ")
    elif isinstance(error, pytest.fail.Exception) and not error.pytrace:
        crash.message = crash.message.removeprefix(f"{name}: ")
    elif isinstance(error, AssertionError) and str(error).startswith("assert "):
        crash.message = crash.message.removeprefix(f"{name}: ")  # pytest does, of most messages


def _cleaned(shown: Any) -> Any:
    """The same text; the same object of ``_pytest._code``, its texts replaced at any depth."""
    if isinstance(shown, str):
        return on_terminal(without_secrets(printable(shown)))
    if isinstance(shown, list | tuple):
        return type(shown)(map(_cleaned, shown))
    if type(shown).__module__.startswith("_pytest."):
        for name, value in vars(shown).items():
            setattr(shown, name, _cleaned(value))
        if isinstance(shown, ReprEntry):
            shown.lines = [line for own in shown.lines for line in _folded(own, shown.style)]
    return shown


def _folded(line: str, style: str) -> list[str]:
    """The message of an exception folded; lines of source code stay as they are."""
    if style == "value":  # pytrace=False: nothing but the message
        return within(line)
    return within(line, _MESSAGE) if line.startswith(_MESSAGE) else [line]


def cut_our_frames(error: SpeedbenchError) -> None:
    """Ends the traceback of an error of ours at the line of the user that called us, and leaves out
    the error that caused it: the message says what it meant."""
    error.__cause__ = error.__context__ = None
    last, entry = None, error.__traceback__
    while entry is not None:
        frame = entry.tb_frame
        module = str(frame.f_globals.get("__name__")).partition(".")[0]
        if not is_ours(frame.f_code.co_filename) and module not in sys.stdlib_module_names:
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
