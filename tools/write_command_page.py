"""Writes docs/commands.md: every ``speedbench`` command with its options, from the code.

python tools/write_command_page.py
"""

from __future__ import annotations

import re
from pathlib import Path

import typer.main
from typer.cli import get_docs_for_click

from pytest_speedbench.cli import app

FILE = Path(__file__).parents[1] / "docs" / "commands.md"
HEAD = """# Commands

`speedbench COMMAND --help` prints the same. `speedbench --install-completion` completes
commands, options and saved runs in the shell. Exit codes: 0; 1 for *fail*, *degenerate*,
*speculation off* and *incomparable*; 2 for nothing compared, wrong usage and unreadable input; 3
for an internal error.

"""


def text() -> str:
    """The page as it is published."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="speedbench")
    docs = get_docs_for_click(obj=command, ctx=context, name="speedbench")
    body = docs[docs.index("\n## ") + 1 :]
    body = re.sub(r"^(\* `[\w-]+`): .*\.\.\.$", r"\1", body, flags=re.M)  # cut off; whole below
    return HEAD + re.sub(r"\n{3,}", "\n\n", body).rstrip() + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
