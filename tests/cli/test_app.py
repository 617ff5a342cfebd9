"""The command itself: quick to import, one line for an error, help for every command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_speedbench import __version__, cli
from pytest_speedbench.cli import history

from .conftest import Speedbench

COMMANDS = ("compare", "history", "doctor", "plan", "splits", "report", "init")


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = ("numpy", "scipy", "pydantic", "pytest", "torch", "transformers", "jinja2")
    code = (
        "import sys, pytest_speedbench.cli; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version(speedbench: Speedbench) -> None:
    assert speedbench("--version").out == f"speedbench {__version__}\n"


def test_help_names_every_command(speedbench: Speedbench) -> None:
    text = speedbench("--help").out
    assert [name for name in COMMANDS if f"  {name} " not in text] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(speedbench: Speedbench, command: str) -> None:
    result = speedbench(command, "--help")
    assert result.code == 0
    assert "Usage: " in result.out


def test_unknown_command(speedbench: Speedbench) -> None:
    result = speedbench("compere")
    assert (result.code, "No such command 'compere'" in result.err) == (2, True)


def test_an_os_error_is_one_line(speedbench: Speedbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(storage: str) -> None:
        raise PermissionError(13, "Permission denied", "/root/x")

    monkeypatch.setattr(history, "store_at", unreadable)
    result = speedbench("history")
    assert (result.code, result.err) == (2, "speedbench: /root/x: Permission denied\n")


def test_entry_point() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from pytest_speedbench.cli import main; main()", "report"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Usage: speedbench report" in done.stderr
    assert cli.app.info.name == "speedbench"
