"""Where marks go in the page's drawings: values → positions. No number to show is made here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)
_SLACK = 1e-9  # 0.3 / 0.1 is a little below 3


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis; ``start`` and ``end`` are the coordinates of ``low`` and ``high``."""

    low: float
    high: float
    start: float = 0.0
    end: float = 100.0

    def at(self, value: float) -> float:
        """The coordinate of ``value``, kept inside the axis."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, about: int = 4) -> list[tuple[float, str]]:
        """Coordinates and labels of round numbers along the axis, roughly ``about`` of them."""
        step = _round_up((self.high - self.low) / about)
        first, last = math.ceil(self.low / step - _SLACK), math.floor(self.high / step + _SLACK)
        return [(self.at(n * step), f"{n * step:g}") for n in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class RangeBar:
    """An estimate on an axis: its value, and its interval where it has one."""

    value: float
    low: float | None
    high: float | None


def range_bar(axis: Axis, value: float, low: float | None, high: float | None) -> RangeBar:
    """The coordinates of one estimate."""
    if low is None or high is None:
        return RangeBar(axis.at(value), None, None)
    return RangeBar(axis.at(value), axis.at(low), axis.at(high))


def length_axis(highest: Iterable[float]) -> Axis:
    """The axis of acceptance lengths, from 1 to a whole number above all of ``highest``."""
    return Axis(1.0, float(max(2, math.ceil(max(highest, default=2.0)))))


@dataclass(frozen=True, slots=True)
class Point:
    """One measured run: ``x`` and ``y`` in its own units, ``label`` stands beside the mark."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in coordinates of the drawing."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Series:
    """Points joined by a line. ``style`` numbers colour, shape and dashes together."""

    name: str
    style: int
    marks: tuple[Mark, ...]

    @property
    def line(self) -> str:
        """The marks as an SVG polyline wants them."""
        return " ".join(f"{mark.x:g},{mark.y:g}" for mark in self.marks)


@dataclass(frozen=True, slots=True)
class Scatter:
    """A drawing of ``width`` × ``height`` with its axes and series."""

    width: int
    height: int
    x: Axis
    y: Axis
    series: tuple[Series, ...]


STYLES = 6


def scatter(points: Sequence[tuple[str, Point]]) -> Scatter:
    """Points by the name of their series, in the order of their first appearance."""
    width, height = 440, 300
    x = Axis(0.0, _room(p.x for _, p in points), 52, width - 34)
    y = Axis(0.0, _room(p.y for _, p in points), height - 44, 12)
    names = list(dict.fromkeys(name for name, _ in points))
    return Scatter(
        width,
        height,
        x,
        y,
        tuple(
            Series(
                name,
                number % STYLES,
                tuple(Mark(x.at(p.x), y.at(p.y), p.label) for n, p in points if n == name),
            )
            for number, name in enumerate(names)
        ),
    )


def _room(values: Iterable[float]) -> float:
    """The end of an axis from 0 that holds ``values`` with a little room above."""
    highest = max(values) * 1.08
    step = _round_up(highest / 4)
    return math.ceil(highest / step) * step


def _round_up(rough: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    if rough <= 0 or not math.isfinite(rough):
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - _SLACK))
