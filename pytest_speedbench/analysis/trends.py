"""One metric of every case over its saved runs: values, verdicts and changes of level."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatch
from itertools import groupby
from typing import Any

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.measured import MetricRecord
from pytest_speedbench.baselines.outcome import VerdictRecord
from pytest_speedbench.baselines.schema import RecordSummary
from pytest_speedbench.baselines.storage import SavedRun
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.measure.metrics import METRICS

ALPHA = 0.01
"""The chance of any change of level in a trend without one, for independent normal values."""
# Of several verdicts on one metric, the first of these is the one to show.
_SEVERITY = (
    Outcome.FAIL,
    Outcome.SPECULATION_OFF,
    Outcome.INCOMPARABLE,
    Outcome.UNDECIDED,
    Outcome.IMPROVED,
    Outcome.PASS,
    Outcome.NO_BASELINE,
    Outcome.NOT_GATED,
)


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """What a record says of one of its metrics; ``ratio`` is new / old."""

    metric: str
    outcome: Outcome
    ratio: float | None = None
    reason: str = ""
    baseline: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One saved run of a case; ``metric`` is None where the run has no such value."""

    run: SavedRun
    record: RecordSummary
    metric: MetricRecord | None
    verdict: StoredVerdict | None
    remark: str = ""
    """What sets the run apart: stopped early, measured by a command, or on other things than the
    one before."""

    @property
    def time(self) -> datetime | None:
        return self.run.moment

    @property
    def commit(self) -> str:
        """The commit that was measured; empty where it is unknown or has uncommitted changes."""
        return self.run.commit if self.run.known_commit and not self.run.dirty else ""

    @property
    def judged_bad(self) -> bool:
        return self.verdict is not None and self.verdict.outcome in (
            Outcome.FAIL,
            Outcome.SPECULATION_OFF,
        )

    @property
    def judged_good(self) -> bool:
        return self.verdict is not None and self.verdict.outcome in (Outcome.PASS, Outcome.IMPROVED)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of level: the means of the points before ``start`` and from it on.

    ``begin`` and ``end`` bound both levels, as indices into the points of the trend.
    """

    begin: int
    start: int
    end: int
    before: float
    after: float

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else math.nan


@dataclass(frozen=True, slots=True)
class Trend:
    """The points of one case, oldest first, and the changes of level among them."""

    title: str
    key: CaseKey
    metric: str
    points: tuple[Point, ...]
    changes: tuple[Change, ...] = ()

    @property
    def unit(self) -> str:
        if self.metric in METRICS:
            return METRICS[self.metric].unit
        return next((point.metric.unit for point in self.points if point.metric), "")

    @property
    def higher_is_better(self) -> bool:
        return self.metric not in METRICS or METRICS[self.metric].higher_is_better

    def is_loss(self, change: Change) -> bool:
        return (change.after < change.before) == self.higher_is_better


def trends(runs: Sequence[SavedRun], pattern: str, metric: str) -> list[Trend]:
    """The trends of the cases that ``pattern`` names; ``runs`` are in order, oldest first.

    A pattern that is the whole title of a trend names no other one. What belongs to a run is one
    trend, not one for each of its slices.
    """
    found: dict[str, tuple[CaseKey, dict[str, Point]]] = {}
    for run in runs:
        for record in run.summaries:
            key = record.case
            if matches(key, pattern):
                _, points = found.setdefault(_title(key, metric), (key, {}))
                points.setdefault(run.path, _point(run, record, metric))
    return [
        _with_changes(Trend(title, key, metric, tuple(_remarked(list(points.values())))))
        for title, (key, points) in found.items()
        if pattern not in found or title == pattern
    ]


def _title(key: CaseKey, metric: str) -> str:
    of_run = metric not in METRICS or METRICS[metric].scope == "run"
    return str(key).removesuffix(f":{key.slice}") if of_run else str(key)


def _point(run: SavedRun, record: RecordSummary, metric: str) -> Point:
    value = record.metric(metric)
    finite = value if value is not None and math.isfinite(value.value) else None
    return Point(run, record, finite, stored_verdict(record, metric))


def stored_verdict(record: RecordSummary, metric: str) -> StoredVerdict | None:
    """The verdict on ``metric`` that a record was saved with; None where none was reached.

    Records of older schemas have none, but say whether speculation was off.
    """
    own = [v for v in map(_as_verdict, record.verdicts) if v and v.metric == metric]
    if own:
        return min(own, key=lambda verdict: _SEVERITY.index(verdict.outcome))
    if record.speculation_off:
        return StoredVerdict(metric, Outcome.SPECULATION_OFF, reason=record.speculation_off)
    return None


def _as_verdict(entry: VerdictRecord) -> StoredVerdict | None:
    """None for an outcome that a later version has named."""
    try:
        outcome = Outcome(entry.outcome)
    except ValueError:
        return None
    return StoredVerdict(entry.metric, outcome, entry.ratio, entry.reason, entry.baseline)


def _remarked(points: Sequence[Point]) -> Iterator[Point]:
    """The points, each with what it was measured on that the one before was not."""
    before: dict[str, object] = {}
    for point in points:
        now = _measured_on(point.record)
        remarks = [f"other {name}" for name in now if before and now[name] != before[name]]
        before = now
        if point.record.partial:
            remarks.append("partial")
        elif point.record.interrupted:
            remarks.append("session interrupted")
        if point.record.command:
            remarks.append(point.record.command.removeprefix("speedbench "))
        yield replace(point, remark=", ".join(remarks))


def _measured_on(record: RecordSummary) -> dict[str, object]:
    """What must be equal for two values to be of one level."""
    sampling = record.sampling
    if not sampling.temperature:
        sampling = sampling.model_copy(update={"seed": 0})
    return {
        "model": record.model.weights or record.model.revision,
        "prompts": (record.split.digest, record.split.samples),
        "template": record.template,
        "sampling": sampling,
        "prompt form": record.prompt_form,
    }


def _with_changes(trend: Trend) -> Trend:
    return replace(trend, changes=tuple(_changes(trend)))


def _changes(trend: Trend) -> Iterator[Change]:
    """Changes of level within each stretch of points that were measured on the same things."""
    from pytest_speedbench.stats.change_points import change_points

    usable = [
        (number, point.metric.value)
        for number, point in enumerate(trend.points)
        if point.metric is not None and not point.record.partial
    ]
    for _, group in groupby(usable, key=lambda item: _measured_on(trend.points[item[0]].record)):
        stretch = list(group)
        values = [value for _, value in stretch]
        cuts = change_points(values, ALPHA)
        edges = [0, *cuts, len(stretch)]
        for low, cut, high in zip(edges, edges[1:], edges[2:], strict=False):
            yield Change(
                stretch[low][0],
                stretch[cut][0],
                stretch[high - 1][0] + 1,
                math.fsum(values[low:cut]) / (cut - low),
                math.fsum(values[cut:high]) / (high - cut),
            )


def matches(key: CaseKey, pattern: str) -> bool:
    """Whether each word of ``pattern`` names a part of the case.

    ``bs3`` and ``dl3`` are whole numbers, not beginnings of others; other words may be a part of
    a name, or have wildcards.
    """
    numbers = {f"bs{key.bs}", f"dl{key.dl}"}
    names = [n.casefold() for n in (key.engine, key.model, key.method, key.split, key.slice)]
    names += [f"{names[3]}:{names[4]}", *(extra.casefold() for extra in key.extras())]
    return all(
        word in numbers
        or any(fnmatch(name, word) if "*" in word else word in name for name in names)
        for word in pattern.casefold().replace(" and ", " ").split()
    )


def between(
    runs: Sequence[SavedRun], since: datetime | None, until: datetime | None
) -> list[SavedRun]:
    """The runs from ``since`` on and before ``until``; those of unknown time only without both."""
    if since is None and until is None:
        return list(runs)
    return [
        run
        for run in runs
        if (time := run.moment) is not None
        and (since is None or time >= since)
        and (until is None or time < until)
    ]


def known_metrics(runs: Sequence[SavedRun]) -> list[str]:
    """The metrics that any record has a value of."""
    found: dict[str, Any] = {}
    for run in runs:
        for record in run.summaries:
            for name in record.metrics:
                if name not in found and record.metric(name) is not None:
                    found[name] = True
    return sorted(found)
