"""Errors of the command line: one clear line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from pytest_speedbench.cli.output import echo
from pytest_speedbench.errors import SpeedbenchError, did_you_mean, shown
from pytest_speedbench.secrets import without_secrets

UNUSABLE = 2
"""Exit code for wrong usage and for input that cannot be read."""
INTERNAL = 3
"""Exit code for an error of ours."""
ISSUES = "https://github.com/pytest-speedbench/pytest-speedbench/issues"
TRACEBACK = "SPEEDBENCH_TRACEBACK"
_NO_CHOICE = re.compile(r"(?:Value error, )?'(?P<value>.*)' is not one of (?P<choices>'.*')\.")


class OneLineErrors(TyperGroup):
    """A command group that turns every error into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise  # the reader of a pipe has gone: typer ends quietly
        except Exception as error:
            if hasattr(error, "exit_code"):  # wrong usage; typer shows it
                vars(error)["message"] = shown(_suggesting(str(getattr(error, "message", error))))
                raise
            message = _message(error)
            if message is None and (ctx.params.get("traceback") or os.environ.get(TRACEBACK)):
                echo(without_secrets(traceback.format_exc().rstrip()), err=True)
            echo(f"speedbench: {shown(message or _internal(error))}", err=True)
            raise typer.Exit(INTERNAL if message is None else UNUSABLE) from None


def _suggesting(message: str) -> str:
    """Typer's message about a value that is none of the choices, with the closest of them."""
    found = _NO_CHOICE.fullmatch(message)
    if found is None:
        return message
    choices = re.findall("'([^']+)'", found["choices"])
    hint = did_you_mean(found["value"], choices) or "."
    return f"{found['value']!r} is not one of {', '.join(choices)}{hint}"


def _message(error: Exception) -> str | None:
    """The message of an error that a user can fix; None for any other."""
    if isinstance(error, SpeedbenchError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return None


def _internal(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    kind, where = type(error).__name__, f"{Path(frame.filename).name}:{frame.lineno}"
    text = " ".join(str(error).split())
    return (
        f"internal error in {where}: {kind}: {text}; please report it at {ISSUES} with the output "
        f"of `speedbench --traceback …` ({TRACEBACK}=1 does the same)"
    )
