"""``speedbench tune``: which draft length at which batch size, and the schedule for the engine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_speedbench.cli.arguments import (
    DEFAULT_STORAGE,
    Storage,
    numbers,
    read,
    refuse_unused,
    run_names,
)
from pytest_speedbench.cli.measuring import Save, measured, saved_records
from pytest_speedbench.cli.output import echo
from pytest_speedbench.errors import CliError

if TYPE_CHECKING:
    from pytest_speedbench.analysis.tuning import Tuning

_MEASURED = (
    *("bs", "dl", "engine", "model", "method", "drafter", "engine_arg", "split"),
    *("samples", "max_tokens", "rounds", "save"),
)


class Schedule(StrEnum):
    """Engines that take a draft length by batch size."""

    VLLM = "vllm"
    SGLANG = "sglang"


def tune(
    context: typer.Context,
    bs: Annotated[str, typer.Option(metavar="LIST", help="Batch sizes: 1,8,32.")] = "1,8,32",
    dl: Annotated[str, typer.Option(metavar="LIST", help="Draft lengths: 1,3,5 or 1..8.")] = "1..5",
    engine: Annotated[str, typer.Option(metavar="NAME", help="As --speed-engine.")] = "",
    model: Annotated[str, typer.Option(metavar="MODEL", help="As --speed-model.")] = "",
    method: Annotated[str, typer.Option(metavar="NAME", help="As --speed-method.")] = "",
    drafter: Annotated[str, typer.Option(metavar="MODEL", help="As --speed-drafter.")] = "",
    engine_arg: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="As --speed-engine-arg.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="As --speed-split.")] = "",
    samples: Annotated[int, typer.Option(min=1, help="Samples of each category.")] = 4,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer, at most.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds; 3 give intervals.")] = 5,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="RUN",
            autocompletion=run_names,
            help="Read saved runs; nothing is measured.",
        ),
    ] = None,
    schedule: Annotated[
        Schedule | None, typer.Option(help="Print the schedule that this engine takes.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Draw a figure: .png, .svg or .pdf.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--json", metavar="PATH", help="Write the numbers.")
    ] = None,
    save: Save = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Find the best draft length for each batch size.

    Measures the speedup at every draft length and batch size, or reads saved runs.
    """
    from pytest_speedbench.analysis.tuning import tuning
    from pytest_speedbench.cli.analyze import check_outputs, show
    from pytest_speedbench.plan.precedence import settings_of_keywords

    check_outputs(plot, output)
    if source:
        refuse_unused(context, "with --from, which reads what was measured", *_MEASURED)
        records = saved_records(source, storage)
    else:
        if not save:
            refuse_unused(context, "without --from RUN or --save NAME", "storage")
        if method == "none":
            raise CliError("--method none: no draft length to tune; name a method, such as ngram")
        asked = {
            "engine": engine,
            "model": model,
            "method": method,
            "drafter": drafter,
            "split": split,
        }
        options = {name: value for name, value in asked.items() if value} | {
            "bs": numbers("--bs", bs),
            "dl": numbers("--dl", dl),
            "samples": samples,
            "max_tokens": max_tokens,
            "rounds": rounds,
            "engine_arg": dict(read("--engine-arg", text, _argument) for text in engine_arg or []),
            "category": "all",
        }
        records = measured(context, settings_of_keywords(options), save, storage)
    found = tuning(records)
    show(found, plot, output)
    if schedule is not None:
        echo(_schedule(found, schedule))


def _argument(text: str) -> tuple[str, Any]:
    from pytest_speedbench.plan import values

    key, value = values.argument(text, True)
    return key, value


def _schedule(found: Tuning, engine: Schedule) -> str:
    if engine is Schedule.VLLM:
        return f"num_speculative_tokens_per_batch_size: {found.vllm_schedule()}"
    return found.sglang_schedule()
