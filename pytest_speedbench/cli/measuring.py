"""Runs that a command measures itself, beside those that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import find_runs, refuse_unused, store_at
from pytest_speedbench.cli.output import echo
from pytest_speedbench.errors import CliError, count_of

if TYPE_CHECKING:
    from pytest_speedbench.baselines.schema import Record
    from pytest_speedbench.plan.settings import Settings
    from pytest_speedbench.session.standalone import Measurement

Measure = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Measure now, with this option of --speed-KEY; may be repeated.",
    ),
]
Save = Annotated[
    str, typer.Option(metavar="NAME", help="Save what was measured, as --benchmark-save does.")
]


def records_of(
    context: typer.Context,
    runs: Sequence[str] | None,
    options: Sequence[str] | None,
    save: str,
    storage: str,
    *,
    default: Mapping[str, str] | None = None,
    fixed: Mapping[str, str] | None = None,
) -> list[Record]:
    """The records of saved runs, or of a new one where ``options`` (KEY=VALUE) are given.

    Args:
        context: of the command, which has the options ``--save`` and ``--storage``.
        default: options of a new run that ``options`` may replace.
        fixed: options of a new run that replace those of ``options``.

    Raises:
        CliError: neither saved runs nor options, or both.
        SpeedbenchError: a run cannot be read, or measured.
    """
    if runs and options:
        raise CliError("RUN names saved runs and --measure makes a new one: leave one of them out")
    if options:
        from pytest_speedbench.plan.precedence import settings_of_texts

        if not save:
            refuse_unused(context, "without RUN or --save NAME", "storage")
        asked = _over(default or {}, _pairs(options)) | {k: [v] for k, v in (fixed or {}).items()}
        return measured(context, settings_of_texts(asked), save, storage)
    if not runs:
        raise CliError(
            "expected RUN, a saved run, or --measure KEY=VALUE, such as --measure model=demo"
        )
    refuse_unused(context, "without --measure, since nothing new is measured", "save")
    return saved_records(runs, storage)


def saved_records(names: Sequence[str], storage: str) -> list[Record]:
    """The records of some saved runs."""
    return [record for run in find_runs(store_at(storage), names) for record in run.measured]


def measured(context: typer.Context, settings: Settings, save: str, storage: str) -> list[Record]:
    """The records of a new run; its progress is shown on stderr.

    Saved records name the command: a run on the grid of a figure is no default baseline. Where an
    error or Ctrl-C ends the run, what had been measured is saved.
    """
    from rich.console import Console

    from pytest_speedbench.escapes import label
    from pytest_speedbench.session.standalone import measure_settings

    def keep(run: Measurement) -> str:
        command = {"command": context.command_path}
        run.records = [record.model_copy(update=command) for record in run.records]
        return run.save(save, storage)

    def keep_unfinished(run: Measurement) -> None:
        if save:
            cases = count_of(len(run.records), "case")
            echo(f"saved: {keep(run)}, {cases} that had been measured when the run ended")

    with Console(stderr=True, markup=False).status("starting") as status:
        run = measure_settings(settings, lambda text: status.update(label(text)), keep_unfinished)
    if save:
        echo(f"saved: {keep(run)}")
    return run.records


def _pairs(texts: Sequence[str]) -> dict[str, list[str]]:
    """KEY=VALUE texts by key; a key may stand several times."""
    given: dict[str, list[str]] = {}
    for text in texts:
        key, found, value = text.partition("=")
        if not found:
            raise CliError(f"--measure: expected KEY=VALUE, such as model=demo, got {text!r}")
        name = key.strip().removeprefix("--speed-").replace("-", "_")
        given.setdefault(name, []).append(value.strip())
    return given


def _over(default: Mapping[str, str], given: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """``given`` over ``default``; a split and an input length replace each other."""
    other = {"split": "isl", "isl": "split"}
    kept = {k: [v] for k, v in default.items() if other.get(k) not in given}
    return {**kept, **given}
