"""Early decision of the cases of one run, each against its baseline, at the session's α.

The samples are a stream of complete blocks (:mod:`pytest_speedbench.measure.early`); each case is a
:class:`~pytest_speedbench.stats.Sequential`, whose bounds hold at every look. A run ends when all
its cases are decided; the verdict of a case is that of the look that reached it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.compare.gate import Levels
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.replay import outputs_of, replayed_along
from pytest_speedbench.errors import NoData, RecordError
from pytest_speedbench.measure.early import Followed
from pytest_speedbench.measure.metrics import request_traces
from pytest_speedbench.measure.replay import Outputs
from pytest_speedbench.measure.results import Turn
from pytest_speedbench.quantities import some_of
from pytest_speedbench.splits import ALL
from pytest_speedbench.stats import Decision, RequestTrace, Rule, Sequential

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class _Case:
    margin: float
    sequential: Sequential
    waited_for: bool
    baseline: Sequence[RequestTrace]
    outputs: Outputs


class EarlyGate:
    """A :class:`~pytest_speedbench.measure.early.Decider` that knows baselines and margins."""

    def __init__(self, greedy: bool) -> None:
        self._greedy = greedy
        self._cases: dict[str, _Case] = {}
        self._closed: dict[str, str] = {}
        self._lengths: dict[str, int] = {}

    def add(
        self,
        slice_name: str,
        baseline: Match,
        margin: float | None,
        levels: Levels | None,
        *,
        waited_for: bool,
    ) -> None:
        """One case of the run. One that is ``waited_for`` and cannot be decided keeps the whole run
        from stopping; a category beside ``all`` is not waited for."""
        try:
            self._cases[slice_name] = self._case(baseline, margin, levels, waited_for)
        except (NoData, RecordError) as error:
            if waited_for:
                self._closed[slice_name] = str(error)

    def _case(
        self, baseline: Match, margin: float | None, levels: Levels | None, waited_for: bool
    ) -> _Case:
        if margin is None or levels is None:
            raise NoData("AL is not gated")
        if baseline.record is None:
            raise NoData("no baseline")
        if baseline.incomparable:
            raise NoData("the baseline is incomparable")
        traces, outputs = traces_of(baseline.record), outputs_of(baseline.record)
        sequential = self._open(traces, margin, levels)
        return _Case(margin, sequential, waited_for, traces, outputs)

    def _open(self, traces: Sequence[RequestTrace], margin: float, levels: Levels) -> Sequential:
        rule = Rule(margin, levels.alpha, fail_alpha=levels.fail_alpha, reach=levels.reach)
        sequential = Sequential(traces, rule, greedy=self._greedy)
        lengths: dict[str, int] = {}
        for trace in traces:
            lengths[trace.sample] = lengths.get(trace.sample, 0) + trace.output_tokens
        self._lengths |= lengths
        return sequential

    # -- what a run asks --------------------------------------------------------------------

    @property
    def hopeless(self) -> str:
        """Why no number of samples can decide every case; empty if they can."""
        return "; ".join(
            f"{_names(slices)}: {reason}" for reason, slices in _by_reason(self._closed).items()
        )

    @property
    def undecided(self) -> str:
        """Which cases are open, for a message."""
        names = [
            name
            for name, case in self._cases.items()
            if case.waited_for and not case.sequential.decided
        ]
        return f"{_names(names)} undecided after all samples" if names else ""

    def look(
        self, turns: Sequence[Turn], errored: Sequence[str], followed: Followed | None = None
    ) -> bool:
        """Takes a complete block; whether every case is decided."""
        if self._closed:
            return False
        for name, case in self._cases.items():
            own = [turn for turn in turns if name in (ALL, turn.category)]
            if own:
                replayed = replayed_along(case.baseline, case.outputs, own, followed or {})
                errors = errored if name == ALL else ()
                case.sequential.add(request_traces(own), errors, replayed)
        return not self.undecided

    def tokens(self, samples: Iterable[str]) -> int:
        """Output tokens that the baseline needed for these samples."""
        return sum(self._lengths.get(sample, 0) for sample in samples)

    # -- what the gate asks -----------------------------------------------------------------

    def decision(self, slice_name: str, margin: float) -> Decision | None:
        """The verdict on AL that was reached for this margin; None where none was."""
        case = self._cases.get(slice_name)
        if case is None or case.margin != margin or not case.sequential.decided:
            return None
        return case.sequential.decision


def _by_reason(closed: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, reason in closed.items():
        found.setdefault(reason, []).append(name)
    return found


def _names(names: Sequence[str]) -> str:
    return some_of(names, _MOST_NAMED)
