"""The end of a session: records saved, table printed, reports written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.compare.case_result import CaseResult
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.session.collection import settings_of
from pytest_speedbench.session.saving import Saving, saving_of
from pytest_speedbench.session.speed_session import SpeedSession, none_compared

PLUGIN = "speedbench-summary"
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""GitHub Actions shows the Markdown that a step appends to this file."""


@dataclass
class SessionOutput:
    """What a session, or each xdist worker of one, tells at its end."""

    results: list[CaseResult]
    family: str
    comparing: bool
    saved_records: int
    refused: str

    @classmethod
    def of(cls, session: SpeedSession, refused: str) -> SessionOutput:
        return cls(
            session.results, session.family, session.comparing, session.saved_records, refused
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain builtins, so that it can be sent from worker to controller."""
        return {**vars(self), "results": [result.as_dict() for result in self.results]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SessionOutput:
        return cls(**{**data, "results": [CaseResult.from_dict(r) for r in data["results"]]})


@dataclass(eq=False)  # pytest 8 hashes plugins
class Summary:
    """What the terminal, the files and the storage get; one per session, on the controller."""

    config: pytest.Config
    results: list[CaseResult] = field(default_factory=list)
    family: str = ""
    comparing: bool = False
    saved_records: int = 0
    none_compared: str = ""
    refused: str = ""
    problems: list[str] = field(default_factory=list)
    saving: Saving | None = None

    @classmethod
    def of(cls, config: pytest.Config) -> Summary:
        """The session's summary; registered at the first call."""
        found: Summary | None = config.pluginmanager.get_plugin(PLUGIN)
        if found is None:
            found = cls(config)
            config.pluginmanager.register(found, PLUGIN)
            config.pluginmanager.register(BeforeSaving(found))
        return found

    def add(self, output: SessionOutput) -> None:
        """Takes over what this process, or an xdist worker, has measured."""
        self.results += output.results
        self.family = output.family
        self.comparing = output.comparing
        self.saved_records = max(self.saved_records, output.saved_records)
        self.refused = output.refused

    def before_saving(self, session: pytest.Session) -> None:
        """Hands the records to pytest-benchmark, which saves them next."""
        self.saving = saving = saving_of(self.config)
        saving.add(self.results)
        if self._no_baseline():
            saving.save_anyway()
        if self.saved_records:
            self.none_compared = none_compared(self.results)
        if self.none_compared and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.refused:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_sessionfinish(self) -> None:
        """After pytest-benchmark has saved, before the terminal shows its summary."""
        if self.saving is None:
            return
        self.saving.hide_from_table()
        self.problems += self.saving.problems
        self._write_files()

    def _no_baseline(self) -> bool:
        verdicts = (verdict for result in self.results for verdict in result.verdicts)
        return any(verdict.outcome is Outcome.NO_BASELINE for verdict in verdicts)

    def _write_files(self) -> None:
        settings = settings_of(self.config)
        if not self.results:
            return
        for path, write in (
            (settings.report, _write_html),
            (settings.summary, _write_markdown),
            (os.environ.get(STEP_SUMMARY, ""), _append_markdown),
        ):
            if not path:
                continue
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write(Path(path), self)
            except OSError as error:
                self.problems.append(f"cannot write {path}: {error.strerror}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        from pytest_speedbench.report.terminal import summary_lines

        if not self.results and not self.problems:
            return
        terminalreporter.section("speedbench")
        for line in summary_lines(self, shutil.get_terminal_size().columns):
            terminalreporter.write_line(line.text, **line.markup)


@dataclass(eq=False)
class BeforeSaving:
    """Comes before pytest-benchmark's hook, as :class:`Summary`'s own comes behind it."""

    summary: Summary

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        self.summary.before_saving(session)
        return (yield)


def deal_to_workers(config: pytest.Config) -> None:
    """In the controller of a session with xdist workers: cases, places and results of each."""
    from pytest_speedbench.session.xdist_schedule import PLUGIN as DEALER
    from pytest_speedbench.session.xdist_schedule import Dealer

    if hasattr(config, "workerinput") or config.pluginmanager.hasplugin(DEALER):
        return

    def take(told: dict[str, Any]) -> None:
        Summary.of(config).add(SessionOutput.from_dict(told))

    option = config.option
    way = "load" if option.distload else option.dist
    config.pluginmanager.register(Dealer(config, way, take), DEALER)


def _write_html(path: Path, summary: Summary) -> None:
    from pytest_speedbench.errors import ReportError
    from pytest_speedbench.report.html import render_html

    try:
        path.write_text(render_html(summary), encoding="utf-8")
    except ReportError as error:
        summary.problems.append(f"cannot write {path}: {error}")


def _write_markdown(path: Path, summary: Summary) -> None:
    from pytest_speedbench.report.markdown import render_markdown

    path.write_text(render_markdown(summary), encoding="utf-8")


def _append_markdown(path: Path, summary: Summary) -> None:
    from pytest_speedbench.report.markdown import render_markdown

    with path.open("a", encoding="utf-8") as out:
        out.write(render_markdown(summary) + "\n")
