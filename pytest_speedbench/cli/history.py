"""``speedbench history``: one metric of every case, from the oldest saved run to the latest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import DEFAULT_STORAGE, Storage, saved_runs, store_at
from pytest_speedbench.cli.output import NOTHING, Justify, Lines
from pytest_speedbench.errors import CliError

if TYPE_CHECKING:
    from pytest_speedbench.baselines.schema import CaseKey, MetricRecord, Record
    from pytest_speedbench.baselines.storage import SavedRun

_COLUMNS: tuple[tuple[str, Justify], ...] = (
    ("run", "left"),
    ("date", "left"),
    ("commit", "left"),
    ("value", "right"),
    ("95 %", "right"),
    ("n", "right"),
    ("", "left"),
)
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Point:
    """One saved run of one case; ``metric`` is None where the run has no such value."""

    run: SavedRun
    record: Record
    metric: MetricRecord | None


def history(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="[CASE-PATTERN]",
            help="Words that a case must have, such as 'math bs32 dl3' or 'Llama*'.",
        ),
    ] = "",
    metric: Annotated[str, typer.Option(help="The metric to show.")] = "acceptance_length",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Show how a metric of each case has moved over the saved runs."""
    runs = saved_runs(store_at(storage))
    _check_metric(metric, runs)
    cases = _points(runs, pattern, metric)
    if not cases:
        raise CliError(f"no saved case matches {pattern!r}; saved: {_known(runs)}")
    out = Lines()
    for title, points in cases.items():
        _show(out, title, list(points.values()), metric)


def _points(runs: Sequence[SavedRun], pattern: str, metric: str) -> dict[str, dict[str, Point]]:
    """Title → file → point. What belongs to a run stands once, not once for every slice of it."""
    cases: dict[str, dict[str, Point]] = {}
    for run in runs:
        for key, record in run.records.items():
            if matches(key, pattern):
                points = cases.setdefault(_title(key, metric), {})
                points.setdefault(str(run.path), Point(run, record, record.metric(metric)))
    return cases


def _title(key: CaseKey, metric: str) -> str:
    from pytest_speedbench.measure.metrics import METRICS

    of_run = metric not in METRICS or METRICS[metric].scope == "run"
    return str(key).removesuffix(f":{key.slice}") if of_run else str(key)


def matches(key: CaseKey, pattern: str) -> bool:
    """Whether each word of ``pattern`` names a part of the case.

    ``bs3`` and ``dl3`` are whole numbers, not beginnings of others; other words may be a piece of
    a name, or have wildcards.
    """
    numbers = {f"bs{key.bs}", f"dl{key.dl}"}
    names = [n.casefold() for n in (key.engine, key.model, key.method, key.split, key.slice)]
    return all(
        word in numbers
        or any(fnmatch(name, word) if "*" in word else word in name for name in names)
        for word in pattern.casefold().replace(" and ", " ").split()
    )


def _check_metric(metric: str, runs: Sequence[SavedRun]) -> None:
    known = {
        name
        for run in runs
        for record in run.records.values()
        for name in record.metrics
        if record.metric(name) is not None
    }
    if metric not in known:
        raise CliError(
            f"--metric {metric}: not in any saved run; saved: {', '.join(sorted(known))}"
        )


def _known(runs: Sequence[SavedRun]) -> str:
    latest = list(runs[-1].records)
    words = dict.fromkeys(
        word
        for key in latest
        for word in (key.engine, key.method, f"dl{key.dl}", f"bs{key.bs}", key.split, key.slice)
    )
    return ", ".join(words)


def _show(out: Lines, title: str, points: Sequence[Point], metric: str) -> None:
    from pytest_speedbench.compare.gate import unit_of

    known = [point.metric for point in points if point.metric is not None]
    unit = unit_of(metric, known[0]) if known else ""
    out.line(title, "bold")
    out.line(f"  {metric}{f' ({unit})' if unit else ''}  {sparkline([m.value for m in known])}")
    out.table(_COLUMNS, [_row(point) for point in points])
    out.line()


def _row(point: Point) -> tuple[str, ...]:
    run, metric = point.run, point.metric
    commit = run.commit[:9] if run.known_commit else NOTHING
    return (
        run.number,
        run.time[:16].replace("T", " "),
        f"{commit}{'+' if run.known_commit and run.dirty else ''}",
        NOTHING if metric is None else _number(metric.value),
        NOTHING
        if metric is None or metric.low is None or metric.high is None
        else f"{_number(metric.low)} … {_number(metric.high)}",
        NOTHING if metric is None else str(metric.n),
        _remark(point.record),
    )


def _remark(record: Record) -> str:
    if record.speculation_off:
        return "speculation off"
    return "partial" if record.partial else ""


def _number(value: float) -> str:
    """Four figures, without an exponent."""
    return (
        f"{value:.1f}"
        if abs(value) >= 100
        else f"{value:.3f}"
        if abs(value) >= 1
        else f"{value:.4f}"
    )


def sparkline(values: Sequence[float]) -> str:
    """The values as bars between their least and their greatest; nothing for fewer than two."""
    values = [value for value in values if math.isfinite(value)]
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    if low == high:
        return _BARS[3] * len(values)
    top = len(_BARS) - 1
    return "".join(_BARS[round(top * (value - low) / (high - low))] for value in values)
