"""The gate of a session: each verdict is kept with its case; one that fails raises."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from pytest_speedbench.baselines.outcome import GateRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import SavedRun
from pytest_speedbench.compare.attribution import attribute_records
from pytest_speedbench.compare.changes import changes
from pytest_speedbench.compare.family import Family
from pytest_speedbench.compare.gate import Levels, as_category
from pytest_speedbench.compare.judge import DEFAULT_MARGINS, Judge
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.errors import GateFailure, NoData, SpeedWarning, warn
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH
from pytest_speedbench.quantities import change_of
from pytest_speedbench.stats import AlphaSequence, Decision

ASSERT = "assert"


@dataclass
class SessionGate:
    """Margins, error rates and verdicts of one session.

    ``cases`` is the number of selected cases: the family over which α is divided.
    """

    settings: Settings
    cases: int = 1
    _spending: dict[tuple[str, str], AlphaSequence] = field(default_factory=dict)

    @cached_property
    def judge(self) -> Judge:
        """The margins and error rates that every case is held to."""
        margins = dict(self.settings.compare_fail or DEFAULT_MARGINS)
        family = Family(self.settings.alpha, max(1, self.cases))
        return Judge(margins, family, self.settings.reach)

    def record(self, *, beside_all: bool) -> GateRecord:
        """What the record of a case says of the gate of its session."""
        family, reach = self.judge.family, self.judge.reach
        return GateRecord(
            alpha=family.alpha, cases=family.cases, reach=reach, beside_all=beside_all
        )

    @property
    def comparing(self) -> bool:
        """Whether every case is compared, whatever its test asks for."""
        settings = self.settings
        asked = settings.compare is not None or settings.compare_fail is not None
        return asked or settings.require_baseline or settings.early

    def margins(self, method: str, slice_name: str) -> dict[str, float]:
        """The gated metrics of a case, each with its margin."""
        return self.judge.margins_of(method, slice_name)

    def spending_of(self, case: CaseResult) -> AlphaSequence:
        """How the case of a test spends its α; the same for all tests of the case, which keep what
        was spent."""
        record, key = case.record, (case.group, case.key)
        if key not in self._spending:
            self._spending[key] = self.judge.spending(
                record.spec.method,
                record.case.slice,
                soak=bool(record.drift),
                comparing=self.comparing or record.side is not None,
            )
        case.spent = self._spending[key].places
        return self._spending[key]

    def early_levels(self, method: str, slice_name: str) -> Levels | None:
        """The error rates for AL of a case that is decided while it runs; None if not gated."""
        margin = self.margins(method, slice_name).get(ACCEPTANCE_LENGTH)
        if margin is None:
            return None
        spending = self.judge.spending(method, slice_name)
        return self.judge.levels(ACCEPTANCE_LENGTH, margin, spending)

    # -- verdicts ---------------------------------------------------------------------------

    def compare(
        self,
        case: CaseResult,
        match: Match,
        metric: str,
        margin: float,
        decided: Decision | None = None,
    ) -> Verdict:
        """Compares one metric with the baseline.

        Raises:
            GateFailure: the verdict fails.
        """
        __tracebackhide__ = True
        spending = self.spending_of(case)
        verdict = self.judge.verdict(case.record, match, metric, margin, spending, decided)
        if match.beside is not None and metric == ACCEPTANCE_LENGTH:
            case.beside = beside_text(case.record, match.beside)
        if case.attribution is None:
            with suppress(NoData):
                case.attribution = attribute_records(case.record, match)
        self.note_changes(case, match)
        self.settle(case, verdict)
        return verdict

    def guard(self, case: CaseResult, match: Match) -> tuple[Verdict, ...]:
        """Keeps the verdicts on the answers themselves with their case; :meth:`settle` raises."""
        found = self.judge.guards(case.record, match)
        for verdict in found:
            case.add(verdict)
            self.note_changes(case, match)
        return found

    def note_changes(self, case: CaseResult, match: Match) -> None:
        """Keeps the baseline of a case, and in what its run differs from it."""
        old = match.record
        if old is not None and case.baseline is None:
            case.changes = changes(old, case.record)
            case.baseline = old if self.settings.report else without_requests(old)

    def speculation_off(self, case: CaseResult) -> None:
        """A run that was to speculate and did not fails, compared or not."""
        __tracebackhide__ = True
        reason = case.record.speculation_off
        if reason:
            self.settle(case, Verdict(case.key, ACCEPTANCE_LENGTH, Outcome.SPECULATION_OFF, reason))

    def settle(self, case: CaseResult, verdict: Verdict, text: str = "") -> None:
        """Keeps a verdict.

        Raises:
            GateFailure: the verdict fails; ``text`` is the message, where given.
        """
        __tracebackhide__ = True
        verdict = as_category(verdict, case.record)
        undecided = verdict.outcome is Outcome.UNDECIDED
        if case.add(verdict) and undecided and self.settings.inconclusive == "warn":
            warn_undecided(verdict.metric, str(verdict))
        if verdict.fails(self.settings.inconclusive, self.settings.require_baseline):
            shown = text if verdict.outcome is Outcome.FAIL else ""
            raise GateFailure(shown or failure_text(verdict))

    def failed_test(self, case: CaseResult) -> None:
        """The body of a test failed by an assertion: comparisons that were false are verdicts."""
        for text in case.false_asserts:
            case.add(Verdict(case.key, ASSERT, Outcome.FAIL, text))

    def undecided_assert(self, case: CaseResult, text: str) -> bool:
        """Keeps an assert that the numbers do not decide; returns what it counts as."""
        verdict = as_category(Verdict(case.key, ASSERT, Outcome.UNDECIDED, text), case.record)
        case.add(verdict)
        if verdict.outcome is not Outcome.UNDECIDED:
            return True
        if self.settings.inconclusive == "warn":
            warn_undecided(ASSERT, f"undecided: {text}")
        return self.settings.inconclusive != "fail"


def beside_text(new: Record, latest: SavedRun) -> str:
    """The change of AL against a saved run that is shown beside the one that gates."""
    lengths = [r.metric(ACCEPTANCE_LENGTH) for r in latest.summaries if r.case == new.case]
    now = new.metric(ACCEPTANCE_LENGTH)
    if not lengths or lengths[0] is None or now is None:
        return ""
    change = change_of(now.value / lengths[0].value)
    return f"for comparison, against the saved run {latest}: AL {change}, not gated"


def failure_text(verdict: Verdict) -> str:
    """The message of a verdict that fails: what, got and expected, where, and what to do. Its first
    line stands in pytest's short summary too."""
    head = f"{verdict.metric}: {verdict.outcome}"
    if verdict.ratio is None:
        lines = [": ".join(filter(None, (head, verdict.reason))), f"  {verdict.case}"]
    else:
        numbers = f"({change_of(verdict.ratio)}{_allowed(verdict)})"
        lines = [f"{head} {numbers}: {verdict.case}"]
        if said := ", ".join(filter(None, (verdict.certainty, verdict.reason))):
            lines.append(f"  {said}")
    if verdict.baseline:
        lines.append(f"  baseline: {verdict.baseline}")
    if verdict.outcome is Outcome.NO_BASELINE:
        lines.append("  save one with --benchmark-autosave, or leave --speed-require-baseline out")
    return "\n".join(lines)


def _allowed(verdict: Verdict) -> str:
    return "" if verdict.margin is None else f", allowed {change_of(1 - verdict.margin)}"


def warn_undecided(what: str, text: str) -> None:
    """A warning that is the same for all cases, so that pytest lists their tests above one line,
    and our own section has the numbers; with all of ``text`` where warnings are errors.

    Raises:
        SpeedWarning: warnings are errors.
    """
    try:
        warn(f"undecided: {what}: see the section 'speedbench' below")
    except SpeedWarning:
        raise SpeedWarning(text) from None


def without_requests(record: Record) -> Record:
    """The numbers of ``record`` without what they were computed from."""
    return record.model_copy(update={"requests": []})


def with_gate(record: Record, gate: GateRecord) -> Record:
    """``record`` with the gate of its session."""
    return record.model_copy(update={"gate": gate})
