"""``speedbench report RUN``: show a saved run again, in the terminal, as Markdown or as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import (
    DEFAULT_STORAGE,
    Run,
    Storage,
    check_written,
    find_run,
    refuse_unused,
    run_names,
    store_at,
)
from pytest_speedbench.cli.output import Lines, console, echo, write_file
from pytest_speedbench.errors import CliError

if TYPE_CHECKING:
    from pytest_speedbench.baselines.schema import Record
    from pytest_speedbench.baselines.storage import SavedRun, Store
    from pytest_speedbench.compare.results import SessionResults
    from pytest_speedbench.report.html.runs import ReadTexts
    from pytest_speedbench.report.texts import Texts


def report(
    context: typer.Context,
    run: Run,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="OLD",
            autocompletion=run_names,
            help="Compare with this run. [default: as the session did, where it compared]",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="PATH", help="Write an HTML report.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write a Markdown summary.")
    ] = None,
    text: Annotated[
        bool,
        typer.Option(
            "--text", help="With --html: prompts and outputs as text; needs the target's tokenizer."
        ),
    ] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Hub name or folder of the tokenizer. [default: the target's name]",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Split or file of the prompts. [default: the split's name]"
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Show a saved run again, or write it as HTML or Markdown."""
    check_written({"--html": html, "--markdown": markdown})
    _check_endings(html, markdown)
    if html is None:
        refuse_unused(context, "without --html PATH", "text", "tokenizer", "split")
    elif not text:
        refuse_unused(context, "without --text", "tokenizer", "split")
    store = store_at(storage)
    found = find_run(store, run)
    results = _results(store, found, against)
    if not any(case.baseline for case in results.cases):
        refuse_unused(context, "where nothing was compared: --against OLD compares", "text")
    if html is None and markdown is None:
        _show(found, results)
    if html is not None:
        from pytest_speedbench.report.html.page import render_html

        texts = _texts(tokenizer or "", split or "") if text else None
        write_file(html, render_html(results, texts=texts).encode())
    if markdown is not None:
        from pytest_speedbench.report.markdown import render_markdown

        results.report = str(html or "")
        write_file(markdown, render_markdown(results, markdown.parent).encode())


def show(
    run: Run,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Print a saved run as its session printed it."""
    store = store_at(storage)
    found = find_run(store, run)
    _show(found, _results(store, found, None))


def _check_endings(html: Path | None, markdown: Path | None) -> None:
    """Refuses names of files of another format, as a session does, before anything is read.

    Raises:
        CliError: the message names the option.
    """
    from pytest_speedbench.plan import values

    asked = (("--html", html, values.page), ("--markdown", markdown, values.markdown))
    for option, path, check in asked:
        if path is not None:
            try:
                check(str(path), True)
            except ValueError as error:
                raise CliError(f"{option} {path}: {error}") from error


def _results(store: Store, run: SavedRun, against: str | None) -> SessionResults:
    """The run beside ``against``, or beside what its session compared it with."""
    from pytest_speedbench.compare.comparison import compare_runs
    from pytest_speedbench.compare.results import SessionResults

    if against is not None:
        return SessionResults.of_comparison(
            compare_runs(find_run(store, against), run, saved=store.runs)
        )
    compared = any(verdict.baseline for head in run.summaries for verdict in head.verdicts)
    return SessionResults.of_saved_run(run, store.runs() if compared else ())


def _texts(tokenizer: str, split: str) -> ReadTexts:
    """Reads texts; says on standard error, once, where no prompt was found."""
    from pytest_speedbench.report.texts import read_texts

    missing: set[str] = set()

    def read(record: Record) -> Texts:
        found = read_texts(record, tokenizer, split)
        where = split or record.split.name
        if not found.prompts and where not in missing:
            missing.add(where)
            echo(f"prompts not found in {where}: give --split, their split or file", err=True)
        return found

    return read


def _show(run: SavedRun, results: SessionResults) -> None:
    from pytest_speedbench.report.terminal import summary_lines
    from pytest_speedbench.report.terminal_lines import COMMAND

    out = Lines()
    out.line(str(run))
    out.line()
    for line in summary_lines(results, console().width, COMMAND):
        colour = next((name for name in ("red", "yellow", "green") if line.markup.get(name)), None)
        bold = "bold" if line.markup.get("bold") else ""
        out.exact(line.text, f"{bold} {colour or ''}".strip())
