"""What a command does with an error: one line, an exit code, a traceback only on request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pytest_speedbench.cli.errors import INTERNAL, ISSUES, TRACEBACK, UNUSABLE, OneLineErrors
from pytest_speedbench.errors import SpeedbenchError


class OfAThirdParty(SpeedbenchError):
    """Not one of the classes that the package lists."""


def app_that_raises(error: Exception) -> typer.Typer:
    app = typer.Typer(cls=OneLineErrors, pretty_exceptions_enable=False)

    @app.callback()
    def root(traceback: bool = False) -> None:
        pass

    @app.command()
    def work() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OfAThirdParty("no such engine"), "speedbench: no such engine\n"),
        (FileNotFoundError(2, "No such file", "a.json"), "speedbench: a.json: No such file\n"),
        (OfAThirdParty("red \x1b[31m"), "speedbench: red \\x1b[31m\n"),
    ],
)
def test_an_error_that_the_user_can_fix(error: Exception, message: str) -> None:
    result = CliRunner().invoke(app_that_raises(error), ["work"])
    assert (result.exit_code, result.stderr) == (UNUSABLE, message)


def test_an_error_of_ours_asks_for_a_report() -> None:
    result = CliRunner().invoke(app_that_raises(KeyError("step\ntimes")), ["work"])
    assert result.exit_code == INTERNAL
    (line,) = result.stderr.splitlines()
    assert line.startswith("speedbench: internal error in test_errors.py:")
    assert "KeyError" in line
    assert f"please report it at {ISSUES}" in line


@pytest.mark.parametrize(
    ("arguments", "environment"), [(["--traceback"], {}), ([], {TRACEBACK: "1"})]
)
def test_the_traceback_is_shown_where_asked_for(
    arguments: list[str], environment: dict[str, str]
) -> None:
    app = app_that_raises(ZeroDivisionError("a share of nothing"))
    result = CliRunner(env=environment).invoke(app, [*arguments, "work"])
    assert result.exit_code == INTERNAL
    assert result.stderr.startswith("Traceback (most recent call last)")
    assert "raise error" in result.stderr


def test_an_error_of_the_user_has_no_traceback_even_so() -> None:
    result = CliRunner().invoke(app_that_raises(OfAThirdParty("no")), ["--traceback", "work"])
    assert result.stderr == "speedbench: no\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [(typer.BadParameter("expected a folder"), 2), (typer.Exit(1), 1), (typer.Abort(), 1)],
)
def test_errors_of_typer_keep_their_exit_code(error: Exception, code: int) -> None:
    result = CliRunner().invoke(app_that_raises(error), ["work"])
    assert result.exit_code == code
    assert "internal error" not in result.stderr


THREE_COMMANDS = """
import sys
from pytest_speedbench.cli import main

for command in (["history"], ["compare", "1", "1"], ["plan", "--baseline", "1"]):
    sys.argv[1:] = [*command, "--storage", sys.argv[-1]]
    try:
        main()
    except SystemExit as end:
        print("exit code", end.code)
"""


def test_an_ascii_terminal_shows_what_it_can(saved: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", THREE_COMMANDS, str(saved)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    outputs = done.stdout.split("exit code ")
    assert [output.partition("\n")[0] for output in outputs[1:]] in (["0"] * 3, ["0", "1", "0"])
    assert all("  -----" in output for output in outputs[:3])
    assert "?" not in done.stdout


def test_the_interrupt_is_not_an_error() -> None:
    app = app_that_raises(ValueError())

    @app.command()
    def wait() -> None:
        raise KeyboardInterrupt

    assert "internal" not in CliRunner().invoke(app, ["wait"]).stderr
