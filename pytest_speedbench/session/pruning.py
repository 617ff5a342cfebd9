"""Two drafters of one session: what AL loses from the first to the one of this case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.gate import Levels, gate
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.errors import NoData, UsageError
from pytest_speedbench.measure.model_identity import model_name
from pytest_speedbench.plan import values
from pytest_speedbench.plan.cases import Case, RunKey
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH
from pytest_speedbench.quantities import change_of, span_of
from pytest_speedbench.session.bench import Bench
from pytest_speedbench.splits import ALL
from pytest_speedbench.stats import AlphaSequence, comparison

PRUNING = "pruning_loss"
_WORST_FIRST = (
    Outcome.SPECULATION_OFF,
    Outcome.INCOMPARABLE,
    Outcome.FAIL,
    Outcome.NO_BASELINE,
    Outcome.UNDECIDED,
    Outcome.NOT_GATED,
    Outcome.PASS,
    Outcome.IMPROVED,
)


class Settle(Protocol):
    """Keeps a verdict; warns or fails as it says, with ``text`` as the message of a failure."""

    def __call__(self, verdict: Verdict, text: str = "") -> None: ...


@dataclass(frozen=True)
class PruningCheck:
    """Compares the drafter of one case with the session's first one.

    Attributes:
        bench: what the session has measured.
        case: the case of the test.
        record_of: the record of any measured case.
        spending: how the case spends its α.
        levels: the error rates of a comparison, given its α for a false *fail*.
        settle: keeps a verdict.
    """

    bench: Bench
    case: Case
    record_of: Callable[[Case], Record]
    spending: AlphaSequence
    levels: Callable[[float], Levels]
    settle: Settle

    def check(self, margin: str | float, per_category: str | float | None) -> None:
        """Settles a verdict on AL, and one on the categories where they have a margin.

        Raises:
            GateFailure: a verdict fails.
            NoData: the session has no other drafter at this point of its grid.
            UsageError: a margin that is not a share.
        """
        __tracebackhide__ = True
        allowed = _share("margin", margin)
        each = None if per_category is None else _share("per_category", per_category)
        first = first_drafter(self.bench.inputs.plan, self.case.run)
        if first is None:
            raise NoData(
                "assert_pruning_loss compares two drafters of one session, and this one has one: "
                "name the whole drafter first, @pytest.mark.speed(drafter=[FULL, PRUNED])"
            )
        if first == self.case.run:
            return
        own = each if self.case.slice != ALL and each is not None else allowed
        self._settle([(self.case.slice, own)], first, PRUNING)
        if self.case.slice == ALL and each is not None:
            self._settle([(name, each) for name in self._categories()], first, f"{PRUNING}/*")

    def _settle(self, slices: list[tuple[str, float]], first: RunKey, metric: str) -> None:
        __tracebackhide__ = True
        if not slices:
            return
        spent = self.spending.level(comparison(metric, slices[0][1])) / len(slices)
        found = {
            name: self._compared(name, first, margin, self.levels(spent)) for name, margin in slices
        }
        verdict = replace(_worst(found), metric=metric)
        self.settle(verdict, "\n".join(_message(found, verdict)))

    def _compared(self, name: str, first: RunKey, margin: float, levels: Levels) -> Verdict:
        old, new = (self.record_of(Case(run, name)) for run in (first, self.case.run))
        verdict = gate(str(new.case), new, Match(old), ACCEPTANCE_LENGTH, margin, levels)
        assert first.speculation.drafter is not None
        return replace(verdict, baseline=f"drafter {model_name(first.speculation.drafter)}")

    def _categories(self) -> list[str]:
        """The categories that have no case of their own in this session."""
        run = self.bench.run(self.case.run)
        return [name for name in run.slices if name not in self.bench.inputs.plan[self.case.run]]


def first_drafter(plan: Iterable[RunKey], own: RunKey) -> RunKey | None:
    """The first of the runs that differ from ``own`` in the drafter alone; None without such."""
    return _first_of_several([run for run in plan if _with_drafter_of(run, own) == own])


def first_arm(plan: Iterable[RunKey], own: RunKey) -> RunKey | None:
    """The first of the runs that differ from ``own`` in the drafter or the engine alone; None
    without such."""
    return _first_of_several(
        [run for run in plan if replace(_with_drafter_of(run, own), engine=own.engine) == own]
    )


def _with_drafter_of(run: RunKey, own: RunKey) -> RunKey:
    return replace(run, speculation=replace(run.speculation, drafter=own.speculation.drafter))


def _first_of_several(runs: Sequence[RunKey]) -> RunKey | None:
    return runs[0] if len(runs) > 1 else None


def _worst(found: dict[str, Verdict]) -> Verdict:
    """The verdict on several slices: *fail* where one fails, *pass* where all pass."""
    (name, worst), *others = sorted(
        found.items(), key=lambda entry: _WORST_FIRST.index(entry[1].outcome)
    )
    if not others:
        return worst
    counts = [verdict.outcome for verdict in found.values()]
    text = ", ".join(f"{counts.count(o)} {o}" for o in _WORST_FIRST if o in counts)
    return replace(worst, reason=f"{text}; {name}: {worst.reason}")


def _message(found: dict[str, Verdict], verdict: Verdict) -> Iterator[str]:
    """The message of a failure: every slice with its change."""
    what = f"{verdict.metric}: {verdict.outcome}{verdict.change}"
    yield f"{what} against {verdict.baseline}: {verdict.case}"
    for name, own in found.items():
        change = "no AL" if own.ratio is None else f"AL {change_of(own.ratio)}"
        ends = span_of(own.low, own.high)
        what = f"{change} {ends}".rstrip()
        yield f"  {name}: {what}, allowed {-(own.margin or 0):.2%}: {own.outcome}"
    yield "  which tokens cost most: speedbench drafter coverage RUN --drafter PRUNED"


def _share(name: str, value: str | float) -> float:
    __tracebackhide__ = True
    try:
        return values.share(value)
    except ValueError as error:
        raise UsageError(f"assert_pruning_loss: {name}={value!r}: {error}") from None
