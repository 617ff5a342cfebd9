"""The hooks of a session that measures; registered when the first speed test is collected."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest

from pytest_speedbench.compare.asserts import Measured
from pytest_speedbench.errors import (
    CannotRun,
    EngineUnavailable,
    GateFailure,
    SpeedbenchError,
    SpeedWarning,
    warnings_at,
)
from pytest_speedbench.escapes import printable
from pytest_speedbench.report.properties import properties_of
from pytest_speedbench.session.collection import case_of, overridden_options, settings_of
from pytest_speedbench.session.devices import claim, gpus_of_engine
from pytest_speedbench.session.progress import Overall, Progress
from pytest_speedbench.session.pytest_reports import (
    begin_with_message,
    clean,
    cut_our_frames,
    note_skip,
    within,
)
from pytest_speedbench.session.recovery import SessionJournal, recover_interrupted
from pytest_speedbench.session.report_files import check_reports
from pytest_speedbench.session.saving import saving_of
from pytest_speedbench.session.speed_session import SpeedSession
from pytest_speedbench.session.summary import SessionOutput, Summary
from pytest_speedbench.session.termination import GracefulEnd
from pytest_speedbench.session.xdist_schedule import (
    REPORT,
    WORKER_OUTPUT,
    Place,
    is_worker,
    labelled,
)

if TYPE_CHECKING:
    from pytest_speedbench.baselines.schema import Record
    from pytest_speedbench.engines.protocol import Engine
    from pytest_speedbench.plan.cases import Case
    from pytest_speedbench.session.result import SpeedResult
    from pytest_speedbench.splits import Sample

T = TypeVar("T")
PLUGIN = "speedbench-session"


class SessionHooks:
    """Forwards to :class:`SpeedSession`; turns its errors into pytest's."""

    def __init__(self, config: pytest.Config, session: SpeedSession, progress: Progress) -> None:
        self.config = config
        self.session = session
        self.progress = progress
        self.refused = ""
        """Why nothing may be measured; an xdist worker cannot end the whole run by itself."""
        self.labels: dict[str, int] = {}
        """In an xdist worker: the share that each test belongs to."""
        self.cost: list[str] = []
        """What the session will cost, one line each."""
        self._running = ""
        """The test that runs."""
        self._first_with: dict[str, str] = {}
        """Reasons why a test could not run, with the first test that had each."""
        self._reported = 0
        self._end = GracefulEnd().install()

    @classmethod
    def register(cls, config: pytest.Config, cases: Mapping[pytest.Item, Case]) -> SessionHooks:
        """Starts the session's state with the selected ``cases`` as its plan.

        Raises:
            pytest.UsageError: ``--speed-compare`` names a run that does not exist.
        """
        if found := config.pluginmanager.get_plugin(PLUGIN):
            assert isinstance(found, SessionHooks)
            return found
        progress = Progress(config)
        session = SpeedSession(
            settings_of(config), saving_of(config).location, Path(config.rootpath), progress.show
        )
        session.plan(list(cases.values()))
        hooks = cls(config, session, progress)
        progress.overall = Overall(
            session.bench.arms.meter, len(cases), partial(_planned_requests, session)
        )
        place = Place.of(config)
        if place is not None:
            hooks.take_place(place, cases)
        hooks.resolve_reference()
        hooks.estimate_cost()
        summary = Summary.of(config)
        if place is None:
            summary.results.problems += recover_interrupted(config)
        config.pluginmanager.register(hooks, PLUGIN)
        return hooks

    def take_place(self, place: Place, cases: Mapping[pytest.Item, Case]) -> None:
        """Takes this xdist worker's share of the cases, and of the machine."""
        bench, settings = self.session.bench, self.session.settings
        count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        planned = list(cases.values())
        timed = bool(settings.rounds) and not settings.early
        try:
            bench.shares = place.shares(planned, timed, count, joined=bool(settings.url))
        except SpeedbenchError as error:
            self.refused = str(error)
            return
        if place.assigned:
            self.labels = {item.nodeid: bench.shares[case.run] for item, case in cases.items()}
        if not bench.on_this_machine:
            return
        try:
            claim(place.slot, place.workers, gpus_of_engine(settings.engine_arg))
        except SpeedbenchError as error:
            self.refused = str(error)

    def labelled(self) -> AbstractContextManager[None]:
        """While xdist reports to the controller what was collected."""
        return labelled(self.config, self.labels)

    def resolve_reference(self) -> None:
        """Looks for what is compared with now, and for what a report needs, before measuring."""
        worker = is_worker(self.config)
        try:
            if not worker:  # the controller writes the reports
                check_reports(self.session.settings)
            self.session.resolve()
        except SpeedbenchError as error:
            if not worker:
                raise pytest.UsageError(str(error)) from error
            self.refused = self.refused or str(error)

    def estimate_cost(self) -> None:
        """What the session will cost, for its report; and as many samples as its budget allows."""
        budget, worker = self.session.settings.budget, is_worker(self.config)
        if self.refused or not (budget or (self.session.gate.comparing and not worker)):
            return
        from pytest_speedbench.session.cost import Costs

        try:
            costs = Costs(self.session)
            self.cost = [*(costs.keep_within(budget) if budget else ()), str(costs.of())]
        except (SpeedbenchError, ImportError) as error:
            if not budget:  # the tests that need what is missing say so
                return
            if not worker:
                raise pytest.UsageError(str(error)) from error
            self.refused = str(error)

    def pytest_report_collectionfinish(self) -> list[str]:
        """The cost of the session, under the number of tests."""
        return [part for line in self.cost for part in within(f"speedbench: {line}")]

    # -- what fixtures ask for --------------------------------------------------------------

    def speed(self, case: Case, item: pytest.Item) -> SpeedResult:
        self._fail_if_refused()
        result = self._or_give_up(lambda: self.session.measure(case, item.nodeid, item.name))
        self._note(item.nodeid)
        return result

    def engine(self, case: Case) -> Engine:
        self._fail_if_refused()
        return self._or_give_up(lambda: self.session.bench.engine(case.run))

    def samples(self, case: Case) -> tuple[Sample, ...]:
        return self._or_give_up(lambda: self.session.inputs.slice_samples(case.run, case.slice))

    def baseline(self, case: Case) -> Record | None:
        match = self._or_give_up(lambda: self.session.baseline(case))
        return match.record if match.comparable else None

    def _fail_if_refused(self) -> None:
        if self.refused:
            self._fail(self.refused)

    def _or_give_up(self, ask: Callable[[], T]) -> T:
        """A skip where the case cannot run here; any other error of ours is one clear message."""
        try:
            return ask()
        except SpeedbenchError as error:
            trouble = error
        # Not inside the handler, whose error would be shown as a cause.
        if isinstance(trouble, EngineUnavailable | CannotRun):
            pytest.skip(str(trouble))
        return self._fail(str(trouble))

    def _fail(self, reason: str) -> NoReturn:
        """Fails the test; the whole reason is given by the first test that has it."""
        first = self._first_with.setdefault(reason, self._running)
        if first != self._running:
            reason = f"not run, for the same reason as {first}"
        pytest.fail(reason, pytrace=False)

    # -- hooks ------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._running = item.nodeid
        with warnings_at(item):
            return (yield)

    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> list[str] | None:
        """The message of a failed assert on an estimate."""
        mirrored = {">=": "<=", "<=": ">=", ">": "<", "<": ">"}
        if isinstance(left, Measured) and isinstance(right, Real):
            return list(map(printable, left.explain(op, float(right))))
        if isinstance(right, Measured) and isinstance(left, Real) and op in mirrored:
            return list(map(printable, right.explain(mirrored[op], float(left))))
        return None

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        yield
        case = case_of(item)
        if case is None:
            return
        failure = ""
        try:
            self.session.gate_test(case, item.nodeid)
        except (GateFailure, SpeedWarning) as error:  # a warning where warnings are errors
            failure = str(error)
        if failure:
            pytest.fail(failure, pytrace=False)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        case = case_of(item)
        if case is None:
            return
        if result := self.session.result(item.nodeid):
            item.user_properties += properties_of(result)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """An xdist worker reports each test at its end: if it crashes later, that is safe."""
        report = yield
        if case_of(item) is not None:
            clean(report)
            if call.excinfo is not None:
                begin_with_message(report, call.excinfo.value)
            note_skip(report)
            if call.when == "call" and self.config.getoption("htmlpath", None):
                self._add_to_page(item, report)
        if call.when == "teardown" and is_worker(self.config):
            setattr(report, REPORT, self._news().as_dict())
        return report

    def _add_to_page(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Shows the numbers of the case on the page of pytest-html."""
        from pytest_html import extras

        from pytest_speedbench.report.extra import render_extra

        if result := self.session.result(item.nodeid):
            shown = [*getattr(report, "extras", ()), extras.html(render_extra(result))]
            setattr(report, "extras", shown)  # noqa: B010 - no attribute that pytest declares

    def _note(self, nodeid: str) -> None:
        """Writes a case to the journal, which survives a kill."""
        case = self.session.result(nodeid)
        if case is not None and (self.session.gate.comparing or saving_of(self.config).asked):
            SessionJournal.of(self.config).add(case)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """A test that fails by an assertion fails by those of its comparisons that were false; an
        error of ours is shown at the line that asked for it."""
        __tracebackhide__ = True
        try:
            return (yield)
        except AssertionError:
            if case := self._cases.get(pyfuncitem.nodeid):
                self.session.assertion_failed(case, pyfuncitem.nodeid)
            raise
        except SpeedbenchError as error:
            if not self.config.getoption("fulltrace"):
                cut_our_frames(error)
            raise

    def _news(self) -> SessionOutput:
        """What this session has measured since it was last asked."""
        reported = SessionOutput.of(self.session, self.refused)
        reported.results, self._reported = reported.results[self._reported :], len(reported.results)
        return reported

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self) -> None:
        self.progress.clear()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._note(nodeid)
        if case := self._cases.get(nodeid):
            self.session.finished(case)
            self.progress.overall.finished += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        self._cases = {item.nodeid: case for item in session.items if (case := case_of(item))}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        output: dict[str, object] | None = getattr(self.config, "workeroutput", None)
        if output is not None:  # first: the controller waits for it
            SessionJournal.of(self.config).close()
        self.session.close()
        if output is None:
            Summary.of(self.config).add(self._news())
        else:
            news = replace(self._news(), remarks=overridden_options(self.config))
            output[WORKER_OUTPUT] = news.as_dict()
        return (yield)

    def pytest_unconfigure(self) -> None:
        self.session.close()
        self._end.restore()


def _planned_requests(session: SpeedSession) -> int | None:
    """How many requests the session will send; None where samples cannot be counted yet."""
    from pytest_speedbench.session.cost import Costs

    try:
        return Costs(session).requests()
    except (SpeedbenchError, ImportError):  # the tests that need what is missing say so
        return None
