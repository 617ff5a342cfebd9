"""One pytest session: the plan, the measurements, the verdicts, the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path

import pytest

from pytest_speedbench.baselines.machine import this_machine
from pytest_speedbench.baselines.records import write_record
from pytest_speedbench.baselines.schema import (
    CaseKey,
    ModelRecord,
    SamplingRecord,
    SplitRecord,
)
from pytest_speedbench.baselines.storage import SavedRun, Store
from pytest_speedbench.compare.asserts import Judgement
from pytest_speedbench.compare.attribution import attribute_records
from pytest_speedbench.compare.case_result import CaseResult
from pytest_speedbench.compare.early_decision import EarlyGate
from pytest_speedbench.compare.gate import Levels, gate, margin_for
from pytest_speedbench.compare.match import (
    Identity,
    Match,
    find_baseline,
    match_in,
)
from pytest_speedbench.compare.verdict import COMPARED, Outcome, Verdict
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.errors import BaselineError, GateFailure, warn
from pytest_speedbench.measure.tokenizer import model_name
from pytest_speedbench.plan.cases import Case, RunKey
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.table import LATEST
from pytest_speedbench.session.bench import Bench
from pytest_speedbench.session.checks import OWN_METRICS, CaseChecks, TargetBook
from pytest_speedbench.session.result import SpeedResult
from pytest_speedbench.splits import legacy_ids
from pytest_speedbench.stats import divide_alpha

DEFAULT_MARGINS = {"acceptance_length": 0.02}


@dataclass
class SpeedSession:
    """State of one session; hooks and fixtures only forward to it."""

    settings: Settings
    storage: Path
    folder: Path
    show: Callable[[str], None] = lambda text: None
    results: list[CaseResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bench = Bench(self.settings, self.show)
        self.store = Store(self.storage)
        self._early: dict[RunKey, EarlyGate] = {}
        if self.settings.early:
            self.bench.decider = self._early_gate
        self._users: Counter[RunKey] = Counter()
        self._cases: dict[str, CaseResult] = {}
        self._checks: dict[str, CaseChecks] = {}
        self._book = TargetBook(self.bench)
        self._planned = 0
        self._soaks = 0
        self._told = False

    # -- plan -------------------------------------------------------------------------------

    def plan(self, cases: Sequence[Case]) -> None:
        """Fixes the family of comparisons before the first test."""
        for case in cases:
            self.bench.add(case)
            self._users[case.run] += 1
        self._planned = len(set(cases))
        self._soaks = sum(bool(case.run.soak) for case in set(cases))

    @property
    def margins(self) -> dict[str, float]:
        """Margins that every case of the session is held to."""
        return dict(self.settings.compare_fail or DEFAULT_MARGINS)

    @property
    def comparing(self) -> bool:
        settings = self.settings
        asked = settings.compare is not None or settings.compare_fail is not None
        return asked or settings.require_baseline or settings.early

    @cached_property
    def levels(self) -> Levels:
        """α of one case: a false fail anywhere in the session stays below the session's α."""
        metrics = {name.partition("/")[0] for name in self.margins}
        family = max(1, self._planned * len(metrics) + self._soaks)
        share = divide_alpha(self.settings.alpha, [1.0] * family)[0]
        return Levels(self.settings.alpha, share, self.settings.reach)

    @property
    def family(self) -> str:
        """The division of α in words, for the report."""
        return (
            f"α = {self.settings.alpha:g} for false fails of the whole session, "
            f"{self.levels.fail_alpha:.2g} a comparison; {self.settings.alpha:g} for a false pass "
            "of any one case"
        )

    # -- one test ---------------------------------------------------------------------------

    def measure(self, case: Case, item: pytest.Item) -> SpeedResult:
        """The measured case of ``item``, its record kept at once."""
        run = self.bench.run(case.run)
        result = CaseResult(
            item.nodeid,
            item.name,
            str(key_of(case)),
            repr(case.run),
            write_record(run.view(case.slice), key_of(case)),
        )
        self.results.append(result)
        self._cases[item.nodeid] = result
        # An assert is made once, at a moment that the run chose among its looks.
        judgement = Judgement(
            self.levels.fail_alpha / run.looks, lambda text: self._undecided(result, text)
        )

        def gate_metric(metric: str, margin: float) -> Verdict:
            __tracebackhide__ = True
            return self.gate(case, result, metric, margin)

        def settle(verdict: Verdict, text: str = "") -> None:
            __tracebackhide__ = True
            self._settle(result, verdict, text)

        checks = CaseChecks(self._book, case, run, result.key, judgement.alpha, settle)
        self._checks[item.nodeid] = checks
        return SpeedResult(run, case.slice, judgement, gate_metric, self._margins_of(case), checks)

    def gate(self, case: Case, result: CaseResult, metric: str, margin: float) -> Verdict:
        """Compares with the baseline; raises :class:`GateFailure` where the verdict fails."""
        __tracebackhide__ = True
        early = self._early.get(case.run)
        decided = early.decision(case.slice, margin) if early else None
        baseline = self.baseline(case)
        verdict = gate(result.key, result.record, baseline, metric, margin, self.levels, decided)
        if result.attribution is None:
            result.attribution = attribute_records(result.record, baseline)
        self._settle(result, verdict)
        return verdict

    def _settle(self, result: CaseResult, verdict: Verdict, text: str = "") -> None:
        """Keeps an verdict; raises :class:`GateFailure`, with ``text``, where it fails."""
        __tracebackhide__ = True
        if verdict not in result.verdicts:
            result.verdicts.append(verdict)
            if verdict.outcome is Outcome.UNDECIDED and self.settings.inconclusive == "warn":
                warn(f"undecided: {result.key}: {verdict}")
        if verdict.fails(self.settings.inconclusive, self.settings.require_baseline):
            shown = text if verdict.outcome is Outcome.FAIL else ""
            raise GateFailure(shown or _failure_text(verdict))

    def gate_session(self, case: Case, nodeid: str) -> None:
        """The session's own gate, after a test body has passed."""
        __tracebackhide__ = True
        result = self._cases.get(nodeid)
        if result is None:
            return
        checks = self._checks[nodeid]
        if case.run.soak and not checks.checked_drift:
            checks.no_drift()
        if result.record.speculation_off and not self.comparing:
            verdict = Verdict(
                result.key,
                "acceptance_length",
                Outcome.SPECULATION_OFF,
                result.record.speculation_off,
            )
            result.verdicts.append(verdict)
            raise GateFailure(_failure_text(verdict))
        if not self.comparing:
            return
        for metric, margin in self._margins_of(case).items():
            self.gate(case, result, metric, margin)

    def _margins_of(self, case: Case) -> dict[str, float]:
        """The margin of every gated metric for ``case``: its category's own before the general."""
        metrics = dict.fromkeys(name.partition("/")[0] for name in self.margins)
        if not case.run.speculation.active:
            metrics.pop("speedup", None)
        found = {metric: margin_for(self.margins, metric, case.slice) for metric in metrics}
        return {metric: margin for metric, margin in found.items() if margin is not None}

    def _early_gate(self, run: RunKey) -> EarlyGate:
        """Decides the cases of ``run`` while it goes on, each against its own baseline."""
        gate = EarlyGate(self.levels, run.sampling.greedy)
        for name in self.bench.plan[run]:
            case = Case(run, name)
            margin = self._margins_of(case).get("acceptance_length")
            gate.add(name, self.baseline(case), margin)
        self._early[run] = gate
        return gate

    def _undecided(self, result: CaseResult, text: str) -> bool:
        result.verdicts.append(Verdict(result.key, "assert", Outcome.UNDECIDED, text))
        if self.settings.inconclusive == "warn":
            warn(f"undecided: {text}")
        return self.settings.inconclusive != "fail"

    def verdicts(self, nodeid: str) -> list[Verdict]:
        result = self._cases.get(nodeid)
        return result.verdicts if result else []

    def finished(self, case: Case) -> None:
        """A test is over: engines that no test needs any more are closed."""
        self._users[case.run] -= 1
        if not self._users[case.run]:
            left = [run for run, users in self._users.items() if users]
            self.bench.release([run for run in left if self.bench.together(run, case.run)])

    # -- baselines --------------------------------------------------------------------------

    @cached_property
    def saved_runs(self) -> list[SavedRun]:
        """The run that ``--speed-compare`` names, or every saved one, oldest first.

        Raises:
            BaselineError: the named run does not exist or cannot be read.
        """
        if self.settings.compare not in (None, LATEST):
            assert self.settings.compare is not None
            return [self.store.find(self.settings.compare, self.folder)]
        return self.store.runs()

    def _tell_left_out(self) -> None:
        """One warning a file, at the first comparison."""
        problems = [] if self._told else list(self.store.problems)
        self._told = self._told or bool(problems)
        for problem in problems:
            warn(f"left out as a baseline: {problem}")

    def baseline(self, case: Case) -> Match:
        """The saved record that ``case`` is compared with, or why there is none."""
        identity = self.identity(case)
        if self.settings.compare not in (None, LATEST):
            return match_in(self.saved_runs[0], identity)
        runs = self.saved_runs
        self._tell_left_out()
        return find_baseline(identity, runs)

    def identity(self, case: Case) -> Identity:
        """What the case is measured on, known without an engine."""
        run, split = case.run, self.bench.split(case.run)
        return Identity(
            key_of(case),
            ModelRecord.model_validate(self.bench.identity(run.model, run.engine)),
            SplitRecord(
                name=split.name,
                version=split.version,
                digest=split.digest,
                samples=run.samples,
                rows={s.id: s.digest for s in self.bench.slice_samples(run, case.slice)},
            ),
            SamplingRecord(
                max_tokens=run.sampling.max_tokens,
                temperature=run.sampling.temperature,
                seed=run.sampling.seed,
                ignore_eos=run.sampling.ignore_eos,
                min_tokens=run.sampling.min_tokens,
            ),
            self.bench.tokenizer(run).template_digest,
            engine_type(run.engine).prompt_form,
            this_machine(),
            model_name(run.speculation.drafter) if run.speculation.drafter else "",
            cache(partial(legacy_ids, split)),
        )

    @property
    def saved_records(self) -> int:
        """How many saved records this session could have compared with."""
        if not self.comparing or not self.results:
            return 0
        try:
            return sum(len(run.records) for run in self.saved_runs)
        except BaselineError:
            return 0

    def close(self) -> None:
        """Ends every engine."""
        self.bench.pool.close_all()


def none_compared(results: Sequence[CaseResult]) -> str:
    """Why no case could be compared with the saved records; empty if one was."""
    told = [verdict for result in results for verdict in result.verdicts]
    verdicts = [verdict for verdict in told if verdict.metric not in OWN_METRICS]
    if any(verdict.outcome in COMPARED for verdict in verdicts):
        return ""
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason)
    most = reasons.most_common(1)[0][0] if reasons else "no case has a saved record"
    return f"0 of {len(results)} compared with the saved runs: {most}"


def key_of(case: Case) -> CaseKey:
    """What identifies ``case`` in every record, whatever its test is called."""
    run = case.run
    return CaseKey(
        engine=run.engine,
        model=model_name(run.model),
        method=run.speculation.method,
        dl=run.speculation.draft_length,
        bs=run.bs,
        split=run.split_key or run.split,
        slice=case.slice,
    )


def _failure_text(verdict: Verdict) -> str:
    lines = [f"{verdict.metric}: {verdict.outcome}: {verdict.case}"]
    if verdict.reason:
        lines.append(f"  {verdict.reason}")
    if verdict.ratio is not None and verdict.low is not None and verdict.high is not None:
        lines.append(
            f"  new / old = {verdict.ratio:.4f} [{verdict.low:.4f}, {verdict.high:.4f}], "
            f"allowed: above {1 - (verdict.margin or 0):.4f}"
        )
    if verdict.baseline:
        lines.append(f"  baseline: {verdict.baseline}")
    if verdict.outcome is Outcome.NO_BASELINE:
        lines.append("  save one with --benchmark-autosave, or leave --speed-require-baseline out")
    return "\n".join(lines)
