"""The page of commands names every command and option of the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from pytest_speedbench.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for part, child in command.commands.items():
            yield from commands(child, f"{name} {part}")
    else:
        yield name, command


COMMANDS = list(commands(typer.main.get_command(app), "speedbench"))

LISTED = 78 - 6
"""Columns that a list of commands has for name and summary, in a terminal of 80."""


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_a_command_is_described_with_its_options(name: str, command: Any) -> None:
    sections = PAGE.read_text(encoding="utf-8").split("\n##")
    (section,) = (s for s in sections if s.lstrip("# ").startswith(f"`{name}`\n"))
    flags = [flag for parameter in command.params for flag in parameter.opts]
    missing = [flag for flag in flags if flag.startswith("--") and flag not in section]
    assert not missing, "run: python tools/write_command_page.py"


def test_no_summary_is_cut_off_in_a_list_of_commands() -> None:
    def cut(command: Any) -> Iterator[str]:
        listed = getattr(command, "commands", {})
        for child in listed.values():
            summary = child.get_short_help_str(LISTED - max(map(len, listed)))
            if not summary or summary.endswith("..."):
                yield f"{child.name}: {summary}"
            yield from cut(child)

    assert not list(cut(typer.main.get_command(app)))


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_help_fits_a_terminal_of_80_columns(name: str, command: Any) -> None:
    shown = command.get_help(typer.Context(command, info_name=name, terminal_width=80))
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_the_usage_has_each_argument_once(name: str, command: Any) -> None:
    usage = command.get_usage(typer.Context(command, info_name=name))
    assert not re.search(r"\[\[|\]\]|\.\.\.[\]}]*\.\.\.", usage), usage
