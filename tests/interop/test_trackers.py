"""Experiment trackers: the real MLflow on a local database, the real W&B offline."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_speedbench.cli import app
from pytest_speedbench.errors import UsageError
from pytest_speedbench.interop.trackers import check_database, logged_cases
from tests.compare.saved_runs import save

from .test_exports import measured


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    save(tmp_path / "runs/0001_night.json", [measured("math"), measured("qa")], branch="main")
    return tmp_path / "runs"


def test_a_case_is_what_it_is_and_what_came_out() -> None:
    (case,) = logged_cases([measured()])
    assert case.name == "vllm m eagle3 dl3 bs4 qualitative:math"
    assert case.settings["method"] == "eagle3"
    assert case.metrics["acceptance_length"] == 2.5
    assert case.metrics["acceptance_length_low"] == 2.4
    assert "step_time_low" not in case.metrics  # it has no interval
    assert set(case.settings).isdisjoint(case.metrics)


# Packages of others, in a version that this project does not choose.
@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_a_run_a_case(storage: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    for package in ("sqlalchemy", "alembic"):
        pytest.importorskip(package, reason="a database of MLflow's needs it")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    arguments = ["log", "mlflow", "night", "--storage", str(storage), "--uri", uri]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "logged: 2 cases" in done.output
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("speedbench")
    runs = client.search_runs([experiment.experiment_id])
    cases = {run.info.run_name: run.data for run in runs}
    math = cases["vllm m eagle3 dl3 bs4 qualitative:math"]
    assert math.metrics["acceptance_length"] == 2.5
    assert math.params["slice"] == "math"
    assert math.tags["branch"] == "main"
    assert math.tags["mlflow.parentRunId"] == next(
        run.info.run_id for run in runs if run.info.run_name == "0001_night"
    )


@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_a_run_a_case_offline(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    arguments = ["log", "wandb", "night", "--storage", str(storage), "--offline"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    written = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(written) == 2
    for folder in written:
        (file,) = folder.glob("run-*.wandb")
        assert b"qualitative:" in file.read_bytes()


@pytest.mark.parametrize(("tracker", "extra"), [("mlflow", "mlflow"), ("wandb", "wandb")])
def test_a_missing_package_names_the_extra(
    tracker: str, extra: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    done = CliRunner().invoke(app, ["log", tracker, "night", "--storage", str(storage)])
    assert done.exit_code == 2
    assert f"pip install 'pytest-speedbench[{extra}]'" in done.output


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "mysql+pymysql://host/runs"])
def test_a_database_that_mlflow_cannot_open_names_the_packages(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)
    with pytest.raises(UsageError, match=r"database here, which needs .*: pip install .*alembic"):
        check_database(uri)
    check_database("http://localhost:5000")
