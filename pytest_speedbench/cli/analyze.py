"""``speedbench analyze NAME``: the figures of SPEED-Bench for one's own runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Protocol

import typer

from pytest_speedbench.cli.arguments import (
    DEFAULT_STORAGE,
    Storage,
    check_written,
    run_names,
    share,
)
from pytest_speedbench.cli.measuring import Measure, Save, records_of, saved_records
from pytest_speedbench.cli.output import Lines, write_file
from pytest_speedbench.errors import GateFailure
from pytest_speedbench.report.tables import Column

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_speedbench.analysis.table import Table

FAILED = 1
"""Exit code where ``--fail`` finds more than its margin."""

app = typer.Typer(
    name="analyze",
    help="Draw SPEED-Bench's figures for saved or new runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN", autocompletion=run_names, help="Numbers, names, files, commits or branches."
    ),
]
Plot = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Draw a figure: .png, .svg or .pdf.")
]
Json = Annotated[Path | None, typer.Option("--json", metavar="PATH", help="Write the numbers.")]
Margin = Annotated[
    str, typer.Option("--fail", metavar="SHARE", help="Exit with 1 beyond this share, such as 5%.")
]


class Analysis(Protocol):
    """What every analysis returns."""

    @property
    def table(self) -> Table: ...


@app.command()
def categories(
    context: typer.Context,
    runs: Runs = None,
    at_least: Annotated[
        float | None, typer.Option(metavar="AL", help="Exit with 1 if a category is below this AL.")
    ] = None,
    plot: Plot = None,
    output: Json = None,
    measure: Measure = None,
    save: Save = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Acceptance length by category over the draft length."""
    from pytest_speedbench.analysis.categories import categories as analyze

    check_outputs(plot, output)
    found = analyze(records_of(context, runs, measure, save, storage, default={"dl": "1,3,5"}))
    show(found, plot, output)
    if at_least is not None:
        _check(lambda: found.assert_at_least(at_least))


@app.command()
def bias(
    context: typer.Context,
    against: Annotated[
        str,
        typer.Option(
            metavar="RUN",
            autocompletion=run_names,
            help="Run on another split, such as Spec-Bench; with --measure, that SPLIT.",
        ),
    ],
    runs: Runs = None,
    fail: Margin = "",
    plot: Plot = None,
    output: Json = None,
    measure: Measure = None,
    save: Save = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Difference of AL between two splits, by category."""
    from pytest_speedbench.analysis.bias import bias as analyze

    check_outputs(plot, output)
    margin = _margin(fail)
    own = records_of(context, runs, measure, save, storage)
    if measure:
        others = records_of(context, None, measure, "", storage, fixed={"split": against})
    else:
        others = saved_records([against], storage)
    found = analyze(own, others)
    show(found, plot, output)
    _check_margin(margin, found.assert_within)


@app.command()
def synthetic(
    context: typer.Context,
    runs: Runs = None,
    fail: Margin = "",
    plot: Plot = None,
    output: Json = None,
    measure: Measure = None,
    save: Save = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """By how much random token ids overstate the speed of real text."""
    from pytest_speedbench.analysis.synthetic import synthetic as analyze

    check_outputs(plot, output)
    margin = _margin(fail)
    grid = {"split": "throughput_1k,random_1k", "category": "all"}
    found = analyze(records_of(context, runs, measure, save, storage, default=grid))
    show(found, plot, output)
    _check_margin(margin, found.assert_overstates_at_most)


@app.command()
def pareto(
    context: typer.Context,
    runs: Runs = None,
    faster_up_to: Annotated[
        int | None,
        typer.Option(metavar="BS", help="Exit with 1 if SD is slower at any BS up to this."),
    ] = None,
    plot: Plot = None,
    output: Json = None,
    measure: Measure = None,
    save: Save = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Output tokens/s per GPU against user tokens/s, no SD included."""
    from pytest_speedbench.analysis.pareto import pareto as analyze

    check_outputs(plot, output)
    grid = {"bs": "1,8,32", "category": "all"}
    found = analyze(records_of(context, runs, measure, save, storage, default=grid))
    show(found, plot, output)
    if faster_up_to is not None:
        _check(lambda: found.assert_faster_up_to(faster_up_to))


@app.command()
def length(
    context: typer.Context,
    runs: Runs = None,
    fail: Margin = "",
    plot: Plot = None,
    output: Json = None,
    measure: Measure = None,
    save: Save = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Acceptance length over input length, by entropy tier."""
    from pytest_speedbench.analysis.length import length as analyze

    check_outputs(plot, output)
    margin = _margin(fail)
    found = analyze(records_of(context, runs, measure, save, storage, default={"isl": "1k,2k,8k"}))
    show(found, plot, output)
    _check_margin(margin, found.assert_no_fall)


@app.command()
def engines(
    context: typer.Context,
    runs: Runs = None,
    fail: Margin = "",
    plot: Plot = None,
    output: Json = None,
    measure: Measure = None,
    save: Save = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Two engines with the same drafter on the same prompts."""
    from pytest_speedbench.analysis.engines import engines as analyze

    check_outputs(plot, output)
    margin = _margin(fail)
    found = analyze(records_of(context, runs, measure, save, storage))
    show(found, plot, output)
    _check_margin(margin, found.assert_equal_within)


@app.command()
def routing(
    model: Annotated[str, typer.Option(help="Mixture-of-experts target: hub name or folder.")],
    split: Annotated[str, typer.Option(metavar="SPLIT", help="Real prompts.")] = "qualitative",
    samples: Annotated[int, typer.Option(min=1, help="Samples of each category.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the random prompts.")] = 0,
    plot: Plot = None,
    output: Json = None,
) -> None:
    """Experts that real and random prompts activate, by layer."""
    from pytest_speedbench.analysis.routing_model import route_split

    check_outputs(plot, output)
    show(route_split(model, split, samples, seed), plot, output)


@app.command()
def similarity(
    split: Annotated[str, typer.Argument(metavar="SPLIT", help="Name or file.")],
    against: Annotated[
        str, typer.Option(metavar="SPLIT", help="Another split to compare with.")
    ] = "",
    plot: Plot = None,
    output: Json = None,
) -> None:
    """Cosine similarity of the prompts of each category."""
    from pytest_speedbench.analysis.similarity import similarity as analyze
    from pytest_speedbench.splits import load_split

    check_outputs(plot, output)
    found = analyze(load_split(split), load_split(against) if against else None)
    show(found, plot, output)


def check_outputs(plot: Path | None, output: Path | None) -> None:
    """Refuses files that could not be written, before anything is measured for them.

    Raises:
        CliError: a folder that does not exist, or the same file twice.
        ReportError: a figure of another format.
    """
    from pytest_speedbench.report.figures import check_format

    if plot is not None:
        check_format(plot.suffix)
    check_written({"--plot": plot, "--json": output})


def show(found: Analysis, plot: Path | None, output: Path | None) -> None:
    """Writes what was asked for, and prints the table."""
    from pytest_speedbench.analysis.table import NOTHING, shared, text_rows, without

    if plot is not None:
        from pytest_speedbench.report.figures import draw

        write_file(plot, draw(found, plot.suffix))
    if output is not None:
        text = json.dumps(found.table.as_dict(), indent=2, allow_nan=False)
        write_file(output, text.encode())
    table, out = found.table, Lines()
    common = shared(table)
    narrow = without(table, common)
    titles: list[Column] = [
        (column.title, "left" if column.form == "text" else "right") for column in narrow.columns
    ]
    same = {title: text for title, text in common.items() if text not in ("", NOTHING)}
    settings = ", ".join(f"{title} {text}" for title, text in same.items())
    out.line(f"{table.title} ({settings})" if settings else table.title, "bold")
    out.table(titles, text_rows(narrow))
    for note in table.notes:
        out.line(f"  {note}")


def _margin(text: str) -> float | None:
    return share("--fail", text) if text else None


def _check_margin(margin: float | None, check: Callable[[float], None]) -> None:
    if margin is not None:
        _check(lambda: check(margin))


def _check(check: Callable[[], None]) -> None:
    try:
        check()
    except GateFailure as failure:
        _fail(str(failure))


def _fail(message: str) -> NoReturn:
    Lines().line(f"fail: {message}", "red")
    raise typer.Exit(FAILED)
