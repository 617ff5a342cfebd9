"""Real saved files of the simulated engine, made once, and the commands run on them."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pytest_speedbench.cli import app
from pytest_speedbench.cli.errors import INTERNAL, TRACEBACK

from .pipelines import run_session

TEST = """
import pytest

@pytest.mark.speed(category=["alpha", "beta", "all"], samples="all")
def test_gate(speed):
    assert speed.acceptance_length >= 1
"""
RUNS = {
    "base": (),
    "same": ("-k", "not beta"),
    "worse": ("--speed-engine-arg", "acceptance=0.3", "--speed-engine-arg", "draft_ms=2"),
    "longer": ("--speed-dl", "5"),
}
SAMPLES = 40


class Result:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.words = " ".join(out.split())  # free of line breaks


Speedbench = Callable[..., Result]


@pytest.fixture
def speedbench() -> Speedbench:
    """Runs a command in this process."""

    def run(*arguments: object) -> Result:
        runner = CliRunner(env={TRACEBACK: "1"})
        done = runner.invoke(app, [str(argument) for argument in arguments])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code != INTERNAL, done.stderr
        return Result(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A project with a git history and four saved runs; xdist's workers share one."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(pytestconfig, "workerinput") else base
    folder, done = shared / "project", shared / "project.done"
    with (shared / "project.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            _make(folder)
            done.touch()
    return folder


def _make(folder: Path) -> None:
    """The first two runs are at commits of their own."""
    (folder / "test_speed.py").write_text(TEST)
    rows = [
        {"id": f"{category}-{i}", "category": category, "turns": [f"Tell me of {category} {i}"]}
        for category in ("alpha", "beta")
        for i in range(SAMPLES)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / ".gitignore").write_text(".benchmarks\n__pycache__\n")
    _git(folder, "init", "-q", "-b", "main")
    for name, options in RUNS.items():
        if name in ("base", "same"):
            _git(folder, "add", "-A")
            _git(folder, "commit", "-q", "--allow-empty", "-m", name)
            _git(folder, "branch", f"at-{name}")
        _measure(folder, name, options)


def _measure(folder: Path, name: str, options: Sequence[str]) -> None:
    code = run_session(
        folder,
        *("-q", "--speed-engine", "simulated", "--speed-model", "sim", "--speed-method", "eagle3"),
        *("--speed-split", "prompts.jsonl", "--speed-max-tokens", "48"),
        *(f"--benchmark-save={name}", *options),
    )
    assert code == 0


def _git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project that a test may damage, and the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def saved(project: Path) -> Path:
    """The folder with the saved files."""
    return next(project.glob(".benchmarks/*"))


@pytest.fixture
def edited(saved: Path) -> Callable[[str, Callable[[dict[str, Any]], None]], Path]:
    """Makes a file like ``base`` with every record changed."""

    def edit(name: str, change: Callable[[dict[str, Any]], None]) -> Path:
        data = json.loads((saved / "0001_base.json").read_text())
        for benchmark in data["benchmarks"]:
            change(benchmark["extra_info"]["speedbench"])
        path = saved / f"{name}.json"
        path.write_text(json.dumps(data))
        return path

    return edit
