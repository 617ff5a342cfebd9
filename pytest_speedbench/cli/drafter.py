"""``speedbench drafter``: what a drafter's checkpoint is, what its vocabulary costs, and cuts."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.drafter_coverage import coverage
from pytest_speedbench.cli.drafter_prune import prune
from pytest_speedbench.cli.output import NOTHING, Lines, echo

if TYPE_CHECKING:
    from pytest_speedbench.engines.drafter_summary import DrafterSummary

UNSOUND = 1
"""Exit code of ``inspect`` for a checkpoint with problems."""

app = typer.Typer(
    help="Inspect a drafter; measure and prune its vocabulary.",
    no_args_is_help=True,
)

app.command("coverage")(coverage)
app.command("prune")(prune)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("inspect")
def inspect(
    drafter: Annotated[str, typer.Argument(metavar="PATH", help="Folder of the drafter.")],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Also check that it fits this target.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show what a drafter's checkpoint is, and check that it is sound.

    Reads config.json and the headers of safetensors files, and of the weights only the vocabulary
    maps. Exit code 0: sound; 1: problems were found; 2: it cannot be read.
    """
    from pytest_speedbench.engines.checkpoints import local_checkpoint
    from pytest_speedbench.engines.drafter_summary import summarize

    found = summarize(local_checkpoint(drafter), model)
    if as_json:
        echo(json.dumps(asdict(found), indent=2))
    else:
        _show(Lines(), found, model)
    if found.problems:
        raise typer.Exit(UNSOUND)


def _show(out: Lines, found: DrafterSummary, model: str) -> None:
    rows = [
        ("method", found.method),
        ("architecture", found.architecture or NOTHING),
        ("layers", _number(found.layers)),
        ("hidden size", _number(found.hidden_size)),
        ("parameters", f"{found.parameters:,}, {found.head_parameters:,} in the output layer"),
        ("size", f"{found.bytes / 2**20:.1f} MiB, {', '.join(found.dtypes)}"),
        ("draft vocabulary", _vocabulary(found)),
        *([("hidden states", _hidden_states(found))] if found.hidden_states else []),
        ("engines", ", ".join(found.engines) or NOTHING),
    ]
    out.exact(found.name, "bold")
    for name, value in rows:
        out.item(f"  {name:18}", value)
    vllm, sglang = map(found.hidden_states.get, ("vllm", "sglang"))
    if vllm and sglang and vllm != sglang:
        out.item("note: ", _one_reading(vllm, sglang), "yellow")
    for problem in found.problems:
        out.item("problem: ", problem, "red")
    if not found.problems:
        out.line(f"no problems found{f', and it fits {model}' if model else ''}", "green")


def _vocabulary(found: DrafterSummary) -> str:
    whole, cut = found.target_vocabulary, found.draft_vocabulary
    if whole is None or cut is None:
        return NOTHING
    maps = f"; maps: {', '.join(found.maps)}" if found.maps else ""
    return f"all {whole:,} tokens{maps}" if cut == whole else f"{cut:,} of {whole:,} tokens{maps}"


def _hidden_states(found: DrafterSummary) -> str:
    read = (
        f"after the layers {', '.join(map(str, layers))} in {engine}"
        for engine, layers in found.hidden_states.items()
    )
    return f"{'; '.join(read)} (from 0)"


def _one_reading(vllm: list[int], sglang: list[int]) -> str:
    """How a head reads the same in both engines."""
    from pytest_speedbench.engines.hidden_states import LAYER_IDS

    return (
        f"vllm and sglang read other layers, so AL differs. {LAYER_IDS} at the top level of "
        "config.json is vllm's, the one inside eagle_config sglang's. For the layers of vllm in "
        f"both, set the inner one to {vllm}; for those of sglang, the outer one to "
        f"{[layer + 1 for layer in sglang]}"
    )


def _number(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"
