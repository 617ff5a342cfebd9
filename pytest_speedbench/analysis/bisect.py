"""Which commits a search for a regression starts from: the last good and the first bad one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_speedbench.analysis.trends import Change, Point, Trend
from pytest_speedbench.errors import BaselineError


@dataclass(frozen=True, slots=True)
class Suspects:
    """Where a trend turned bad. ``evidence`` says how that is known."""

    trend: Trend
    good: Point
    bad: Point
    evidence: str

    @property
    def limit(self) -> float:
        """Half way between the good and the bad value: on which side a commit lies decides."""
        assert self.good.metric is not None
        assert self.bad.metric is not None
        return (self.good.metric.value + self.bad.metric.value) / 2

    @property
    def same_arguments(self) -> bool:
        """Whether both runs gave the engine the same arguments."""
        return self.arguments == self._arguments(self.bad)

    @property
    def arguments(self) -> dict[str, Any]:
        """The engine's arguments in the good run."""
        return self._arguments(self.good)

    def _arguments(self, point: Point) -> dict[str, Any]:
        """Those of the whole record: its summary leaves them out."""
        return point.run.records[point.record.case].engine.args


def find_suspects(trend: Trend) -> Suspects:
    """The last good and the first bad run of a trend, of two commits without other changes.

    The verdicts saved with the runs decide where the latest of them is bad; otherwise the latest
    change of level to the worse does.

    Raises:
        BaselineError: nothing is bad, or one of the two commits is unknown.
    """
    points = [point for point in trend.points if point.commit and point.metric is not None]
    suspects = _by_verdict(trend, points) or _by_level(trend)
    if suspects is None:
        raise BaselineError(
            f"{trend.title}: nothing to bisect: {_latest_verdict(trend)}, and no loss of "
            f"{trend.metric} was found in {len(trend.points)} runs"
        )
    if suspects.good.commit == suspects.bad.commit:
        raise BaselineError(
            f"{trend.title}: nothing to bisect: the good run {suspects.good.run.number} and the "
            f"bad run {suspects.bad.run.number} are both of commit {suspects.bad.commit[:12]}, so "
            "the cause is not in this repository: speedbench compare shows what else differs"
        )
    return suspects


def _by_verdict(trend: Trend, points: Sequence[Point]) -> Suspects | None:
    """The start of the bad runs that the trend ends with."""
    judged = [n for n, point in enumerate(points) if point.judged_bad or point.judged_good]
    if not judged or points[judged[-1]].judged_good:
        return None
    good = next((n for n in reversed(judged) if points[n].judged_good), None)
    first = next(n for n in judged if points[n].judged_bad and (good is None or n > good))
    before = [p for p in points[:first] if not p.judged_bad] if good is None else [points[good]]
    if not before:
        return None
    verdict = points[first].verdict
    assert verdict is not None
    name = points[first].run.number
    return Suspects(
        trend, before[-1], points[first], f"the verdict of run {name}: {verdict.outcome}"
    )


def _by_level(trend: Trend) -> Suspects | None:
    losses = [change for change in trend.changes if trend.is_loss(change)]
    if not losses:
        return None
    change = losses[-1]
    before = _measured(trend.points[change.begin : change.start])
    after = _measured(trend.points[change.start : change.end])
    if not before or not after:
        raise BaselineError(
            f"{trend.title}: a loss of {trend.metric} begins with run "
            f"{trend.points[change.start].run.number}, but no clean commit is known on "
            f"{'both sides' if not (before or after) else 'one side'} of it: runs with uncommitted "
            "changes, or outside of a repository, cannot be bisected"
        )
    return Suspects(trend, before[-1], after[0], _described(trend, change))


def _measured(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if point.commit and point.metric is not None]


def _described(trend: Trend, change: Change) -> str:
    return (
        f"a change of level at run {trend.points[change.start].run.number}: mean "
        f"{change.before:.4g} before, {change.after:.4g} since"
    )


def _latest_verdict(trend: Trend) -> str:
    verdicts = [point.verdict for point in trend.points if point.verdict is not None]
    return f"its latest verdict is {verdicts[-1].outcome}" if verdicts else "no verdict is saved"
