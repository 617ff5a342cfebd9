"""``speedbench init``: a starter test and a GitHub Actions workflow."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from pytest_speedbench.errors import CliError

_STARTER = files("pytest_speedbench.cli") / "starter"


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The project's folder.", show_default=False)
    ] = Path(),
) -> None:
    """Write a starter test and a GitHub Actions workflow; what exists is never overwritten."""
    if folder.exists() and not folder.is_dir():
        raise CliError(f"{folder} is no folder")
    tests = folder / "tests" if (folder / "tests").is_dir() else folder
    wanted = {
        tests / "test_speed.py": "test_speed.py.txt",
        folder / ".github" / "workflows" / "speedbench.yml": "speedbench.yml",
    }
    there = [str(path) for path in wanted if path.exists() or path.is_symlink()]
    if there:
        raise CliError(f"nothing written: {', '.join(there)} already there; move it away first")
    for path, name in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (_STARTER / name).read_text(encoding="utf-8")
        with path.open("x", encoding="utf-8", newline="\n") as out:
            out.write(text)
        typer.echo(f"written: {path}")
    typer.echo("next: pip install 'pytest-speedbench[demo]' && pytest -m speed --speed-compare")
