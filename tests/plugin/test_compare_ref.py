"""What ``--speed-compare=REF`` may name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import GIT, EngineLog, Project


@pytest.fixture
def two(project: Project, kept: Path) -> Project:
    """Two saved runs, of different builds: 0001_first and 0002_second."""

    def make() -> None:
        project.gate()
        project.run("--benchmark-save=first")
        project.run("--benchmark-save=second")

    project.once(kept / "two", make)
    return project


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("1", "0001"),
        ("0001", "0001"),
        ("2", "0002"),
        ("first", "0001"),
        ("0001_first", "0001"),
        ("", "0002"),
    ],
)
def test_number_name_or_nothing(two: Project, reference: str, number: str) -> None:
    result = two.run(f"--speed-compare={reference}" if reference else "--speed-compare")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"gate: 1 undecided (against {number} of *"])


def test_the_ini_file_may_name_it(two: Project) -> None:
    result = two.run(speed_compare="first")
    result.stdout.fnmatch_lines(["gate: 1 undecided (against 0001 of *"])


def test_a_file_anywhere(two: Project) -> None:
    two.saved[0].rename(two.path / "golden.json")
    result = two.run("--speed-compare=golden.json")
    result.stdout.fnmatch_lines(["gate: 1 undecided (against golden of *"])


@pytest.mark.parametrize("reference", ["7", "nowhere", "no/such.json", "deadbeef"])
def test_an_unknown_name_is_a_usage_error_before_anything_is_measured(
    two: Project, engines: EngineLog, reference: str
) -> None:
    result = two.run(f"--speed-compare={reference}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --speed-compare={reference}: no file, no run number*"])
    assert "Saved: 0001_first, 0002_second" in result.stderr.str()
    assert engines.events == []


def test_an_unknown_name_without_any_saved_run_names_the_fix(project: Project) -> None:
    project.gate()
    result = project.run("--speed-compare=5")
    result.stderr.fnmatch_lines(["*Nothing is saved there yet: run once with --benchmark-autosave"])


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(project: Project, kept: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """main: one (saved 0001) - two - three; topic: branched from two (saved 0002)."""
    for name, value in GIT.items():
        monkeypatch.setenv(name, value)

    def make() -> None:
        project.gate()
        project._prepare({})
        project.file(".gitignore", ".benchmarks\n__pycache__\n")
        git("init", "-q", "-b", "main")
        git("add", ".")
        git("commit", "-qm", "one")
        project.run("--benchmark-save=one")
        git("commit", "-q", "--allow-empty", "-m", "two")
        git("checkout", "-qb", "topic")
        git("commit", "-q", "--allow-empty", "-m", "on topic")
        project.run("--benchmark-save=topic")
        git("checkout", "-q", "main")
        git("commit", "-q", "--allow-empty", "-m", "three")

    project.once(kept / "repository", make)
    return project


def test_a_commit(repository: Project) -> None:
    commit = git("rev-parse", "--short", "topic")
    result = repository.run(f"--speed-compare={commit}")
    result.stdout.fnmatch_lines([f"gate: 1 undecided (against 0002 of *, commit {commit}*"])


def test_a_branch_takes_the_nearest_ancestor_with_a_record(repository: Project) -> None:
    result = repository.run("--speed-compare=main")
    result.stdout.fnmatch_lines(["gate: 1 undecided (against 0001 of *"])


def test_a_branch_of_which_no_commit_has_a_record(repository: Project) -> None:
    git("checkout", "-q", "--orphan", "fresh")
    git("commit", "-q", "--allow-empty", "-m", "zero")
    result = repository.run("--speed-compare=fresh", "--benchmark-autosave")
    assert result.ret == pytest.ExitCode.OK
    assert "gate: 1 no baseline" in result.stdout.str()


def test_a_run_with_uncommitted_changes_does_not_stand_for_its_commit(
    repository: Project,
) -> None:
    repository.file("test_it.py", "# changed\n" + (repository.path / "test_it.py").read_text())
    repository.run("--benchmark-save=dirty")
    git("checkout", "-q", "test_it.py")
    result = repository.run("--speed-compare=main")
    result.stdout.fnmatch_lines(["gate: 1 undecided (against 0001 of *"])


def test_a_shallow_clone_says_so_and_names_the_fix(
    repository: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = repository.path / "clone"
    git("clone", "-q", "--depth=1", f"file://{repository.path}", str(clone))
    repository.pytester.chdir()
    (repository.path / ".benchmarks").rename(clone / ".benchmarks")
    monkeypatch.chdir(clone)
    result = repository.pytester.runpytest_inprocess("--speed-compare=main", "--rootdir=.")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: this clone is shallow*git fetch --unshallow*"])
