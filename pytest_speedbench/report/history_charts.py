"""One drawing a trend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.escapes import printable
from pytest_speedbench.quantities import change_of
from pytest_speedbench.report.themed_svg import COLOURS, SIZE, themed_svg

if TYPE_CHECKING:
    from datetime import datetime

    from pytest_speedbench.analysis.trends import Point, Trend

# Shape and colour of a run by its verdict: the shape distinguishes them without the colour.
VERDICT_MARKS: Final = {
    Outcome.FAIL: ("X", "bad", "✖"),
    Outcome.SPECULATION_OFF: ("X", "bad", "✖"),
    Outcome.DEGENERATE: ("X", "bad", "✖"),
    Outcome.INCOMPARABLE: ("s", "bad", "■"),
    Outcome.IMPROVED: ("^", "good", "▲"),
    Outcome.PASS: ("o", "good", "●"),
    Outcome.UNDECIDED: ("D", "open", "◆"),
}
_PLAIN: Final = ("o", "mark", "●")
_WIDTH, _HEIGHT = 4.9, 2.9  # inches of 72 units: a phone's width, so that text keeps its size there
_CHANGES = 6  # sizes of changes fit side by side above a drawing
_MOST_TICKS, _SHORT = 4, 6  # so many labels of so many characters fit; one fewer of longer ones
_MOST_BARS = 45  # above it, intervals are drawn as a band


def marker_of(point: Point) -> tuple[str, str, str]:
    """Matplotlib's shape, the page's colour, and the character that stands for both in text."""
    return VERDICT_MARKS.get(point.verdict.outcome, _PLAIN) if point.verdict else _PLAIN


def trend_svg(trend: Trend, number: int) -> str:
    """The drawing; ``number`` sets its ids apart from those of others on the page."""
    label = f"{trend.metric} of {trend.title} over its saved runs"
    return themed_svg(lambda axes: _draw(axes, trend), label, f"t{number}", _WIDTH, _HEIGHT)


def _draw(axes: Any, trend: Trend) -> None:
    known = [(n, p) for n, p in enumerate(trend.points) if p.metric is not None]
    _intervals(axes, known)
    values = [p.metric.value for _, p in known if p.metric]
    axes.plot([n for n, _ in known], values, color=COLOURS["mark"], linewidth=1.2, zorder=2)
    _levels(axes, trend)
    for shape, colour, _ in dict.fromkeys(marker_of(p) for _, p in known):
        chosen = [(n, p) for n, p in known if marker_of(p)[:2] == (shape, colour)]
        axes.plot(
            [n for n, _ in chosen],
            [p.metric.value for _, p in chosen if p.metric],
            linestyle="",
            marker=shape,
            markersize=8 if colour != "mark" else 5,
            color=COLOURS[colour],
            markeredgecolor=COLOURS["card"],
            markeredgewidth=0.8,
            zorder=4,
        )
    _axes(axes, trend)


def _intervals(axes: Any, known: Sequence[tuple[int, Point]]) -> None:
    rows = [
        (n, p.metric.low, p.metric.high)
        for n, p in known
        if p.metric and p.metric.low is not None and p.metric.high is not None
    ]
    if not rows:
        return
    at, low, high = zip(*rows, strict=True)
    if len(rows) > _MOST_BARS:
        axes.fill_between(at, low, high, color=COLOURS["mark"], alpha=0.18, linewidth=0)
    else:
        axes.vlines(at, low, high, color=COLOURS["mark"], alpha=0.4, linewidth=3)


def _levels(axes: Any, trend: Trend) -> None:
    """The mean of each level, and the size of each change above its first run."""
    lines = label_lines([change.start for change in trend.changes], len(trend.points) / _CHANGES)
    for change, line in zip(trend.changes, lines, strict=True):
        colour = COLOURS["bad" if trend.is_loss(change) else "good"]
        axes.axvline(change.start - 0.5, color=colour, linestyle=(0, (4, 3)), linewidth=1.5)
        for low, high, mean in (
            (change.begin, change.start, change.before),
            (change.start, change.end, change.after),
        ):
            axes.hlines(mean, low - 0.5, high - 0.5, color=COLOURS["ink"], linewidth=1.2, zorder=3)
        axes.annotate(
            change_of(change.ratio, 1),
            (change.start - 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2 + 13 * line),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=colour,
            fontweight="bold",
        )


def label_lines(starts: Sequence[int], width: float) -> list[int]:
    """The line of text, from 0 up, on which each label of this width overlaps no other."""
    ends: dict[int, float] = {}
    found = []
    for start in starts:
        line = next((n for n, end in ends.items() if end <= start), len(ends))
        ends[line] = start + width
        found.append(line)
    return found


def _tick_labels(points: Sequence[Point]) -> tuple[list[int], list[str], str]:
    """Positions of some points, their labels, and their day where it is the same."""
    for most in (_MOST_TICKS, _MOST_TICKS - 1):
        chosen = sorted({round(n * (len(points) - 1) / (most - 1)) for n in range(most)})
        labels, day = time_labels([points[n].time for n in chosen])
        if labels and max(len(line) for label in labels for line in label.split("\n")) <= _SHORT:
            break
    return chosen, labels or [f"run {printable(points[n].run.number)}" for n in chosen], day


def time_labels(times: Sequence[datetime | None]) -> tuple[list[str], str]:
    """The shortest labels that distinguish ``times``, none where that is not possible, and their
    day where it is the same."""
    known = [time for time in times if time is not None]
    if not known or len(known) < len(times):
        return [], ""
    if len({time.date() for time in known}) == 1:
        forms, day = ["%H:%M", "%H:%M:%S"], f"{known[0]:%d %b %Y}"
    else:
        date = "%d %b" if len({time.year for time in known}) == 1 else "%d %b %Y"
        forms, day = [date, f"{date}\n%H:%M", f"{date}\n%H:%M:%S"], ""
    for form in forms:
        labels = [time.strftime(form) for time in known]
        if len(set(labels)) == len(labels):
            return labels, day
    return [], ""


def _axes(axes: Any, trend: Trend) -> None:
    from matplotlib.ticker import MaxNLocator

    count = len(trend.points)
    axes.set_xlim(-0.7, count - 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    ticks, labels, day = _tick_labels(trend.points)
    axes.set_xticks(ticks, labels)
    axes.set_xlabel(day, color=COLOURS["soft"])
    axes.set_ylabel(printable(trend.unit) or "share", color=COLOURS["soft"])
    axes.tick_params(colors=COLOURS["soft"], labelsize=SIZE, length=3)
    axes.grid(axis="y", color=COLOURS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color(COLOURS["line"])
