"""The end of a session: records saved, table printed, reports written."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.compare.gate import is_beside_all
from pytest_speedbench.compare.results import CaseResult, SessionResults, merged, unfinished
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.errors import ReportError, SpeedbenchError
from pytest_speedbench.escapes import on_terminal, printable
from pytest_speedbench.plan.table import LATEST
from pytest_speedbench.plan.values import GATED_METRICS
from pytest_speedbench.report.annotations import GITHUB_ACTIONS, annotation_lines
from pytest_speedbench.session.baselines import Baselines
from pytest_speedbench.session.collection import settings_of
from pytest_speedbench.session.pytest_reports import skip_reasons
from pytest_speedbench.session.recovery import SessionJournal, recover_interrupted
from pytest_speedbench.session.report_files import check_reports
from pytest_speedbench.session.saving import Saving, saving_of
from pytest_speedbench.session.speed_session import SpeedSession
from pytest_speedbench.session.termination import GracefulEnd
from pytest_speedbench.session.xdist_schedule import PLUGIN as ASSIGNER
from pytest_speedbench.session.xdist_schedule import Assigner, is_worker

PLUGIN = "speedbench-summary"
CONTROLLER = "speedbench-controller"
_WORKERS_SECONDS = 5.0
"""For workers to end after SIGTERM; CI systems leave 10 until SIGKILL."""
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""GitHub Actions shows the Markdown that a step appends to this file."""


@dataclass
class SessionOutput:
    """What a session, or each xdist worker of one, reports at its end."""

    results: list[CaseResult]
    family: str
    comparing: bool
    saved_records: int
    refused: str
    problems: list[str]
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, session: SpeedSession, refused: str) -> SessionOutput:
        gate = session.gate
        return cls(
            results=session.results,
            family=gate.judge.family.describe(),
            comparing=session.comparing,
            saved_records=session.saved_records,
            refused=refused,
            problems=session.baselines.problems,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain builtins, so that it can be sent from worker to controller."""
        return {**vars(self), "results": [result.as_dict() for result in self.results]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SessionOutput:
        """The inverse of :meth:`as_dict`."""
        return cls(**{**data, "results": [CaseResult.from_dict(r) for r in data["results"]]})


@dataclass(eq=False)  # pytest 8 hashes plugins
class Summary:
    """What the terminal, the files and the storage get; one per session, on the controller."""

    config: pytest.Config
    results: SessionResults = field(default_factory=SessionResults)
    saved_records: int = 0
    refused: str = ""
    saving: Saving | None = None

    @classmethod
    def of(cls, config: pytest.Config) -> Summary:
        """The session's summary; registered at the first call."""
        found: Summary | None = config.pluginmanager.get_plugin(PLUGIN)
        if found is None:
            found = cls(config)
            if not is_worker(config):
                config.pluginmanager.register(found, PLUGIN)
                config.pluginmanager.register(BeforeSaving(found))
        return found

    def add(self, output: SessionOutput) -> None:
        """Takes over what this process, or an xdist worker, has measured."""
        if output.results and self.config.pluginmanager.has_plugin(CONTROLLER):
            SessionJournal.of(self.config).hold()
        self.results.cases += output.results
        self.results.family = output.family
        self.results.comparing = output.comparing
        self.saved_records = max(self.saved_records, output.saved_records)
        self.refused = output.refused
        known = self.results.problems
        known += [problem for problem in output.problems if problem not in known]
        noted = self.results.remarks
        noted += [remark for remark in output.remarks if remark not in noted]

    def before_saving(self, session: pytest.Session) -> None:
        """Hands the records to pytest-benchmark, which saves them next."""
        self.saving = saving = saving_of(self.config)
        if self._nothing_compared() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.refused:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        self.results.cases += SessionJournal.of(self.config).missing(self.results.cases)
        self._note_outcome(session)
        cases = merged(self.results.cases)
        self.results.problems += unfinished([case.record for case in cases])
        saving.add(cases)
        if any(verdict.outcome is Outcome.NO_BASELINE for verdict in self.results.verdicts):
            saving.save_anyway()

    def _note_outcome(self, session: pytest.Session) -> None:
        """How the session ended, in every record of it."""
        match session.exitstatus:
            case pytest.ExitCode.OK:
                outcome = "passed"
            case pytest.ExitCode.TESTS_FAILED:
                outcome = "failed"
            case _:
                outcome = "interrupted"
        for case in self.results.cases:
            if case.record.gate is not None:
                gate = case.record.gate.model_copy(update={"session": outcome})
                case.record = case.record.model_copy(update={"gate": gate})

    def _nothing_compared(self) -> bool:
        """A session that names a saved run and compares with nothing of it fails, and says why."""
        reference = settings_of(self.config).compare
        if self.saved_records and reference not in (None, LATEST):
            why = nothing_compared(self.results.cases)
            if why:
                self.results.failure = (
                    f"this run fails: nothing was compared with {reference}: {why}. Name another "
                    "run, or leave REF out: --speed-compare takes the latest comparable one"
                )
        return bool(self.results.failure)

    def pytest_sessionfinish(self) -> None:
        """After pytest-benchmark has saved, before the terminal shows its summary."""
        if self.saving is None:
            return
        self.results.problems += self.saving.problems
        self.results.saved = self.saving.saved
        journal = SessionJournal.of(self.config)
        self.results.problems += journal.problems
        if self.saving.saved or not self.saving.asked or self.saving.problems:
            journal.discard()  # saved, kept elsewhere as the problem says, or not to be saved
        self._write_files()

    def _write_files(self) -> None:
        settings = settings_of(self.config)
        if not self.results.cases:
            return
        self.results.report = settings.report
        for path, write in (
            (settings.report, _write_html),
            (settings.summary, _write_markdown),
            (os.environ.get(STEP_SUMMARY, ""), _append_markdown),
        ):
            if not path:
                continue
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write(Path(path), self.results)
            except OSError as error:
                self._not_written(path, error.strerror or str(error))
            except ReportError as error:
                self._not_written(path, str(error))

    def _not_written(self, path: str, reason: str) -> None:
        self.results.problems.append(f"cannot write {path}: {reason}")
        if path == self.results.report:
            self.results.report = ""

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table of each run, the verdicts, and where the records went."""
        from pytest_speedbench.report.terminal import summary_lines

        if not terminalreporter.hasopt("s"):  # with -rs pytest names them itself
            self.results.skipped = skip_reasons(terminalreporter.getreports("skipped"))
        if terminalreporter.config.option.tbstyle != "no":
            failed = terminalreporter.getreports("failed")
            self.results.reported = frozenset(report.nodeid for report in failed)
        if not (self.results.cases or self.results.problems or self.results.skipped):
            return
        terminalreporter.section("speedbench")
        for line in summary_lines(self.results, shutil.get_terminal_size().columns):
            terminalreporter.write_line(on_terminal(printable(line.text)), **line.markup)
        if os.environ.get(GITHUB_ACTIONS) == "true":
            _annotate(self.results, terminalreporter)


def _annotate(results: SessionResults, terminalreporter: pytest.TerminalReporter) -> None:
    for text in annotation_lines(results):
        terminalreporter.write_line(text)


def nothing_compared(cases: Sequence[CaseResult]) -> str:
    """Why no case could be compared with the saved runs; empty if one was."""
    gated = [(c, v) for c in cases for v in c.verdicts if v.metric in GATED_METRICS]
    if any(v.compared or (v.ratio is not None and is_beside_all(c.record)) for c, v in gated):
        return ""
    reasons = Counter(verdict.reason for _, verdict in gated if verdict.reason)
    return reasons.most_common(1)[0][0] if reasons else "no case has a saved record"


@dataclass(eq=False)
class BeforeSaving:
    """Comes before pytest-benchmark's hook, as :class:`Summary`'s own comes behind it."""

    summary: Summary

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        controller = session.config.pluginmanager.get_plugin(CONTROLLER)
        if controller is not None:
            controller.end_workers()
        self.summary.before_saving(session)
        return (yield)


def assign_to_workers(config: pytest.Config) -> None:
    """Sets up the controller of a session with xdist workers: each worker's cases and results."""
    if is_worker(config) or config.pluginmanager.hasplugin(ASSIGNER):
        return

    def take(output: dict[str, Any]) -> None:
        Summary.of(config).add(SessionOutput.from_dict(output))

    def check() -> None:
        settings = settings_of(config)
        store = Store(saving_of(config).location)
        try:
            check_reports(settings)
            if settings.compare not in (None, LATEST):
                Baselines(store, Path(config.rootpath), settings.compare).resolve()
        except SpeedbenchError as error:
            raise pytest.UsageError(str(error)) from error

    option = config.option
    dist = "load" if option.distload else option.dist
    config.pluginmanager.register(Assigner(config, dist, take, check), ASSIGNER)
    config.pluginmanager.register(ControllerHooks(config), CONTROLLER)


class ControllerHooks:
    """The controller's part in ending well: signals, and the journals of killed sessions."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._end = GracefulEnd()
        self._running: dict[str, Any] = {}

    def pytest_sessionstart(self) -> None:
        """Takes the signals, and recovers what an earlier session has left behind."""
        self._end.install()
        lines = recover_interrupted(self._config)
        if lines:
            Summary.of(self._config).results.problems += lines

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Names the session's journals as the workers do."""
        SessionJournal.of(self._config, node.workerinput["testrunuid"])
        if node.gateway.spec.popen:
            self._running[node.gateway.id] = node.gateway

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker has ended its session, or crashed."""
        self._running.pop(node.gateway.id, None)

    def end_workers(self) -> None:
        """Ends the workers of a session that ends early, which pytest-xdist lets continue.

        What they finish after the controller has saved would be lost. Workers that have measured
        nothing are left to pytest-xdist.
        """
        journal = SessionJournal.of(self._config)
        if not self._running or not journal.others_are_open():
            return
        for gateway in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(gateway._io.popen.pid, signal.SIGTERM)
        journal.wait_for_others(_WORKERS_SECONDS)

    def pytest_unconfigure(self) -> None:
        """Puts the former signal handlers back."""
        self._end.restore()


def _write_html(path: Path, results: SessionResults) -> None:
    from pytest_speedbench.report.html.page import render_html

    path.write_text(render_html(results), encoding="utf-8")


def _write_markdown(path: Path, results: SessionResults) -> None:
    from pytest_speedbench.report.markdown import render_markdown

    path.write_text(render_markdown(results, path.parent), encoding="utf-8")


def _append_markdown(path: Path, results: SessionResults) -> None:
    from pytest_speedbench.report.markdown import render_markdown

    with path.open("a", encoding="utf-8") as out:
        out.write(render_markdown(results) + "\n")
