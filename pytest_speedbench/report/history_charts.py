"""One drawing a trend, as SVG that takes its colours and its type from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.errors import ReportError
from pytest_speedbench.escapes import printable

if TYPE_CHECKING:
    from pytest_speedbench.analysis.trends import Point, Trend

# Colours that stand for the page's own, by the name of its CSS variable. The variables are put in
# afterwards, so that one drawing suits the light and the dark page.
_COLOURS: Final = {
    "mark": "#010101",
    "ink": "#020202",
    "soft": "#030303",
    "line": "#040404",
    "good": "#050505",
    "bad": "#060606",
    "open": "#070707",
    "card": "#080808",
}
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
_SIZE = 11
_MOST_BARS = 45  # above it, intervals are drawn as a band


def marker_of(point: Point) -> tuple[str, str, str]:
    """Matplotlib's shape, the page's colour, and the character that stands for both in text."""
    return MARKERS.get(point.verdict.outcome, _PLAIN) if point.verdict else _PLAIN


def trend_svg(trend: Trend, number: int) -> str:
    """The drawing; ``number`` sets its ids apart from those of others on the page.

    Raises:
        ReportError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ReportError(
            "no history page without matplotlib: pip install 'pytest-speedbench[history]'"
        ) from error
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "speedbench",
        "text.parse_math": False,
        "font.size": _SIZE,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.subplots()
        _draw(axes, trend)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _of_the_page(out.getvalue(), trend, number)


def _draw(axes: Any, trend: Trend) -> None:
    known = [(n, p) for n, p in enumerate(trend.points) if p.metric is not None]
    _intervals(axes, known)
    values = [p.metric.value for _, p in known if p.metric]
    axes.plot([n for n, _ in known], values, color=_COLOURS["mark"], linewidth=1.2, zorder=2)
    _levels(axes, trend)
    for shape, colour, _ in dict.fromkeys(marker_of(p) for _, p in known):
        chosen = [(n, p) for n, p in known if marker_of(p)[:2] == (shape, colour)]
        axes.plot(
            [n for n, _ in chosen],
            [p.metric.value for _, p in chosen if p.metric],
            linestyle="",
            marker=shape,
            markersize=8 if colour != "mark" else 5,
            color=_COLOURS[colour],
            markeredgecolor=_COLOURS["card"],
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
        axes.fill_between(at, low, high, color=_COLOURS["mark"], alpha=0.18, linewidth=0)
    else:
        axes.vlines(at, low, high, color=_COLOURS["mark"], alpha=0.4, linewidth=3)


def _levels(axes: Any, trend: Trend) -> None:
    """The mean of each level, and the size of each change above its first run."""
    last, raised = -len(trend.points), False
    for change in trend.changes:
        # Changes close to each other: every second size stands above the others.
        raised = not raised and change.start - last < len(trend.points) / 4
        last = change.start
        colour = _COLOURS["bad" if trend.is_loss(change) else "good"]
        axes.axvline(change.start - 0.5, color=colour, linestyle=(0, (4, 3)), linewidth=1.5)
        for low, high, mean in (
            (change.begin, change.start, change.before),
            (change.start, change.end, change.after),
        ):
            axes.hlines(mean, low - 0.5, high - 0.5, color=_COLOURS["ink"], linewidth=1.2, zorder=3)
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
    axes.set_ylabel(printable(trend.unit) or "share", color=_COLOURS["soft"])
    axes.tick_params(colors=_COLOURS["soft"], labelsize=_SIZE, length=3)
    axes.grid(axis="y", color=_COLOURS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color(_COLOURS["line"])


def _of_the_page(svg: str, trend: Trend, number: int) -> str:
    """The element alone, with the page's colours and font, and ids of its own."""
    svg = svg[svg.index("<svg") :]
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r"<(metadata|style).*?</\1>", "", svg, flags=re.S)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="t{number}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#t{number}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#t{number}-\1"', svg)
    svg = re.sub(r"(font: [^;\"]*?\d+px) [^;\"]*", r"\1 system-ui, sans-serif", svg)
    return re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', lambda m: _head(m[1], trend), svg, count=1)


def _head(box: str, trend: Trend) -> str:
    label = escape(printable(f"{trend.metric} of {trend.title} over its saved runs"))
    return (
        f'<svg class="trend" role="img" aria-label="{label}" viewBox="{box}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
