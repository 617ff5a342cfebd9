"""``speedbench import FILE``: what another tool has measured, as a baseline or as thresholds."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import check_written, refuse_unused
from pytest_speedbench.cli.output import NOTHING, Lines, shared_words, write_file
from pytest_speedbench.errors import CliError, did_you_mean
from pytest_speedbench.report.tables import Column

if TYPE_CHECKING:
    from pytest_speedbench.baselines.schema import Record
    from pytest_speedbench.interop.foreign import ForeignRun, ForeignTotals
    from pytest_speedbench.interop.stated import Stated

_RECORDS: tuple[Column, ...] = (
    ("category", "left"),
    ("n", "right"),
    ("AL", "right"),
    ("95%", "right"),
)
_TOTALS: tuple[Column, ...] = (
    ("of", "left"),
    ("n", "right"),
    ("AL", "right"),
    ("95%", "right"),
    ("as stated", "right"),
    ("own limit", "right"),
)

_STATED = frozenset({"split", "engine", "model", "method", "dl", "bs", "max_tokens"})


def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file or a folder that another tool wrote.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="PATH", help="Requests: a .json run; averages: a .yaml table."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="The prompts, as in --speed-split.")
    ] = None,
    engine: Annotated[str | None, typer.Option(metavar="NAME", help="The engine.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The target.")] = None,
    method: Annotated[str | None, typer.Option(metavar="NAME", help="The method of SD.")] = None,
    dl: Annotated[int | None, typer.Option(metavar="N", min=1, help="Draft length.")] = None,
    bs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Batch size.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Longest output.")
    ] = None,
) -> None:
    """Convert what another tool has measured to our AL.

    Reads AIPerf, vllm bench serve, specdec_bench, llama.cpp speed-bench, speculators, TensorRT-LLM,
    InferenceX and our own tables of reference values. For SGLang's bench_serving and guidellm it
    explains what to do instead. Requests become a run for --speed-compare=PATH or
    speedbench compare. Averages become a table of thresholds, whose uncertainty is unknown unless
    the table is ours.

    Options state what the file does not contain; what remains unknown is listed and not compared.
    Exit code 2: the file cannot be read or converted.
    """
    from pytest_speedbench.interop.foreign import ForeignTotals
    from pytest_speedbench.interop.recognise import read_foreign
    from pytest_speedbench.interop.stated import Stated

    _check_names(engine, method)
    check_written({"-o": output})
    options = (("engine", engine), ("model", model), ("method", method), ("dl", dl), ("bs", bs))
    case = {name: value for name, value in options if value is not None}
    if max_tokens is not None:
        case["max_tokens"] = max_tokens
    stated = Stated(split, case)
    found = read_foreign(file, stated.given)
    if isinstance(found, ForeignTotals):
        refuse_unused(context, f"on {file}, which holds averages", *(_STATED - found.depends_on))
        _totals(found, output)
    else:
        _requests(found, file, stated, output)


def _check_names(engine: str | None, method: str | None) -> None:
    """A misspelled name would be paired with nothing. A method may have a name of its engine's."""
    from pytest_speedbench.engines.methods import METHODS, close_names
    from pytest_speedbench.engines.registry import engine_names

    if engine is not None and engine not in (known := engine_names()):
        raise CliError(
            f"--engine {engine}: no such engine{did_you_mean(engine, known)}; known: "
            f"{', '.join(known)}"
        )
    if method is not None and method not in METHODS and (close := close_names(method, METHODS)):
        raise CliError(f"--method {method}: did you mean {' or '.join(map(repr, close))}?")


def _requests(found: ForeignRun, file: Path, stated: Stated, output: Path | None) -> None:
    from pytest_speedbench.interop.imports import document, import_run

    _check_suffix(output, (".json",), "requests become a run, which is JSON")
    imported = import_run(found, file, stated)
    out = Lines()
    version = f" {found.version}" if found.version else ""
    out.line(f"{found.tool}{version}: {imported.records[-1].case}", "bold")
    out.table(_RECORDS, [_record_row(record) for record in imported.records])
    for note in dict.fromkeys(imported.records[-1].notes):
        out.item("  note: ", note)
    if output is None:
        out.line("not written: -o PATH.json writes it as a run")
        return
    measured = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    write_file(output, document(imported.records, measured))
    out.exact(f"compare with it: pytest --speed-compare={output}")


def _record_row(record: Record) -> tuple[str, ...]:
    al = record.metric("acceptance_length")
    if al is None:
        return record.case.slice, str(len(record.requests)), NOTHING, NOTHING
    ends = NOTHING if al.low is None else f"{al.low:.2f}–{al.high:.2f}"
    return record.case.slice, str(al.n), f"{al.value:.2f}", ends


def _totals(found: ForeignTotals, output: Path | None) -> None:
    from pytest_speedbench.interop.golden import threshold_file

    _check_suffix(output, (".yaml", ".yml"), "averages become a table, which is YAML")
    out = Lines()
    shared, names = shared_words([threshold.name for threshold in found.thresholds])
    of = f" of {shared}" if shared else ""
    out.line(f"{found.tool}: averages{of}{_uncertainty(found)}", "bold")
    rows = [
        (
            name,
            NOTHING if threshold.n is None else str(threshold.n),
            f"{threshold.acceptance_length:.2f}",
            "–".join(f"{end:.2f}" for end in threshold.interval or ()) or NOTHING,
            NOTHING if threshold.stated is None else f"{threshold.stated:.2f}",
            NOTHING if threshold.least is None else f"{threshold.least:.2f}",
        )
        for name, threshold in zip(names, found.thresholds, strict=True)
    ]
    used = [n for n in range(len(_TOTALS)) if any(row[n] != NOTHING for row in rows)]
    out.table([_TOTALS[n] for n in used], [tuple(row[n] for n in used) for row in rows])
    out.item("  ", f"{found.tool} {found.counting}")
    for note in found.notes:
        out.item("  note: ", note)
    suggested = found.suggested
    source = f", from {suggested.name}" if len(found.thresholds) > 1 else ""
    out.line(f"The gate needs requests. As a threshold in a test{source}:")
    limit = math.floor(100 * suggested.limit + 1e-9) / 100  # never above what was measured
    out.exact(f"  assert speed.acceptance_length >= {limit:.2f}")
    if output is not None:
        write_file(output, threshold_file(found))


def _uncertainty(found: ForeignTotals) -> str:
    if not found.uncertain:
        return ""
    some = found.uncertain < len(found.thresholds)
    return f", uncertainty {f'of {found.uncertain} ' if some else ''}unknown"


def _check_suffix(output: Path | None, allowed: tuple[str, ...], why: str) -> None:
    if output is not None and output.suffix.lower() not in allowed:
        raise CliError(f"-o {output}: {why}: give a name that ends in {allowed[0]}")
