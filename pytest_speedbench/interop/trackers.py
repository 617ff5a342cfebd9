"""Saved runs for experiment trackers: one run of the tracker a case, grouped by the saved run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final

from pytest_speedbench.baselines.rows import Cell, rows
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import EngineUnavailable, UsageError

_MOST_MLFLOW: Final = 500
"""Longest value of a parameter that MLflow takes."""
_DATABASES: Final = ("sqlite", "postgresql", "mysql", "mssql")
_FOR_DATABASES: Final = ("sqlalchemy", "alembic")
"""Packages that mlflow-skinny, of our extra, does not bring."""


@dataclass(frozen=True, slots=True)
class LoggedCase:
    """What a tracker gets of one case: ``settings`` are what it is, ``metrics`` what came out.

    A metric has ``_low`` and ``_high`` beside it where it has an interval, and ``_n``.
    """

    name: str
    settings: Mapping[str, Cell]
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)


def logged_cases(records: Sequence[Record]) -> list[LoggedCase]:
    """The cases of a saved run, in its order."""
    return [_logged(record) for record in records]


def _logged(record: Record) -> LoggedCase:
    (row,) = rows([record], "case")
    measured = set(_metric_columns(record))
    metrics = {
        name: float(value)
        for name, value in row.items()
        if name in measured and isinstance(value, int | float)
    }
    settings = {name: value for name, value in row.items() if name not in measured}
    verdicts = {f"verdict.{v.metric}": v.outcome for v in record.verdicts}
    return LoggedCase(str(record.case), settings, metrics, verdicts)


def _metric_columns(record: Record) -> Iterator[str]:
    for name, metric in record.metrics.items():
        if isinstance(metric, list):
            yield from (f"acceptance_{position}" for position in range(1, len(metric) + 1))
        else:
            yield from (name, f"{name}_low", f"{name}_high", f"{name}_n")


def log_mlflow(
    cases: Sequence[LoggedCase],
    run: str,
    experiment: str,
    tracking_uri: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Log to MLflow: a parent run, and a run of its own below it for each case.

    Args:
        cases: of one saved run.
        run: its name; that of the parent.
        experiment: name of the experiment; made where it does not exist.
        tracking_uri: server or database; None: as MLflow's own variables say.
        tags: of the parent and of each case.

    Returns:
        the id of the parent run.

    Raises:
        EngineUnavailable: MLflow is not installed.
        UsageError: MLflow refuses, with its own message, or lacks packages for a database.
    """
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise EngineUnavailable(
            "logging to MLflow needs it: pip install 'pytest-speedbench[mlflow]'"
        ) from error
    try:
        if tracking_uri is not None:
            mlflow.set_tracking_uri(tracking_uri)
        check_database(mlflow.get_tracking_uri())
        mlflow.set_experiment(experiment)
        with mlflow.start_run(run_name=run, tags=dict(tags or {})) as parent:
            for case in cases:
                with mlflow.start_run(
                    run_name=case.name, nested=True, tags={**(tags or {}), **case.tags}
                ):
                    mlflow.log_params(
                        {name: str(value)[:_MOST_MLFLOW] for name, value in case.settings.items()}
                    )
                    mlflow.log_metrics(dict(case.metrics))
        return str(parent.info.run_id)
    except MlflowException as error:
        raise UsageError(f"MLflow: {error}") from error


def check_database(uri: str) -> None:
    """Refuse a database that the installed MLflow cannot open, which its own message does not say.

    Raises:
        UsageError: ``uri`` is a database, and a package that MLflow needs for it is missing.
    """
    scheme = re.split("[:+]", uri, maxsplit=1)[0]
    missing = [name for name in _FOR_DATABASES if find_spec(name) is None]
    if scheme in _DATABASES and missing:
        raise UsageError(
            f"MLflow logs to a {scheme} database here, which needs {' and '.join(missing)}: "
            f"pip install {' '.join(missing)}, or name a server with --uri URL"
        )


def log_wandb(
    cases: Sequence[LoggedCase],
    run: str,
    project: str,
    *,
    offline: bool = False,
    folder: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[str]:
    """Log to Weights & Biases: a run a case, in the group of the saved run.

    Args:
        cases: of one saved run.
        run: its name; that of the group.
        project: name of the project.
        offline: keep the files in ``folder``, to be sent by ``wandb sync``.
        folder: where W&B writes; None: ``wandb`` in the working folder.
        tags: go into the configuration of each run.

    Returns:
        the folders that were written, shape (cases,).

    Raises:
        EngineUnavailable: W&B is not installed.
        UsageError: W&B refuses; the message is its own.
    """
    try:
        import wandb
    except ImportError as error:
        raise EngineUnavailable(
            "logging to W&B needs it: pip install 'pytest-speedbench[wandb]'"
        ) from error
    written = []
    for case in cases:
        try:
            started: Any = wandb.init(
                project=project,
                group=run,
                name=case.name,
                config={**(tags or {}), **case.tags, **case.settings},
                dir=folder,
                mode="offline" if offline else None,
                reinit="finish_previous",
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            raise UsageError(f"W&B: {error}") from error
        started.summary.update(dict(case.metrics))
        started.finish()
        written.append(str(started.dir))
    return written


def end_wandb() -> None:
    """Ends W&B's own process, which writes behind; then its files are complete."""
    import wandb

    wandb.teardown()
