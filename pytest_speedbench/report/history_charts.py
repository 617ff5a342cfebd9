"""One drawing a trend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.escapes import printable
from pytest_speedbench.report.themed_svg import COLOURS, SIZE, themed_svg

if TYPE_CHECKING:
    from pytest_speedbench.analysis.trends import Point, Trend

# Shape and colour of a run by its verdict: the shape distinguishes them without the colour.
MARKERS: Final = {
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
_MOST_BARS = 45  # above it, intervals are drawn as a band


def marker_of(point: Point) -> tuple[str, str, str]:
    """Matplotlib's shape, the page's colour, and the character that stands for both in text."""
    return MARKERS.get(point.verdict.outcome, _PLAIN) if point.verdict else _PLAIN


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
    last, raised = -len(trend.points), False
    for change in trend.changes:
        # Changes close to each other: every second size stands above the others.
        raised = not raised and change.start - last < len(trend.points) / 4
        last = change.start
        colour = COLOURS["bad" if trend.is_loss(change) else "good"]
        axes.axvline(change.start - 0.5, color=colour, linestyle=(0, (4, 3)), linewidth=1.5)
        for low, high, mean in (
            (change.begin, change.start, change.before),
            (change.start, change.end, change.after),
        ):
            axes.hlines(mean, low - 0.5, high - 0.5, color=COLOURS["ink"], linewidth=1.2, zorder=3)
        axes.annotate(
            f"{change.ratio - 1:+.1%}".replace("-", "−").replace("%", " %"),
            (change.start - 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2 + 13 * raised),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=colour,
            fontweight="bold",
        )


def _axes(axes: Any, trend: Trend) -> None:
    from matplotlib.ticker import MaxNLocator

    count = len(trend.points)
    axes.set_xlim(-0.7, count - 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    ticks = sorted({round(n * (count - 1) / 3) for n in range(4)}) if count > 4 else range(count)
    labels = [(p.time.strftime("%d %b") if p.time else p.run.number) for p in trend.points]
    axes.set_xticks(list(ticks), [printable(labels[n]) for n in ticks])
    axes.set_ylabel(printable(trend.unit) or "share", color=COLOURS["soft"])
    axes.tick_params(colors=COLOURS["soft"], labelsize=SIZE, length=3)
    axes.grid(axis="y", color=COLOURS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color(COLOURS["line"])
