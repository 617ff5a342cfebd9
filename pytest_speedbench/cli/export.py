"""``speedbench export``: saved runs as files for other tools."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pytest_speedbench.cli.arguments import DEFAULT_STORAGE, Storage, refuse_unused
from pytest_speedbench.cli.output import write_file
from pytest_speedbench.errors import CliError
from pytest_speedbench.escapes import printable


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


class Level(StrEnum):
    """What a row is."""

    CASE = "case"
    REQUEST = "request"
    STEP = "step"


def export(
    context: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Numbers, names, files, commits or branches."),
    ],
    form: Annotated[Form, typer.Option("--format", help="What is written.")] = Form.CSV,
    per: Annotated[
        Level, typer.Option(help="What a row of csv, parquet, jsonl and json is.")
    ] = Level.CASE,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PATH", help="The file. [default: -]")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write saved runs for data frames, dashboards and benchmark trackers."""
    from pytest_speedbench.cli.measuring import saved_records
    from pytest_speedbench.interop.exports import ROW_FORMATS
    from pytest_speedbench.interop.exports import export as write

    if form not in ROW_FORMATS:
        refuse_unused(context, f"with --format {form}, which has an entry per case", "per")
    data = write(saved_records(runs, storage), form, per)
    if output is None:
        if form is Form.PARQUET and sys.stdout.isatty():
            raise CliError("parquet is a binary file: give -o PATH")
        typer.echo(data if form is Form.PARQUET else printable(data.decode()), nl=False)
        return
    write_file(output, data, err=True)
