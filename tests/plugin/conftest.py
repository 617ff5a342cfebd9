"""A small project under test, and a log of the engines that its runs start."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from execnet import gateway_io
from forked import Forked, ForkedIO, start_session

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import read_run
from pytest_speedbench.engines.protocol import Engine, EngineConfig
from pytest_speedbench.session import pytest_reports

INI = {
    "speed_engine": "simulated",
    "speed_model": "org/model",
    "speed_method": "eagle3",
    "speed_rounds": "0",
    "speed_max_tokens": "16",
    "speed_samples": "8",
    "speed_category": "math",
}
QUIET = ("-p", "no:cacheprovider", "-W", "always")
GATE = """
import pytest

@pytest.mark.speed({marker})
def test_gate(speed):
    {body}
"""


@dataclass
class Project:
    """A folder with a pytest.ini for the simulated engine; each run is tiny unless it says more."""

    pytester: pytest.Pytester
    ini: dict[str, str] = field(default_factory=lambda: dict(INI))

    @property
    def path(self) -> Path:
        return self.pytester.path

    def gate(self, marker: str = "", body: str = "assert speed.acceptance_length > 0") -> None:
        """One test file with one speed test."""
        self.file("test_it.py", GATE.format(marker=marker, body=body))

    def file(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text, encoding="utf-8")
        return path

    def split(self, name: str, samples: int, *categories: str, words: str = "") -> Path:
        """A user's split: ``samples`` of each category."""
        rows = [
            {"id": f"{category}-{i}", "category": category, "prompt": f"{category} {i} {words}"}
            for i in range(samples)
            for category in categories or ("math",)
        ]
        return self.file(name, "".join(json.dumps(row) + "\n" for row in rows))

    def _prepare(self, lines: dict[str, str]) -> None:
        settings = {k: v for k, v in {**self.ini, **lines}.items() if v is not None}
        text = "".join(f"{name} = {value}\n" for name, value in settings.items())
        self.file("pytest.ini", f"[pytest]\n{text}")

    def run(self, *arguments: str, **ini: str) -> pytest.RunResult:
        """In this process: quick, and what a test monkeypatches is seen."""
        self._prepare(ini)
        return self.pytester.runpytest_inprocess(*QUIET, *arguments)

    def run_apart(self, *arguments: str, **ini: str) -> pytest.RunResult:
        """In a process of its own."""
        self._prepare(ini)
        return self.pytester.runpytest_subprocess(*QUIET, *arguments)

    def start(self, *arguments: str, **ini: str) -> Forked:
        """In a process of its own, beside the test; what it prints goes to ``output.txt``."""
        self._prepare(ini)
        return start_session(self.path / "output.txt", *QUIET, *arguments)

    def collect(self, **ini: str) -> None:
        """Writes the settings, for a session that a test starts by itself."""
        self._prepare(ini)

    def ids(self, *arguments: str, **ini: str) -> list[str]:
        """What is collected, without file names."""
        result = self.run("--collect-only", "-q", *arguments, **ini)
        return [line.partition("::")[2] for line in result.outlines if "::" in line]

    def once(self, kept: Path, make: Callable[[], None]) -> None:
        """Makes what the tests of a module begin with; later tests get a copy of the files."""
        if kept.exists():
            shutil.copytree(kept, self.path, dirs_exist_ok=True)
        else:
            make()
            shutil.copytree(self.path, kept, ignore=shutil.ignore_patterns("__pycache__"))

    # -- what was saved -----------------------------------------------------------------------

    @property
    def saved(self) -> list[Path]:
        return sorted((self.path / ".benchmarks").rglob("*.json"))

    def records(self, path: Path | None = None) -> list[Record]:
        """Every record of the last saved file, or of ``path``."""
        return list(read_run(path or self.saved[-1]).records.values())

    def edit(self, path: Path, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes every record in a saved file."""
        data = json.loads(path.read_text())
        for benchmark in data["benchmarks"]:
            change(benchmark["extra_info"]["speedbench"])
        path.write_text(json.dumps(data))


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(pytester.path.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path.parent / f"{pytester.path.name}-cache"))
    monkeypatch.setattr(gateway_io, "Popen2IOMaster", ForkedIO)
    monkeypatch.setattr(
        pytest_reports, "line_width", lambda: 1000
    )  # a test need not know of line ends
    return Project(pytester)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``Project.once`` keeps files for the tests of this module."""
    return tmp_path_factory.mktemp("kept")


@dataclass
class EngineLog:
    """What happened to engines, in order: ``start NAME`` and ``close NAME``."""

    events: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)

    @property
    def starts(self) -> list[str]:
        return [event for event in self.events if event.startswith("start")]

    @property
    def alive(self) -> list[int]:
        return [pid for pid in self.pids if is_alive(pid)]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> EngineLog:
    """Logs every engine that runs in this process start and close."""
    from pytest_speedbench.measure import pool

    log = EngineLog()
    open_engine = pool.open_engine

    def logged(config: EngineConfig, timeout: float) -> Engine:
        name = f"{config.engine} {config.speculation}"
        log.events.append(f"start {name}")
        engine = open_engine(config, timeout)
        log.pids.append(engine.pid)
        close = engine.close

        def logged_close() -> None:
            log.events.append(f"close {name}")
            close()

        engine.close = logged_close
        return engine

    monkeypatch.setattr(pool, "open_engine", logged)
    return log


def children_of(pid: int) -> list[int]:
    """Processes that were started by ``pid`` and still run."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(folder.name))
    return found


def text_of(result: pytest.RunResult) -> str:
    """The output with its blanks and line ends squeezed: a test need not know how wide it is."""
    return " ".join(result.stdout.str().split())


GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}
