"""``speedbench log``: saved runs for the experiment tracker that a project has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import DEFAULT_STORAGE, Run, Storage, find_run, store_at
from pytest_speedbench.cli.output import echo
from pytest_speedbench.errors import count_of

if TYPE_CHECKING:
    from pytest_speedbench.baselines.storage import SavedRun

app = typer.Typer(
    name="log",
    help="Log saved runs to MLflow or to Weights & Biases.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def mlflow(
    run: Run,
    experiment: Annotated[
        str, typer.Option(metavar="NAME", help="The experiment; made if there is none.")
    ] = "speedbench",
    uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Server or database. [default: as MLflow's own]"),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Log a saved run to MLflow.

    There is a parent run, and one below it for each case.
    """
    from pytest_speedbench.interop.trackers import log_mlflow, logged_cases

    found = find_run(store_at(storage), run)
    cases = logged_cases(found.measured)
    name = log_mlflow(cases, found.name, experiment, uri, _tags(found))
    echo(f"logged: {count_of(len(cases), 'case')} below run {name} of experiment {experiment}")


@app.command()
def wandb(
    run: Run,
    project: Annotated[str, typer.Option(metavar="NAME", help="The project.")] = "speedbench",
    offline: Annotated[
        bool, typer.Option("--offline", help="Only write files; wandb sync sends them.")
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Log a saved run to Weights & Biases.

    Each case is a run, all in one group.
    """
    from pytest_speedbench.interop.trackers import end_wandb, log_wandb, logged_cases

    found = find_run(store_at(storage), run)
    cases = logged_cases(found.measured)
    written = log_wandb(cases, found.name, project, offline=offline, tags=_tags(found))
    end_wandb()
    echo(f"logged: {count_of(len(written), 'case')} in group {found.name} of project {project}")
    if offline:
        echo("send them: wandb sync --include-offline wandb/offline-run-*")


def _tags(run: SavedRun) -> dict[str, str]:
    """Where the run comes from; what is not known is left out."""
    commit = run.commit if run.known_commit else ""
    found = {"commit": commit, "branch": run.branch, "measured": run.time}
    return {name: value for name, value in found.items() if value}
