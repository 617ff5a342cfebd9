"""``speedbench baseline …``: which saved run later runs are held to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytest_speedbench.cli.arguments import (
    DEFAULT_STORAGE,
    Storage,
    find_run,
    report_skipped,
    run_names,
    store_at,
)
from pytest_speedbench.cli.output import NOTHING, Lines
from pytest_speedbench.errors import count_of

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
        str,
        typer.Argument(
            metavar="REF", autocompletion=run_names, help="Number, name, file, commit or branch."
        ),
    ],
    name: Name = _DEFAULT,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Reason, which is kept with the name.")
    ] = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Make a saved run the reference that later runs are compared with.

    A bare --speed-compare takes the reference called "default"; --speed-compare=NAME takes
    another. A run that failed may be promoted: that is how an intended change is accepted.
    """
    from pytest_speedbench.baselines.promoted import promote as point
    from pytest_speedbench.baselines.promoted import promotions

    store = store_at(storage)
    run = find_run(store, reference)
    before = promotions(store).get(name)
    pointer = point(store, run, name, reason)
    out = Lines()
    out.line(f"promoted: {name} is now run {run}{f': {reason}' if reason else ''}")
    if before is not None and before.run != pointer.run:
        out.line(f"in place of: {Path(before.run).stem}")


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
            "one; speedbench baseline promote REF makes one run their reference"
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
    from pytest_speedbench.baselines.promoted import no_such, promoted_run, promotions
    from pytest_speedbench.errors import BaselineError

    out, store = Lines(), store_at(storage)
    run, pointers = promoted_run(store, name), promotions(store)
    if run is None:
        raise BaselineError(f"{no_such(name, pointers)} in {store.folder}")
    pointer = pointers[name]
    out.line(f"{name}: {run}", "bold")
    if pointer.reason:
        out.line(f"reason: {pointer.reason}")
    for summary in run.summaries:
        length = summary.metric("acceptance_length")
        value = NOTHING if length is None else f"AL {length.value:.2f} (n {length.n})"
        out.line(f"  {summary.case}  {value}")


@app.command()
def prune(
    keep: Annotated[
        int, typer.Option(metavar="N", help="Runs of each case to keep, the latest ones.")
    ] = 50,
    keep_promoted: Annotated[
        bool, typer.Option(help="Keep promoted runs whatever their age.")
    ] = True,
    dry_run: Annotated[bool, typer.Option(help="List what would be removed.")] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Remove runs that are not among the latest N of any case.

    The latest run of each case that may be its baseline stays, even if many have failed since.
    Files without records of this package stay.
    """
    from pytest_speedbench.baselines.archive import prunable
    from pytest_speedbench.baselines.archive import prune as remove
    from pytest_speedbench.baselines.promoted import promotions
    from pytest_speedbench.compare.eligible import latest_eligible

    out, store = Lines(), store_at(storage)
    protected = latest_eligible(store.runs())
    if keep_promoted:
        protected |= {pointer.run for pointer in promotions(store).values()}
    old = (prunable if dry_run else remove)(store, keep, protected)
    report_skipped(store)
    for run in old:
        out.line(f"{'would remove' if dry_run else 'removed'}: {run}")
    runs = count_of(len(old), "run")
    out.line(f"{runs} {'to remove' if dry_run else 'removed'} from {store.folder}")


@app.command()
def export(
    archive: Annotated[Path, typer.Argument(metavar="FILE.zip", help="The archive to write.")],
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write all runs and promotions to one archive.

    For example for a CI cache, or for another machine.
    """
    from pytest_speedbench.baselines.archive import export as write

    store = store_at(storage)
    count = write(store, archive)
    report_skipped(store)
    Lines().line(f"exported: {count_of(count, 'run')} of {store.folder} to {archive}")


@app.command("import")
def import_(
    archive: Annotated[
        Path, typer.Argument(metavar="FILE", help="An exported archive, or one saved run (.json).")
    ],
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Add the runs of an archive to the saved ones.

    Existing runs are left alone. All records are checked before the first one is written.
    """
    from pytest_speedbench.baselines.archive import import_runs

    out, store = Lines(), store_at(storage)
    result = import_runs(store, archive)
    known = f", {len(result.present)} already existed" if result.present else ""
    out.line(f"imported: {count_of(len(result.added), 'run')} into {store.folder}{known}")
    if result.promoted:
        out.line(f"promoted: {', '.join(result.promoted)}")
