"""``speedbench export``: saved runs as files for other tools."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import (
    DEFAULT_STORAGE,
    Storage,
    check_written,
    find_runs,
    refuse_unused,
    run_names,
    store_at,
)
from pytest_speedbench.cli.output import write_file
from pytest_speedbench.errors import CliError
from pytest_speedbench.escapes import printable

if TYPE_CHECKING:
    from pytest_speedbench.baselines.storage import SavedRun


class Form(StrEnum):
    """What is written."""

    CSV = "csv"
    PARQUET = "parquet"
    JSONL = "jsonl"
    JSON = "json"
    OPENMETRICS = "openmetrics"
    BENCHER = "bencher"
    GITHUB_BENCHMARK = "github-benchmark"
    GOLDEN = "golden"
    TRTLLM_REFERENCE = "trtllm-reference"


_ENDINGS = {
    ".csv": (Form.CSV,),
    ".parquet": (Form.PARQUET,),
    ".jsonl": (Form.JSONL,),
    ".json": (Form.JSON, Form.BENCHER, Form.GITHUB_BENCHMARK),
    ".yaml": (Form.GOLDEN, Form.TRTLLM_REFERENCE),
    ".yml": (Form.GOLDEN, Form.TRTLLM_REFERENCE),
}
"""Formats by the ending of a file. A file of another ending may be any of them."""


class Level(StrEnum):
    """What a row is."""

    CASE = "case"
    REQUEST = "request"
    STEP = "step"


def export(
    context: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            autocompletion=run_names,
            help="Numbers, names, files, commits or branches.",
        ),
    ],
    form: Annotated[
        Form,
        typer.Option("--format", metavar="FORMAT", help=f"What is written: {', '.join(Form)}."),
    ] = Form.CSV,
    per: Annotated[
        Level, typer.Option(help="What each row of csv, parquet, jsonl and json is.")
    ] = Level.CASE,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PATH", help="The file. [default: -]")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write saved runs for data frames, dashboards and trackers."""
    from pytest_speedbench.interop.exports import ROW_FORMATS, export_entries, export_rows

    _check_ending(form, output)
    check_written({"-o": output})
    if form in ROW_FORMATS:
        found = find_runs(store_at(storage), runs)
        data = export_rows(((_columns(run, per), run.measured) for run in found), form, per)
    else:
        refuse_unused(context, f"with --format {form}, which has an entry per case", "per")
        _check_one(form, runs)
        (run,) = find_runs(store_at(storage), runs)
        data = export_entries(run.measured, form)
    if output is None:
        if form is Form.PARQUET and sys.stdout.isatty():
            raise CliError("parquet is a binary file: give -o PATH")
        typer.echo(data if form is Form.PARQUET else printable(data.decode()), nl=False)
        return
    write_file(output, data, err=True)


def _columns(run: SavedRun, per: Level) -> dict[str, str | bool]:
    """The first columns of its rows: those per request and step have its name alone."""
    if per is not Level.CASE:
        return {"run": run.name}
    commit, branch = (run.commit, run.branch) if run.known_commit else ("", "")
    columns: dict[str, str | bool] = {"run": run.name, "time": run.time}
    return columns | {"commit": commit, "dirty": run.dirty, "branch": branch}


def _check_ending(form: Form, output: Path | None) -> None:
    """Refuses a file whose name says that it is another format.

    Raises:
        CliError: the message names the formats with this ending.
    """
    ending = output.suffix.lower() if output else ""
    allowed = _ENDINGS.get(ending, (form,))
    if form not in allowed:
        raise CliError(
            f"-o {output}: a file that ends in {ending} is not {form}: give --format "
            f"{' or '.join(allowed)}, or another name"
        )


def _check_one(form: Form, runs: list[str]) -> None:
    """Refuses several runs where an entry has the name of its case, which both would have.

    Raises:
        CliError: the message says which formats take several.
    """
    if len(runs) > 1:
        raise CliError(
            f"--format {form} holds one run, got {len(runs)}: export each to its own file, or use "
            "csv, json, jsonl or parquet, whose rows name their run"
        )
