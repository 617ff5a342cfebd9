"""Many trends in one table: the latest value of each case, and how it got there."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_speedbench.cli.history_output import change_words, number, sparkline, summary
from pytest_speedbench.cli.output import NOTHING, WORD_STYLES, Lines
from pytest_speedbench.compare.verdict import FAILING, Outcome
from pytest_speedbench.errors import count_of
from pytest_speedbench.quantities import change_of
from pytest_speedbench.report.tables import Column
from pytest_speedbench.splits import ALL

if TYPE_CHECKING:
    from pytest_speedbench.analysis.trends import Trend

_COLUMNS: tuple[Column, ...] = (
    ("case", "left"),
    ("runs", "right"),
    ("latest", "right"),
    ("change", "right"),
    ("course", "left"),
    ("verdict", "left"),
)
_MOST_BARS = 12
_MOST_ROWS = 24
"""Of more cases, the categories that are steady are left out."""
_BAD = (*FAILING, Outcome.UNDECIDED)


def show_overview(trends: Sequence[Trend], options: Sequence[str]) -> None:
    """One row a case; ``options`` are those that the command was given, for the one it names."""
    out, shown = Lines(), trends
    if len(trends) > _MOST_ROWS:
        shown = [trend for trend in trends if not _is_steady_category(trend)] or trends
    shared, names = _names(trends, shown)
    first = shown[0]
    unit = f" ({first.unit})" if first.unit else ""
    out.line(f"{count_of(len(trends), 'case')}: {shared}".removesuffix(": "), "bold")
    out.line(f"  {first.metric}{unit}; change: the latest run against the one before")
    rows = [_row(name, trend) for name, trend in zip(names, shown, strict=True)]
    columns = _COLUMNS if any(row[-1] for row in rows) else _COLUMNS[:-1]
    styles = [WORD_STYLES.get(row[-1].partition(",")[0], "") for row in rows]
    out.table(columns, [row[: len(columns)] for row in rows], styles)
    if left := len(trends) - len(shown):
        out.line(
            f"  … and {count_of(left, 'case')} of one category that neither changed nor failed"
        )
    out.line()
    out.line(summary(trends))
    named = next((t for t in shown if any(map(t.is_loss, t.changes))), first)
    out.exact(f"every run: {shlex.join(['speedbench', 'history', named.title, *options])}")


def _is_steady_category(trend: Trend) -> bool:
    """A category beside the whole split, without a change of level or a bad verdict."""
    record, verdict = trend.points[-1].record, trend.points[-1].verdict
    bad = verdict is not None and verdict.outcome in _BAD
    return record.case.slice != ALL and not trend.changes and not bad


def _names(trends: Sequence[Trend], shown: Sequence[Trend]) -> tuple[str, list[str]]:
    """What all cases share, and what else each is called."""
    split = f"{trends[0].key.split}:"
    titles = [trend.title.split() for trend in trends]
    shared = [word for word in titles[0] if all(word in title for title in titles)]
    names = [[word for word in trend.title.split() if word not in shared] for trend in shown]
    if all(name and name[-1].startswith(split) for name in names):
        shared.append(split.rstrip(":"))
        names = [[*name[:-1], name[-1].removeprefix(split)] for name in names]
    return " ".join(shared), [" ".join(name) for name in names]


def _row(name: str, trend: Trend) -> tuple[str, ...]:
    measured = [point for point in trend.points if point.metric is not None]
    values = [point.metric.value for point in measured if point.metric is not None]
    latest = trend.points[-1]
    outcome = str(latest.verdict.outcome) if latest.verdict else ""
    changes = [
        f"{change_words(change)} from run {trend.points[change.start].run.number}"
        for change in trend.changes[-1:]
    ]
    return (
        name,
        str(len(trend.points)),
        number(values[-1]) if values else NOTHING,
        change_of(values[-1] / values[-2]) if len(values) > 1 and values[-2] else NOTHING,
        sparkline(values[-_MOST_BARS:]),
        ", ".join(filter(None, (outcome, *changes, latest.remark))),
    )
