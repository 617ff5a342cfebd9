"""``speedbench init``: a starter test, a CI pipeline and an entry in ``.gitignore``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from pytest_speedbench.cli.output import echo
from pytest_speedbench.cli.project import Project, git, inspect_project, repository_root
from pytest_speedbench.errors import CliError

_STARTER = files("pytest_speedbench.cli") / "starter"
_IGNORED = ".benchmarks/"


class Ci(StrEnum):
    """Where the pipeline runs."""

    GITHUB = "github"
    GITLAB = "gitlab"
    BUILDKITE = "buildkite"


_PIPELINES = {
    Ci.GITHUB: ".github/workflows/speedbench.yml",
    Ci.GITLAB: ".gitlab/speedbench.yml",
    Ci.BUILDKITE: ".buildkite/speedbench.yml",
}
# The file that CI reads first, what it holds where there is none, and what a user adds otherwise.
_ENTRIES = {
    Ci.GITLAB: (
        ".gitlab-ci.yml",
        "include:\n  - local: .gitlab/speedbench.yml\n",
        "add to the list `include` of .gitlab-ci.yml: `- local: .gitlab/speedbench.yml`. The jobs "
        "run in the stage `test`",
    ),
    Ci.BUILDKITE: (
        ".buildkite/pipeline.yml",
        "steps:\n"
        "  - label: speedbench\n"
        "    command: buildkite-agent pipeline upload .buildkite/speedbench.yml\n",
        "add a step to .buildkite/pipeline.yml: "
        "`command: buildkite-agent pipeline upload .buildkite/speedbench.yml`",
    ),
}
_NOTES = {
    Ci.GITHUB: (
        "GitHub drops a cache that was not used for 7 days; the next run on {branch} is then the "
        "first one again. Records that must last belong on a disk of the runner or at an address "
        "such as s3://bucket/folder: --benchmark-storage"
    ),
    Ci.GITLAB: (
        "runners on several machines need a distributed cache, or they do not see each other's "
        "records"
    ),
    Ci.BUILDKITE: (
        "records stay in the agent's home; where builds run on several agents, set "
        "SPEEDBENCH_STORAGE to a disk that they share"
    ),
}


class _Pipeline(Template):
    """``%%{name}`` is replaced; the variables of CI and shell keep their ``$``."""

    delimiter = "%%"


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The project's folder.", show_default=False)
    ] = Path(),
    ci: Annotated[Ci, typer.Option("--ci", help="Where the pipeline runs.")] = Ci.GITHUB,
) -> None:
    """Write a starter test and a CI pipeline.

    Existing files are never overwritten. If there is a test_speed.py, the pipeline runs it.
    """
    if folder.exists() and not folder.is_dir():
        raise CliError(f"{folder} is not a folder")
    project = inspect_project(folder)
    wanted = _files(project, ci)
    test = _test_file(project)
    kept = test.is_file()
    if kept:
        del wanted[test]
    existing = [str(path) for path in wanted if path.exists() or path.is_symlink()]
    if existing:
        raise CliError(f"nothing written: {', '.join(existing)} already there; move it away first")
    if kept:
        echo(f"kept: {test}")
    entry_exists = ci in _ENTRIES and (folder / _ENTRIES[ci][0]).exists()
    for path, text in wanted.items():
        _write(path, text)
    if ci in _ENTRIES and not entry_exists:
        _write(folder / _ENTRIES[ci][0], _ENTRIES[ci][1])
    ignored = _ignore_records(folder / ".gitignore")
    echo("\nLeft to do:")
    for number, text in enumerate(_left_to_do(project, ci, entry_exists, ignored), 1):
        echo(f"{number}. {text}.")
    echo("\nTry it:")
    for line in _trial(project):
        echo(f"    {line}")


def _files(project: Project, ci: Ci) -> dict[Path, str]:
    return {
        _test_file(project): _template("test_speed.py.txt"),
        project.folder / _PIPELINES[ci]: _pipeline(project, ci),
    }


def _test_file(project: Project) -> Path:
    return project.tests / "test_speed.py"


def _template(name: str) -> str:
    return (_STARTER / name).read_text(encoding="utf-8")


def _pipeline(project: Project, ci: Ci) -> str:
    """The pipeline; side by side only where base and head can differ in what is installed."""
    from pytest_speedbench.engines.demo import MODEL_INSTALL

    names = [f"{ci}.yml", *([f"{ci}-side-by-side.yml"] if project.installs else [])]
    return _Pipeline("".join(map(_template, names))).substitute(
        branch=project.branch,
        model=MODEL_INSTALL,
        pip_cache=_pip_cache(project.pip_cache),
        pytest=project.pytest,
        python=project.python,
        requirements=project.pip_arguments,
        test=_test_path(project),
    )


def _test_path(project: Project) -> str:
    path = _test_file(project).relative_to(project.folder)
    return shlex.quote(path.as_posix())


def _pip_cache(file: str) -> str:
    """Lines for ``actions/setup-python``, which fails where it finds no file to make a key of."""
    return f"\n          cache: pip\n          cache-dependency-path: {file}" if file else ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8", newline="\n") as out:
        out.write(text)
    echo(f"written: {path}")


def _ignore_records(path: Path) -> bool:
    """Appends the storage to ``.gitignore``; whether git ignores it now."""
    if git(path.parent, "check-ignore", f"{_IGNORED}record.json"):
        return True
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return False
    old = path.read_bytes() if path.exists() else b""
    if _IGNORED.encode() in {line.strip() for line in old.splitlines()}:
        return True
    line_end = b"\r\n" if b"\r\n" in old else b"\n"
    with path.open("ab") as out:
        out.write((line_end if old and not old.endswith(b"\n") else b"") + _IGNORED.encode())
        out.write(line_end)
    echo(f"{'appended to' if old else 'written'}: {path}")
    return True


def _left_to_do(project: Project, ci: Ci, entry_exists: bool, ignored: bool) -> Iterator[str]:
    if entry_exists:
        yield _ENTRIES[ci][2]
    if not ignored:
        yield f"add {_IGNORED} to .gitignore, so that records are not committed"
    root = repository_root(project.folder)
    if root is not None and root != project.folder.resolve():
        yield (
            f"move {_PIPELINES[ci]} to the root of the repository, {root}, and run its commands "
            "in this folder: CI reads no other"
        )
    if not project.installs:
        yield (
            "add what the tests need to the install step: no package and no requirements.txt were "
            "found. There is no job that measures base and head side by side either, since nothing "
            "that is installed differs between them"
        )
    yield (
        "name your engine and model in pytest's settings (speed_engine, speed_model, "
        "speed_method, speed_drafter), and the engine's extra in the install step; until then the "
        "demo model runs"
    )
    yield _NOTES[ci].format(branch=project.branch)


def _trial(project: Project) -> Iterator[str]:
    """The commands of a first run, as one types them."""
    from pytest_speedbench.engines.demo import MODEL_INSTALL

    if project.folder.resolve() != Path.cwd():
        yield f"cd {shlex.quote(str(project.folder))}"
    yield f"python -m pip install {project.pip_arguments}"
    yield f"python -m {MODEL_INSTALL}"
    yield f"{project.pytest} {_test_path(project)} --speed-compare"
