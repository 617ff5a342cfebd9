"""``speedbench history --html``: trends on one page that needs no network and no script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytest_speedbench._version import __version__
from pytest_speedbench.analysis.trends import ALPHA
from pytest_speedbench.quantities import change_of
from pytest_speedbench.report.headline import TONES
from pytest_speedbench.report.history_charts import VERDICT_MARKS, marker_of, trend_svg
from pytest_speedbench.report.html.templates import template
from pytest_speedbench.report.view import NOTHING

if TYPE_CHECKING:
    from pytest_speedbench.analysis.trends import Point, Trend


@dataclass(frozen=True, slots=True)
class Row:
    """One run of a trend, as text."""

    run: str
    time: str
    commit: str
    value: str
    interval: str
    n: str
    outcome: str
    tone: str
    remark: str
    change: str


@dataclass(frozen=True, slots=True)
class Section:
    """One trend: its drawing, and what it shows in words. ``tone`` is that of the latest verdict,
    or of a change to the worse."""

    anchor: str
    title: str
    svg: str
    latest: str
    tone: str
    summary: str
    rows: tuple[Row, ...]


def render_history(trends: Sequence[Trend], *, now: datetime | None = None) -> str:
    """The whole page; ``now`` is the time printed at its foot.

    Raises:
        ReportError: jinja2 or matplotlib is not installed.
    """
    page = template("history.html")
    sections = [_section(trend, number) for number, trend in enumerate(trends)]
    losses = sum(trend.is_loss(change) for trend in trends for change in trend.changes)
    outcomes = Counter(section.latest for section in sections if section.latest)
    return page.render(
        metric=trends[0].metric,
        sections=sections,
        changes=sum(len(trend.changes) for trend in trends),
        losses=losses,
        latest=", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()),
        tone="bad" if losses or any(section.tone == "bad" for section in sections) else "plain",
        legend=[
            (mark, colour, str(outcome)) for outcome, (_, colour, mark) in VERDICT_MARKS.items()
        ],
        alpha=f"{ALPHA:.0%}",
        version=__version__,
        written=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M %Z").strip(),
        nothing=NOTHING,
    )


def _section(trend: Trend, number: int) -> Section:
    latest = trend.points[-1]
    outcome = str(latest.verdict.outcome) if latest.verdict else ""
    return Section(
        anchor=f"trend-{number}",
        title=trend.title,
        svg=trend_svg(trend, number),
        latest=outcome,
        tone=TONES[latest.verdict.outcome] if latest.verdict else "plain",
        summary=_summary(trend),
        rows=tuple(_row(trend, position) for position in reversed(range(len(trend.points)))),
    )


def _summary(trend: Trend) -> str:
    """The latest value and every change of level, in one sentence each."""
    latest = next((p for p in reversed(trend.points) if p.metric is not None), None)
    sentences = []
    if latest is not None and latest.metric is not None:
        value = f"{_number(latest.metric.value)} {trend.unit}".strip()
        sentences.append(f"Latest: {value}, run {latest.run.number}.")
    for change in trend.changes:
        point = trend.points[change.start]
        moved = "Fell" if change.after < change.before else "Rose"
        commit = f" (commit {point.run.commit[:9]})" if point.run.known_commit else ""
        sentences.append(
            f"{moved} by {abs(change.ratio - 1):.1%} to {_number(change.after)} with run "
            f"{point.run.number}{commit}."
        )
    return " ".join(sentences)


def _row(trend: Trend, position: int) -> Row:
    point = trend.points[position]
    run, metric = point.run, point.metric
    low, high = (metric.low, metric.high) if metric else (None, None)
    outcome = point.verdict.outcome if point.verdict else None
    change = next((c for c in trend.changes if c.start == position), None)
    return Row(
        run=run.number,
        time=run.time[:16].replace("T", " "),
        commit=_commit(point),
        value=_number(metric.value) if metric else NOTHING,
        interval=NOTHING if low is None or high is None else f"{_number(low)} – {_number(high)}",
        n=str(metric.n) if metric else NOTHING,
        outcome=f"{marker_of(point)[2]} {outcome}" if outcome else "",
        tone=TONES[outcome] if outcome else "",
        remark=point.remark,
        change="" if change is None else change_of(change.ratio, 1),
    )


def _commit(point: Point) -> str:
    if not point.run.known_commit:
        return NOTHING
    return point.run.commit[:9] + (" with changes" if point.run.dirty else "")


def _number(value: float) -> str:
    size = abs(value)
    if size >= 100:
        return f"{value:.1f}"
    return f"{value:.3f}" if size >= 1 else f"{value:.4f}"
