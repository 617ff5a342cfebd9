"""Sessions that are ended from outside: what was finished is saved, now or at the next start."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from forked import Forked
from typer.testing import CliRunner

from pytest_speedbench.baselines.journal import FOLDER, RECOVERED
from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.cli import app

from .conftest import Project, children_of, is_alive, text_of

TEST = """
import os, pathlib, time
import pytest

@pytest.mark.speed(bs=[1, 2], category="math")
def test_gate(speed):
    assert speed.acceptance_length > 0
    seen = pathlib.Path("seen")
    with seen.open("a") as out:
        out.write("x")
    {then}
"""
STOP = "time.sleep(60) if seen.stat().st_size == 2 else None"


def started(project: Project, *arguments: str, then: str = STOP) -> Forked:
    """A session that has measured both of its cases, and reported the first."""
    project.file("test_it.py", TEST.format(then=then))
    process = project.start("--benchmark-autosave", *arguments)
    seen = project.path / "seen"
    while not (seen.exists() and seen.stat().st_size >= 2):
        assert process.poll() is None
        time.sleep(0.05)
    return process


@pytest.fixture
def killed(project: Project, kept: Path) -> Project:
    """A project whose session was killed when it had measured both of its cases."""

    def measure_and_kill() -> None:
        process = started(project)
        process.kill()
        process.wait()

    project.once(kept / "killed", measure_and_kill)
    project.file("test_it.py", TEST.format(then=""))
    return project


def finished(project: Project) -> dict[int, bool]:
    """Batch size → whether its record is marked partial, over all saved runs."""
    runs = Store(project.path / ".benchmarks").runs()
    return {key.bs: run.records[key].partial for run in runs for key in run.keys}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_session_as_ctrl_c_does(project: Project, number: signal.Signals) -> None:
    process = started(project)
    engines = children_of(process.pid)
    process.send_signal(number)
    assert process.wait(30) == pytest.ExitCode.INTERRUPTED
    assert finished(project) == {1: False, 2: False}
    (run,) = Store(project.path / ".benchmarks").runs()
    assert {r.gate.session for r in run.records.values() if r.gate} == {"interrupted"}
    said = (project.path / "output.txt").read_text()
    assert "the session was interrupted: 2 of " in said
    assert not any(map(is_alive, engines))
    assert not list((project.path / ".benchmarks" / FOLDER).glob("*"))


def test_a_killed_session_is_recovered_at_the_next_start(killed: Project) -> None:
    assert finished(killed) == {}
    result = killed.run("-k", "bs1", "--benchmark-autosave")
    assert "recovered 2 cases of an interrupted session: " in text_of(result)
    runs = Store(killed.path / ".benchmarks").runs()
    partial = [record for run in runs for record in run.records.values() if record.partial]
    assert {record.case.bs for record in partial} == {1, 2}
    assert all(RECOVERED in record.notes for record in partial)


def test_a_recovered_run_is_no_reference(killed: Project) -> None:
    result = killed.run("--speed-compare", "-k", "bs1")
    result.assert_outcomes(passed=1)
    assert "gate: 1 no baseline" in result.stdout.str()


def test_workers_that_lose_their_controller_lose_nothing(project: Project) -> None:
    process = started(project, "-n2", "--dist=loadgroup", then=STOP.replace("60", "3"))
    workers = children_of(process.pid)
    process.kill()
    process.wait()
    while any(map(is_alive, workers)):  # they finish their test, and end by themselves
        time.sleep(0.05)
    project.file("test_it.py", TEST.format(then=""))
    result = project.run("-k", "bs1")
    assert "recovered 2 cases of an interrupted session: " in text_of(result)


def test_workers_that_are_in_a_test_end_with_their_controller(project: Project) -> None:
    """What a worker finishes after the controller has saved would be lost."""
    late = "time.sleep(60) if speed.run.setting.batch_size == 2 else time.sleep(1)"
    process = started(project, "-n2", "--dist=loadgroup", then=late)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == pytest.ExitCode.INTERRUPTED
    assert set(finished(project)) == {1, 2}
    assert not list((project.path / ".benchmarks" / FOLDER).glob("*"))


def test_a_worker_that_dies_leaves_its_cases_to_the_controller(project: Project) -> None:
    project.file(
        "test_it.py", TEST.format(then="os._exit(3) if speed.run.setting.batch_size == 2 else None")
    )
    project.collect()
    project.run("-n1", "--benchmark-autosave")
    assert set(finished(project)) == {1, 2}
    assert not list((project.path / ".benchmarks" / FOLDER).glob("*"))


def test_a_session_that_does_not_save_writes_no_journal(project: Project) -> None:
    project.file(
        "test_it.py", TEST.format(then=f"assert not os.path.exists('.benchmarks/{FOLDER}')")
    )
    project.run("-k", "bs1").assert_outcomes(passed=1)


def test_the_command_recovers_too(killed: Project) -> None:
    done, again = (CliRunner().invoke(app, ["recover"]) for _ in range(2))
    assert (done.exit_code, again.exit_code) == (0, 0)
    assert done.stdout.startswith("recovered 2 cases: ")
    assert again.stdout.startswith("nothing to recover in ")
