"""``speedbench report RUN``: show a saved run again, in the terminal, as Markdown or as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import DEFAULT_STORAGE, Storage, find_run, store_at
from pytest_speedbench.cli.output import Lines, console, write_file

if TYPE_CHECKING:
    from pytest_speedbench.baselines.storage import SavedRun
    from pytest_speedbench.compare.results import SessionResults


def report(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Number, name, file, commit or branch.")
    ],
    html: Annotated[Path | None, typer.Option(metavar="PATH", help="Write an HTML report.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write a Markdown summary.")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Show a saved run again; with --html or --markdown, write it to a file instead."""
    found = find_run(store_at(storage), run)
    from pytest_speedbench.compare.results import SessionResults

    results = SessionResults.of_saved_run(found)
    if html is None and markdown is None:
        _show(found, results)
    for path, render in ((html, _html), (markdown, _markdown)):
        if path is not None:
            write_file(path, render(results).encode())


def show(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Number, name, file, commit or branch.")
    ],
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Print a saved run as its session printed it."""
    from pytest_speedbench.compare.results import SessionResults

    found = find_run(store_at(storage), run)
    _show(found, SessionResults.of_saved_run(found))


def _show(run: SavedRun, results: SessionResults) -> None:
    from pytest_speedbench.report.terminal import summary_lines

    out = Lines()
    out.line(str(run))
    out.line()
    for line in summary_lines(results, console().width):
        colour = next((name for name in ("red", "yellow", "green") if line.markup.get(name)), None)
        bold = "bold" if line.markup.get("bold") else ""
        out.exact(line.text, f"{bold} {colour or ''}".strip())


def _html(results: SessionResults) -> str:
    from pytest_speedbench.report.html import render_html

    return render_html(results)


def _markdown(results: SessionResults) -> str:
    from pytest_speedbench.report.markdown import render_markdown

    return render_markdown(results)
