"""The drawings of the HTML report; what they show stands in the tables beside them, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pytest_speedbench.escapes import label as one_line
from pytest_speedbench.report.figure_style import MARKERS, fitted
from pytest_speedbench.report.themed_svg import COLOURS, SERIES, SIZE, lay_out, themed_svg

if TYPE_CHECKING:
    from pytest_speedbench.analysis.length import LengthCurve
    from pytest_speedbench.analysis.pareto import OperatingPoint

AL = "AL (tokens/step)"
_PHONE = 4.9  # inches: at this width text keeps its size on a phone
_HEIGHT = 2.9
_ROW = 0.3
_LONGEST = 26
_GAP = 2.0  # points between two labels
# Of a label beside its point: offset in points, and where on the label it is measured.
_PLACES = tuple(
    place
    for away in (7.0, 14.0, 21.0)
    for place in (
        ((away, 0.0), "left", "center"),
        ((0.0, away), "center", "bottom"),
        ((-away, 0.0), "right", "center"),
        ((0.0, -away), "center", "top"),
    )
)


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its limits, where it has them."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Values under one name, one for each row or position of a drawing; None where unknown."""

    name: str
    values: tuple[Interval | None, ...]


def forest(
    id_prefix: str,
    label: str,
    rows: Sequence[str],
    series: Sequence[Series],
    unit: str = AL,
    reference: float | None = None,
) -> str:
    """A row each, its values side by side with their intervals, those of two series joined.

    Args:
        id_prefix: keeps the ids of the drawing apart from those of others on the page.
        label: what a screen reader says.
        rows: labels, from top to bottom.
        series: shape (series,), each with a value a row.
        unit: label of the axis.
        reference: where a line is drawn that means no change.
    """

    def paint(axes: Any) -> None:
        height = 0.4 if len(series) > 1 else 0.0
        for number, one in enumerate(series):
            shift = height * (number / max(1, len(series) - 1) - 0.5)
            _forest_series(axes, number, one, shift, joined=len(series) == 2)
        if len(series) == 2:
            _join(axes, series, height)
        if reference is not None:
            axes.axvline(reference, color=COLOURS["soft"], linewidth=1)
        axes.set_yticks(range(len(rows)), [_short(row) for row in rows])
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(unit)
        axes.grid(axis="x")
        _legend(axes, series)

    height = 0.9 + _ROW * len(rows) * max(1, (len(series) + 1) // 2)
    return themed_svg(paint, label, id_prefix, _PHONE, height)


def _forest_series(axes: Any, number: int, one: Series, shift: float, *, joined: bool) -> None:
    shown = [(y + shift, v) for y, v in enumerate(one.values) if v is not None]
    colour = _colour(number, joined)
    known = [(y, v.low, v.high) for y, v in shown if v.low is not None and v.high is not None]
    if known:
        axes.hlines(*zip(*known, strict=True), color=colour, linewidth=4, alpha=0.35)
    axes.plot(
        [v.value for _, v in shown],
        [y for y, _ in shown],
        linestyle="",
        marker=MARKERS[number % len(MARKERS)],
        color=colour,
        label=_short(one.name),
    )


def _join(axes: Any, series: Sequence[Series], height: float) -> None:
    pairs = enumerate(zip(*(one.values for one in series), strict=True))
    lines = [
        [(a.value, y - height / 2), (b.value, y + height / 2)]
        for y, (a, b) in pairs
        if a is not None and b is not None
    ]
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(lines, colors=COLOURS["soft"], linewidths=1))


def _colour(number: int, joined: bool) -> str:
    """Two series are an old and a new one: the old in grey."""
    return (COLOURS["soft"], COLOURS["mark"])[number] if joined else SERIES[number % len(SERIES)]


def positions(id_prefix: str, label: str, series: Sequence[Series]) -> str:
    """Conditional acceptance by position in the draft, a line each."""

    def paint(axes: Any) -> None:
        _lines(axes, series)
        axes.set_ylim(0, 1)
        axes.set_xlabel("position in the draft")
        axes.set_ylabel("accepted")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")

    return themed_svg(paint, label, id_prefix, _PHONE, _HEIGHT)


def depths(id_prefix: str, label: str, series: Sequence[Series], ends: Sequence[str]) -> str:
    """AL by position in the context, a line each; ``ends`` name the buckets."""

    def paint(axes: Any) -> None:
        _lines(axes, series)
        axes.set_xticks(range(1, len(ends) + 1), ends)
        axes.set_xlabel("tokens of context before the step")
        axes.set_ylabel(AL)

    return themed_svg(paint, label, id_prefix, _PHONE, _HEIGHT)


def _lines(axes: Any, series: Sequence[Series]) -> None:
    longest = max(len(one.values) for one in series)
    for number, one in enumerate(series):
        shift = 0.08 * (number - (len(series) - 1) / 2)  # intervals beside each other
        shown = [(k + shift, v) for k, v in enumerate(one.values, 1) if v is not None]
        colour = _colour(number, len(series) == 2)
        known = [(x, v.low, v.high) for x, v in shown if v.low is not None and v.high is not None]
        if known:
            axes.vlines(*zip(*known, strict=True), color=colour, linewidth=4, alpha=0.35)
        axes.plot(
            [x for x, _ in shown],
            [v.value for _, v in shown],
            marker=MARKERS[number % len(MARKERS)],
            color=colour,
            label=_short(one.name),
        )
    axes.set_xticks(range(1, longest + 1))
    axes.set_xlim(0.5, longest + 0.5)
    axes.grid(axis="y")
    _legend(axes, series)


def step_lengths(id_prefix: str, label: str, series: Sequence[Series]) -> str:
    """The share of decoding steps that emitted 1, 2, … tokens, a bar each."""

    def paint(axes: Any) -> None:
        longest = max(len(one.values) for one in series)
        width = 0.8 / len(series)
        for number, one in enumerate(series):
            shift = (number - (len(series) - 1) / 2) * width
            axes.bar(
                [k + shift for k in range(1, len(one.values) + 1)],
                [0 if v is None else v.value for v in one.values],
                width * 0.92,
                color=_colour(number, len(series) == 2),
                label=_short(one.name),
            )
        axes.set_xticks(range(1, longest + 1))
        axes.set_xlabel("tokens emitted by a step")
        axes.set_ylabel("share of steps")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(axis="y")
        _legend(axes, series)

    return themed_svg(paint, label, id_prefix, _PHONE, _HEIGHT)


def input_lengths(
    id_prefix: str, label: str, curves: Sequence[tuple[str, LengthCurve | None]]
) -> str:
    """AL of every request over the length of its input, with a regression line a curve; of None,
    the legend alone."""

    def paint(axes: Any) -> None:
        for number, (run, curve) in enumerate(curves):
            colour = _colour(number, len(curves) == 2)
            if curve is None:
                axes.plot([], [], color=colour, label=_short(run))
                continue
            axes.scatter(
                [s.input_tokens for s in curve.samples],
                [s.decode_tokens / s.steps for s in curve.samples],
                s=9,
                color=colour,
                alpha=0.4,
                linewidths=0,
            )
            ends = [curve.slope.shortest, curve.slope.longest]
            axes.plot(ends, fitted(curve, ends), color=colour, label=_short(run))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("input (tokens)")
        axes.set_ylabel(AL)
        axes.set_ylim(bottom=1)
        axes.grid(axis="y")
        _legend(axes, curves)

    return themed_svg(paint, label, id_prefix, _PHONE, _HEIGHT)


def throughput(id_prefix: str, label: str, points: Sequence[OperatingPoint]) -> str:
    """Output tokens/s over what one user sees, a line for each run and draft length."""

    def paint(axes: Any) -> None:
        lines = {
            key: sorted(group, key=lambda p: p.bs)
            for key, group in groupby(points, key=lambda p: (p.run, p.dl))
        }
        labels: dict[tuple[float, float], tuple[str, str]] = {}
        for number, ((run, dl), own) in enumerate(lines.items()):
            colour = SERIES[number % len(SERIES)] if dl else COLOURS["soft"]
            labels |= {(p.user_tps, p.output_tps): (f"BS {p.bs}", colour) for p in own}
            axes.plot(
                [p.user_tps for p in own],
                [p.output_tps for p in own],
                "-" if dl else "--",
                marker=MARKERS[number % len(MARKERS)],
                color=colour,
                label=_short(f"{run} DL {dl}" if dl else run),
            )
        axes.margins(0.12)  # before the limits, which keep what they do not name
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid()
        axes.set_xlabel("tokens/s of one user")
        axes.set_ylabel("output tokens/s per GPU")
        _legend(axes, list(lines))
        _label_points(axes, labels)

    return themed_svg(paint, label, id_prefix, _PHONE, 3.8)


def _label_points(axes: Any, texts: Mapping[tuple[float, float], tuple[str, str]]) -> None:
    """A label beside each point, where it covers no point, no line and no other label.

    A label for which there is no such place is left out: the table has it.
    """
    lay_out(axes.figure)
    marks = [_mark(axes, point) for point in texts]
    lines = [line.get_path().transformed(line.get_transform()) for line in axes.lines]
    frame = axes.bbox.padded(_GAP)
    taken: list[Any] = []

    def is_free(box: Any) -> bool:
        return (
            frame.contains(*box.min)
            and frame.contains(*box.max)
            and not any(map(box.overlaps, (*taken, *marks)))
            and not any(line.intersects_bbox(box, filled=False) for line in lines)
        )

    for point, (text, colour) in texts.items():
        for offset, across, up in _PLACES:
            note = axes.annotate(
                text,
                point,
                xytext=offset,
                textcoords="offset points",
                ha=across,
                va=up,
                fontsize=SIZE - 1,
                color=colour,
            )
            note.set_in_layout(False)
            box = note.get_window_extent().padded(_GAP)
            if is_free(box):
                taken.append(box)
                break
            note.remove()


def _mark(axes: Any, point: tuple[float, float]) -> Any:
    """The square that the marker of a point fills, in pixels."""
    from matplotlib.transforms import Bbox

    size = axes.lines[0].get_markersize() * axes.figure.dpi / 72
    x, y = axes.transData.transform(point)
    return Bbox.from_bounds(x - size / 2, y - size / 2, size, size)


def _legend(axes: Any, entries: Sequence[object]) -> None:
    """Above the drawing, where it covers nothing."""
    if len(entries) > 1:
        axes.figure.legend(loc="outside upper left", ncols=2, handlelength=1.4, columnspacing=1.2)


def _short(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
