"""Errors and warnings of the package: one base class each.

    try:
        result = compare(old, new)
    except SpeedbenchError as error:
        print(error)  # what is wrong, where, and what fixes it

A message is complete by itself: it says what was expected, what was found, and the command or the
setting that fixes it. Every exception that the package defines is a ``SpeedbenchError``; a
second base such as ``ValueError`` is there for callers that look for that.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from pytest_speedbench.escapes import printable, shortened
from pytest_speedbench.secrets import without_secrets

_MESSAGE_CHARACTERS = 20_000
_PACKAGE = str(Path(__file__).parent) + "/"
_SUITES = _PACKAGE + "suites/"
_RUNNERS = ("_pytest", "pluggy")


class SpeedbenchError(Exception):
    """Base class of every error of this package.

    Its message can be shown as it is: see ``shown``.
    """

    def __init__(self, *args: object) -> None:
        """Take a message, which may quote what others wrote."""
        super().__init__(*(shown(arg) if isinstance(arg, str) else arg for arg in args))


def shown(message: str) -> str:
    """A message without control characters and secrets, and of at most 20,000 characters."""
    return printable(without_secrets(shortened(message, _MESSAGE_CHARACTERS)))


class UsageError(SpeedbenchError, ValueError):
    """An option, an argument or a value of one that cannot be used."""


class CaseError(UsageError):
    """A marker or an option that names something that does not exist."""


class CliError(UsageError):
    """A command cannot do what was asked."""


class DeviceError(SpeedbenchError):
    """The pytest-xdist workers of a session need the same GPU, or the same server, at once."""


class EngineError(SpeedbenchError):
    """An engine cannot do what was asked; the message names the fix."""


class EngineUnavailable(EngineError):
    """The engine's package is not installed; the message names the command that installs it."""


class EngineDied(EngineError):
    """The engine ended or stopped answering while it worked; the message ends with its output."""


UNUSABLE_COUNTS = (
    "its counts cannot be used: connect to the engine directly, or use another version"
)
"""What follows from a count that cannot be, at the end of a message."""


class MeasurementMismatch(EngineError):
    """The traces and the engine's own counters disagree."""


class ForeignTrafficError(SpeedbenchError):
    """The counters grew by what our requests alone cannot have caused; the message says by how
    much, and the likely cause."""


class CannotRun(SpeedbenchError):
    """A case that its engine cannot run by its nature; the test is skipped with the reason."""


class SplitError(SpeedbenchError, ValueError):
    """A split that cannot be used: the message says what is wrong, where, and the fix."""


class RecordError(SpeedbenchError, ValueError):
    """A record cannot be read; the message says why and what to do."""


class BaselineError(SpeedbenchError, ValueError):
    """A named baseline cannot be used; the message says why and what to do."""


class ForeignFileError(SpeedbenchError, ValueError):
    """A file of another tool cannot be imported; the message says why and what to do."""


class GitError(SpeedbenchError, ValueError):
    """git cannot answer; the message names the fix."""


class ReportError(SpeedbenchError):
    """A report cannot be made here; the message names the command that fixes it."""


class NoData(SpeedbenchError, ValueError):
    """There is nothing to compute from. Never a silent 0 or 1.

    Attributes:
        reason: what is missing, in one sentence; also the message.
    """

    def __init__(self, reason: str) -> None:
        """Say in one sentence what is missing."""
        super().__init__(reason)
        self.reason = reason


class GateFailure(SpeedbenchError, AssertionError):
    """A comparison with the baseline failed."""


class SpeedWarning(UserWarning):
    """A number that must be read with care: an undecided assert, random input, a file left out."""


class SplitWarning(SpeedWarning):
    """A split that can be used, but not quite as asked (bad rows left out, ``random`` input)."""


class Place(Protocol):
    """What a warning can point at where no line of the user's led to it: a pytest item."""

    def warn(self, warning: Warning) -> None: ...


@contextmanager
def warnings_at(place: Place) -> Iterator[None]:
    """Until the end of the block, warnings without a line of the user's point at ``place``."""
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


def warn(message: str, category: type[SpeedWarning] = SpeedWarning) -> None:
    """Issue a warning that points at the line of the user's code that led here.

    That is the innermost frame outside of this package; its ready-made suites count as the user's.
    Where pytest itself has called us, the warning points at the test that runs or is collected.
    """
    message = shown(message)
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and is_ours(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    caller = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    place = _place.get()
    if place is not None and caller in _RUNNERS:
        place.warn(category(message))
    else:
        warnings.warn(message, category, stacklevel=level)


_place: ContextVar[Place | None] = ContextVar("place", default=None)


def is_ours(filename: str) -> bool:
    """Whether code is of this package; the tests of its ready-made suites count as the user's."""
    return filename.startswith(_PACKAGE) and not filename.startswith(_SUITES)


def count_of(number: int, noun: str) -> str:
    """``1 round``, ``3 rounds``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """``; did you mean 'math'?`` where a known name is close to ``value``, else nothing."""
    found = closest(value, known)
    return f"; did you mean {found!r}?" if found else ""


def closest(value: object, known: Iterable[str]) -> str | None:
    """The known name that ``value`` may be a misspelling of, in upper or lower case."""
    from difflib import get_close_matches  # only an error needs it

    spelled = {name.lower(): name for name in known}
    close = get_close_matches(value.lower(), spelled, 1) if isinstance(value, str) else []
    return spelled[close[0]] if close else None
