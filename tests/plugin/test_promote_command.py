"""The command that accepts an intended regression works as it is printed."""

from __future__ import annotations

import shlex

import pytest
from typer.testing import CliRunner

from pytest_speedbench.cli import app

from .conftest import Project, text_of

LOSS = "--speed-engine-arg=acceptance=0.2"


@pytest.mark.parametrize("storage", ["", "some where"])
def test_the_printed_command_promotes_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    monkeypatch.chdir(project.path)
    place = [f"--benchmark-storage=file://{storage}"] if storage else []
    project.ini["speed_samples"] = "20"
    project.gate(body="speed.assert_no_regression()")
    project.run("--speed-compare", "--benchmark-save=first", *place)
    failed = project.run("--speed-compare", "--benchmark-save=second", LOSS, *place)
    failed.assert_outcomes(failed=1)
    line = next(line for line in failed.outlines if line.startswith("intended? "))
    command = shlex.split(line.partition("speedbench ")[2].replace("TEXT", "wanted"))
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "promoted: default is now run 0002" in done.output
    again = project.run("--speed-compare", LOSS, *place)
    again.assert_outcomes(passed=1)


def test_beside_a_promoted_run_the_latest_is_shown_and_not_gated(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    project.gate(body="speed.assert_no_regression()")
    project.run("--speed-compare", "--benchmark-save=first")
    assert CliRunner().invoke(app, ["baseline", "promote", "1"]).exit_code == 0
    second = project.run("--speed-compare", "--benchmark-save=second")
    assert "for comparison" not in second.stdout.str()  # the promoted run is the latest one
    result = project.run("--speed-compare")
    text = text_of(result)
    assert "(against 0001 of" in text
    assert "math: for comparison, against the saved run 0002 of" in text
    assert "AL +0.00%, not gated" in text
    assert "gate: 1 " in text
