"""``speedbench baseline …``: which saved run later runs are held to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytest_speedbench.cli.arguments import DEFAULT_STORAGE, Storage, find_run, store_at
from pytest_speedbench.cli.output import NOTHING, Lines

app = typer.Typer(
    help="Promote saved runs to references, and keep a storage in order.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
# As pytest_speedbench.baselines.promoted.DEFAULT, whose import would slow down every command.
_DEFAULT = "default"
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the reference.")]


@app.command()
def promote(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="Number, name, file, commit or branch.")
    ],
    name: Name = _DEFAULT,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why this level is the one to hold.")
    ] = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Make a saved run the reference that later runs are compared with.

    A bare --speed-compare takes the reference called "default"; --speed-compare=NAME takes
    another. A run that failed may be promoted: that is how an intended change is accepted.
    """
    from pytest_speedbench.baselines.promoted import promote as point

    store = store_at(storage)
    run = find_run(store, reference)
    point(store, run, name, reason)
    Lines().line(f"promoted: {name} is now run {run}{f': {reason}' if reason else ''}")


@app.command()
def demote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the reference.")] = _DEFAULT,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Remove a reference; the saved run itself stays."""
    from pytest_speedbench.baselines.promoted import demote as remove

    pointer = remove(store_at(storage), name)
    Lines().line(f"demoted: {name} was {pointer.run}; the latest eligible run takes its place")


@app.command("list")
def list_(storage: Storage = DEFAULT_STORAGE) -> None:
    """List the promoted references."""
    from pytest_speedbench.baselines.promoted import promotions

    out, store = Lines(), store_at(storage)
    known, files = promotions(store), set(store.names())
    if not known:
        out.line(
            f"nothing is promoted in {store.folder}: runs are compared with the latest eligible "
            "one; speedbench baseline promote REF holds them to one level"
        )
        return
    rows = [
        (
            name,
            Path(pointer.run).stem if pointer.run in files else f"{Path(pointer.run).stem} (gone)",
            pointer.commit[:9] or NOTHING,
            pointer.time[:16].replace("T", " "),
            pointer.reason or NOTHING,
        )
        for name, pointer in sorted(known.items())
    ]
    columns = [(title, "left") for title in ("name", "run", "commit", "promoted", "reason")]
    out.table(columns, rows)  # type: ignore[arg-type]  # literals


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the reference.")] = _DEFAULT,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Show the run that a reference names: its cases and their AL."""
    from pytest_speedbench.baselines.promoted import promoted_run, promotions
    from pytest_speedbench.errors import BaselineError

    out, store = Lines(), store_at(storage)
    run = promoted_run(store, name)
    if run is None:
        raise BaselineError(f"no promoted baseline {name!r} in {store.folder}")
    pointer = promotions(store)[name]
    out.line(f"{name}: {run}", "bold")
    if pointer.reason:
        out.line(f"reason: {pointer.reason}")
    for summary in run.summaries:
        length = summary.metric("acceptance_length")
        value = NOTHING if length is None else f"AL {length.value:.2f} (n {length.n})"
        out.line(f"  {summary.case}  {value}")
