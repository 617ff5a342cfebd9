"""Errors of the command line: one clear line on stderr and exit 2, never a traceback."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

UNUSABLE = 2
"""Exit code for wrong usage and for input that cannot be read."""


class CliError(Exception):
    """What was asked cannot be done; the message says why and what to do."""


class OneLineErrors(TyperGroup):
    """A command group that turns the errors of every room into one line and exit 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            text = _words(error)
            if text is None:
                raise
            from pytest_speedbench.report.text import printable

            typer.echo(f"speedbench: {printable(text)}", err=True)
            raise typer.Exit(UNUSABLE) from None


def _words(error: Exception) -> str | None:
    """The message of an error that a user can mend; None for any other."""
    if isinstance(error, CliError):
        return str(error)
    if isinstance(error, BrokenPipeError):
        return None  # the reader of a pipe has gone: typer ends quietly
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    from pytest_speedbench.baselines.git import GitError
    from pytest_speedbench.baselines.schema import RecordError
    from pytest_speedbench.baselines.storage import BaselineError
    from pytest_speedbench.engines.protocol import EngineError
    from pytest_speedbench.splits import SplitError
    from pytest_speedbench.stats import NoData

    known = (BaselineError, RecordError, GitError, EngineError, SplitError, NoData)
    return str(error) if isinstance(error, known) else None
