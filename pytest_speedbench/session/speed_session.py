"""One pytest session: the plan, the measurements, the verdicts, the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path

from pytest_speedbench.baselines.machine import this_machine
from pytest_speedbench.baselines.provenance import (
    ModelRecord,
    SamplingRecord,
    SideRecord,
    SplitRecord,
)
from pytest_speedbench.baselines.records import write_record
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.compare.asserts import Judgement
from pytest_speedbench.compare.early_decision import EarlyGate
from pytest_speedbench.compare.match import Identity, Match
from pytest_speedbench.compare.replay import outputs_of, outputs_of_arm, outputs_to_follow
from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.compare.side_by_side import NAME, match_side
from pytest_speedbench.compare.verdict import Verdict
from pytest_speedbench.engines.registry import check_arguments, engine_type, installed
from pytest_speedbench.errors import BaselineError
from pytest_speedbench.measure.model_identity import model_name
from pytest_speedbench.measure.replay import Outputs
from pytest_speedbench.measure.results import ArmResult
from pytest_speedbench.plan.cases import Case, RunKey, beside_all, sent_as
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH
from pytest_speedbench.session.baselines import Baselines
from pytest_speedbench.session.bench import Bench
from pytest_speedbench.session.checks import CaseChecks
from pytest_speedbench.session.gate import SessionGate, with_gate
from pytest_speedbench.session.inputs import Inputs
from pytest_speedbench.session.keys import key_of
from pytest_speedbench.session.pruning import PruningCheck, first_arm
from pytest_speedbench.session.result import SpeedResult
from pytest_speedbench.session.target_scores import TargetScores
from pytest_speedbench.splits import ALL, legacy_ids


@dataclass
class SpeedSession:
    """State of one session; hooks and fixtures only forward to it."""

    settings: Settings
    storage: Path | str
    folder: Path
    show: Callable[[str], None] = lambda text: None
    results: list[CaseResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inputs = Inputs(self.settings)
        self.bench = Bench(self.inputs, self.show, outputs=self._outputs)
        self.baselines = Baselines(Store(self.storage), self.folder, self.settings.compare)
        self.gate = SessionGate(self.settings)
        self._early: dict[RunKey, EarlyGate] = {}
        self._beside_all: frozenset[Case] = frozenset()
        if self.settings.early:
            self.bench.decider = self._early_gate
        self._users: Counter[RunKey] = Counter()
        self._asked: Counter[str] = Counter()
        self._cases: dict[str, CaseResult] = {}
        self._counterparts: dict[tuple[Case, str], Record] = {}
        self._checks: dict[str, CaseChecks] = {}
        self._target = TargetScores(self.bench)

    # -- plan -------------------------------------------------------------------------------

    def plan(self, cases: Sequence[Case]) -> None:
        """Fixes the family of comparisons before the first test."""
        for case in cases:
            self.inputs.add(case)
            self._users[case.run] += 1
        self.gate.cases = len(set(cases))
        self._beside_all = beside_all(cases)

    def resolve(self) -> None:
        """Looks for the named baseline, for the arguments of the engines, and for the builds that
        are measured side by side.

        Raises:
            SpeedbenchError: one is not there, or cannot be used.
        """
        if self.settings.compare:
            self.baselines.resolve()
        for run in self.inputs.plan:
            if installed(engine_type(run.engine)):  # else its tests are skipped
                check_arguments(engine_type(run.engine), self.inputs.config(run))
                self.inputs.check_counterpart(run)

    # -- one test ---------------------------------------------------------------------------

    def measure(self, case: Case, nodeid: str, name: str) -> SpeedResult:
        """The measured case of the test ``nodeid``, its record kept at once."""
        self._asked[nodeid] += 1
        run = self.bench.run(case.run, self._asked[nodeid])
        if run.replay is not None and self._compares(case.run):
            self._target.score_replay(
                case.run, run, self.baselines.find(self.identity(case)).record
            )
        result = self._result(case, nodeid, name)
        spending = self.gate.spending_of(result)

        def compare(metric: str, margin: float) -> Verdict:
            __tracebackhide__ = True
            return self.compare(case, result, metric, margin)

        def settle(verdict: Verdict, text: str = "") -> None:
            __tracebackhide__ = True
            self.gate.settle(result, verdict, text)

        judgement = Judgement(
            # An assert is made once, at a moment that the run chose among its looks.
            lambda comparison: spending.level(comparison) / run.looks,
            lambda text: self.gate.undecided_assert(result, text),
            result.false_asserts.append,
        )
        pruning = PruningCheck(
            bench=self.bench,
            case=case,
            record_of=self._record,
            spending=spending,
            levels=self.gate.judge.levels_at,
            settle=settle,
        )
        checks = CaseChecks(
            target=self._target,
            case=case,
            run=run,
            key=result.key,
            spending=spending,
            settle=settle,
            pruning=pruning,
        )
        self._checks[nodeid] = checks
        margins = self.gate.margins(case.run.speculation.method, case.slice)
        return SpeedResult(run, case.slice, judgement, compare, margins, checks)

    def _result(self, case: Case, nodeid: str, name: str) -> CaseResult:
        """The entry of a test; a rerun of the same test judges the same measurement again."""
        if known := self._cases.get(nodeid):
            known.verdicts.clear()
            known.false_asserts.clear()
            return known
        gate = self.gate.record(beside_all=case in self._beside_all)
        record = with_gate(self._record(case), gate)
        result = CaseResult(nodeid, name, str(key_of(case)), self._group(case.run), record)
        self.results.append(result)
        if case.run.against is not None:
            self.results.append(self._of_reference_build(case, nodeid, name))
        self._cases[nodeid] = result
        return result

    def _record(self, case: Case) -> Record:
        """What was measured of any case of the plan's runs."""
        return write_record(self.bench.run(case.run).view(case.slice), key_of(case))

    def _group(self, run: RunKey) -> str:
        """Distinguishes runs of one key: by number of samples, by the environment or the build."""
        return f"{run!r} {self.inputs.surroundings}"

    def _of_reference_build(self, case: Case, nodeid: str, name: str) -> CaseResult:
        """The same case on the build that it is compared with; it is reported and saved."""
        run = case.run.counterpart()
        nodeid, name = (f"{text} ({NAME})" for text in (nodeid, name))
        key, group = str(key_of(case)), self._group(run)
        return CaseResult(nodeid, name, key, group, self._counterpart(case))

    def _counterpart(self, case: Case) -> Record:
        asked = case, self.inputs.surroundings
        if asked not in self._counterparts:
            run = self.bench.run(case.run.counterpart())
            self._counterparts[asked] = write_record(run.view(case.slice), key_of(case))
        return self._counterparts[asked]

    def compare(self, case: Case, result: CaseResult, metric: str, margin: float) -> Verdict:
        """Compares one metric with the baseline.

        Raises:
            GateFailure: the verdict fails.
        """
        __tracebackhide__ = True
        early = self._early.get(case.run)
        decided = early.decision(case.slice, margin) if early else None
        return self.gate.compare(result, self.baseline(case), metric, margin, decided)

    def gate_test(self, case: Case, nodeid: str) -> None:
        """The session's own gate, after a test body has passed.

        Raises:
            GateFailure: a verdict fails.
        """
        __tracebackhide__ = True
        result = self._cases.get(nodeid)
        if result is None:
            return
        checks = self._checks[nodeid]
        if case.run.soak and not checks.checked_drift:
            checks.no_drift()
        self._note_changes(case, result)
        self.gate.speculation_off(result)
        try:
            if self._compares(case.run):
                margins = self.gate.margins(case.run.speculation.method, case.slice)
                for metric, margin in margins.items():
                    self.compare(case, result, metric, margin)
        finally:
            # After a comparison of the test's own, too.
            asked = self._compares(case.run) or any(v.baseline for v in result.verdicts)
            answers = self.gate.guard(result, self.baseline(case)) if asked else ()
        for verdict in answers:
            self.gate.settle(result, verdict)

    def _early_gate(self, run: RunKey) -> EarlyGate:
        """Decides the cases of ``run`` while it goes on, each against its own baseline."""
        early = EarlyGate(run.sampling.greedy)
        for name in self.inputs.plan[run]:
            method = run.speculation.method
            case = Case(run, name)
            margin = self.gate.margins(method, name).get(ACCEPTANCE_LENGTH)
            levels = self.gate.early_levels(method, name)
            waited_for = case not in self._beside_all
            early.add(name, self.baseline(case), margin, levels, waited_for=waited_for)
        self._early[run] = early
        return early

    def _outputs(self, run: RunKey, plain: ArmResult | None) -> Outputs | str:
        """What ``run`` is to follow: the outputs of its cases' baselines, where AL is gated, else
        one text for all arms of the session; ``plain`` is its own arm without SD."""
        if not self._compares(run):
            return self._outputs_of_session(run, plain)
        margins = [
            self.gate.margins(run.speculation.method, name)
            for name in self.inputs.plan.get(run, ())
        ]
        if not run.replay or not any(ACCEPTANCE_LENGTH in m for m in margins):
            return ""
        if run.soak:
            return "a soak measures the same outputs again and again"
        names = sorted(self.inputs.plan[run], key=lambda name: name != ALL)
        find = self._beside if run.against else self._stored
        try:
            return outputs_to_follow(find(Case(run, name)) for name in names)
        except BaselineError:  # raised again by the comparison
            return ""

    def _outputs_of_session(self, run: RunKey, plain: ArmResult | None) -> Outputs | str:
        """One text for several drafters or engines, so that none follows its own: the output of
        the first one's target without SD. Without such an arm the others follow the first."""
        first = first_arm(self.inputs.plan, run)
        if first is None or not run.replay or run.soak:
            return ""
        if first != run:
            measured = dict(self.bench.measured()).get(first)
            if measured is None:
                return ""
            plain = measured.reference
        if plain is not None:
            return outputs_of_arm(plain.turns)
        return "" if first == run else outputs_of(self._record(Case(first, ALL)), "the first arm")

    def _note_changes(self, case: Case, result: CaseResult) -> None:
        """What changed, for a case that may fail before it is compared."""
        with suppress(BaselineError):  # raised again by the comparison
            if self._compares(case.run):
                self.gate.note_changes(result, self.baseline(case))

    def assertion_failed(self, case: Case, nodeid: str) -> None:
        """The body of a test failed by an assertion."""
        if result := self._cases.get(nodeid):
            self._note_changes(case, result)
            self.gate.failed_test(result)

    def result(self, nodeid: str) -> CaseResult | None:
        """What one test has measured, if it has."""
        return self._cases.get(nodeid)

    def finished(self, case: Case) -> None:
        """A test is over: engines that no test needs any more are closed, and those that it left at
        work."""
        self.bench.pool.close_busy()
        self._users[case.run] -= 1
        if not self._users[case.run]:
            left = [run for run, users in self._users.items() if users]
            self.bench.release([run for run in left if self.bench.together(run, case.run)])

    def _compares(self, run: RunKey) -> bool:
        """Whether the cases of a run are compared, whatever their tests ask for."""
        return self.gate.comparing or run.against is not None

    @property
    def comparing(self) -> bool:
        """Whether any case is compared."""
        return self.gate.comparing or any(run.against for run in self.inputs.plan)

    # -- baselines --------------------------------------------------------------------------

    def baseline(self, case: Case) -> Match:
        """The record that ``case`` is compared with, or why there is none: that of the reference
        build where one is measured side by side, else a saved one."""
        if case.run.against is None:
            return self.baselines.match(self.identity(case))
        match = self._beside(case)
        if self.settings.compare is None:
            return match
        stored = self.baselines.match(self.identity(case))
        return replace(match, beside=stored.run if stored.comparable else None)

    def _stored(self, case: Case) -> Match:
        """The saved record, without warnings."""
        return self.baselines.find(self.identity(case))

    def _beside(self, case: Case) -> Match:
        """The record of the reference build."""
        own = self.bench.run(case.run).setting.side
        assert own is not None
        side = SideRecord(**asdict(own))
        match = match_side(self.identity(case), side, [self._counterpart(case)])
        assert match is not None
        return match

    def identity(self, case: Case) -> Identity:
        """What the case is measured on, known without an engine."""
        run, split = case.run, self.inputs.split(case.run)
        return Identity(
            case=key_of(case),
            model=ModelRecord.model_validate(self.inputs.identity(run.model, run.engine)),
            split=SplitRecord(
                name=split.name,
                version=split.version,
                digest=split.digest,
                samples=self.inputs.count(run),
                rows={s.id: s.digest for s in self.inputs.slice_samples(run, case.slice)},
            ),
            sampling=SamplingRecord(**asdict(run.sampling)),
            template=self.inputs.tokenizer(run).template_digest,
            prompt_form=sent_as(run),
            machine=this_machine(),
            drafter=model_name(run.speculation.drafter) if run.speculation.drafter else "",
            earlier_ids=cache(partial(legacy_ids, split)),
        )

    @property
    def saved_records(self) -> int:
        """How many saved records this session could have compared with."""
        return self.baselines.count if self.gate.comparing and self.results else 0

    def close(self) -> None:
        """Ends every engine."""
        self.bench.pool.close_all()
