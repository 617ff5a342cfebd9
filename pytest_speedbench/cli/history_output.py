"""Trends as a table, CSV and JSON on standard output."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_speedbench.analysis.trends import ALPHA, Point, Trend
from pytest_speedbench.cli.output import NOTHING, WORD_STYLES, Lines, echo
from pytest_speedbench.errors import count_of
from pytest_speedbench.escapes import label
from pytest_speedbench.quantities import change_of
from pytest_speedbench.report.tables import Column

if TYPE_CHECKING:
    from pytest_speedbench.analysis.trends import Change

_COLUMNS: tuple[Column, ...] = (
    ("run", "left"),
    ("date", "left"),
    ("commit", "left"),
    ("value", "right"),
    ("95%", "right"),
    ("n", "right"),
    ("verdict", "left"),
)
_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 60
FIELDS = (
    *("case", "engine", "model", "method", "dl", "bs", "split", "slice"),
    *("run", "file", "time", "commit", "dirty", "branch"),
    *("metric", "unit", "value", "low", "high", "level", "n"),
    *("outcome", "ratio", "baseline", "change", "remark"),
)


def show_table(trends: Sequence[Trend]) -> None:
    """A table for each case, the course of its values above it."""
    out = Lines()
    for trend in trends:
        values = [point.metric.value for point in trend.points if point.metric is not None]
        unit = f" ({trend.unit})" if trend.unit else ""
        out.line(trend.title, "bold")
        out.line(f"  {trend.metric}{unit}  {sparkline(values[-_MOST_BARS:])}")
        rows = list(_rows(trend))
        judged = any(row[-1] for row, _ in rows)
        columns = _COLUMNS if judged else _COLUMNS[:-1]
        cells = [row[: len(columns)] for row, _ in rows]
        out.table(columns, cells, [style for _, style in rows])
        out.line()
    out.line(summary(trends))


def summary(trends: Sequence[Trend]) -> str:
    """How many changes of level there are, and how many of them are chance."""
    from pytest_speedbench.stats.change_points import FEWEST

    changes, cases = sum(len(trend.changes) for trend in trends), len(trends)
    text = (
        f"{count_of(changes, 'change')} of level (▲ ▼) in {count_of(cases, 'case')}; at most "
        f"{ALPHA:.0%} of cases with a steady level show one."
    )
    short = sum(len(trend.points) < FEWEST for trend in trends)
    if short:
        text += f" Too few runs to find one, fewer than {FEWEST}: {count_of(short, 'case')}."
    return text


def _rows(trend: Trend) -> Iterator[tuple[tuple[str, ...], str]]:
    starts = {change.start: change for change in trend.changes}
    for number, point in enumerate(trend.points):
        outcome = str(point.verdict.outcome) if point.verdict else ""
        yield _row(point, outcome, starts.get(number)), WORD_STYLES.get(outcome, "")


def _row(point: Point, outcome: str, change: Change | None) -> tuple[str, ...]:
    run, metric = point.run, point.metric
    commit = run.commit[:7] if run.known_commit else NOTHING
    low, high = (metric.low, metric.high) if metric else (None, None)
    return (
        run.number,
        run.time[:16].replace("T", " "),
        f"{commit}{'+' if run.known_commit and run.dirty else ''}",
        NOTHING if metric is None else number(metric.value),
        NOTHING if low is None or high is None else f"{number(low)}–{number(high)}",
        NOTHING if metric is None else str(metric.n),
        ", ".join(filter(None, (outcome, change_words(change), point.remark))),
    )


def change_words(change: Change | None) -> str:
    """A change as an arrow and its size: it begins with this run."""
    if change is None:
        return ""
    arrow = "▼" if change.after < change.before else "▲"
    size = change_of(change.ratio, 1) if math.isfinite(change.ratio) else ""
    return f"{arrow} {size}".rstrip()


def number(value: float) -> str:
    """Four figures, without an exponent."""
    digits = 1 if abs(value) >= 100 else 3 if abs(value) >= 1 else 4
    return f"{value:.{digits}f}"


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


def show_csv(trends: Sequence[Trend]) -> None:
    """One line a point, with a head; fields without a value are empty."""
    writer = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
    writer.writeheader()
    for trend in trends:
        case = {"case": trend.title, **_case(trend), "metric": trend.metric, "unit": trend.unit}
        for point in _points(trend):
            row = case | point
            writer.writerow({k: label(v) if isinstance(v, str) else v for k, v in row.items()})


def show_json(trends: Sequence[Trend]) -> None:
    """One object: the metric, and of each case its points and changes of level."""
    cases = [
        {
            "case": trend.title,
            "key": _case(trend),
            "metric": trend.metric,
            "unit": trend.unit,
            "points": list(_points(trend)),
            "changes": [
                {
                    "run": trend.points[change.start].run.number,
                    "before": change.before,
                    "after": change.after,
                    "loss": trend.is_loss(change),
                }
                for change in trend.changes
            ],
        }
        for trend in trends
    ]
    echo(json.dumps({"false_alarms": ALPHA, "cases": cases}, indent=2))


def _case(trend: Trend) -> dict[str, Any]:
    key = trend.key
    parts = {"engine": key.engine, "model": key.model, "method": key.method, "dl": key.dl}
    whole_run = not trend.title.endswith(f":{key.slice}")
    return parts | {"bs": key.bs, "split": key.split, "slice": "" if whole_run else key.slice}


def _points(trend: Trend) -> Iterator[dict[str, Any]]:
    starts = {change.start: change.ratio - 1 for change in trend.changes}
    for position, point in enumerate(trend.points):
        run, metric, verdict = point.run, point.metric, point.verdict
        yield {
            "run": run.number,
            "file": run.path,
            "time": run.time,
            "commit": run.commit if run.known_commit else None,
            "dirty": run.dirty,
            "branch": run.branch,
            "value": metric.value if metric else None,
            "low": metric.low if metric else None,
            "high": metric.high if metric else None,
            "level": metric.level if metric else None,
            "n": metric.n if metric else None,
            "outcome": str(verdict.outcome) if verdict else None,
            "ratio": verdict.ratio if verdict else None,
            "baseline": verdict.baseline if verdict else None,
            "change": starts.get(position),
            "remark": point.remark,
        }
