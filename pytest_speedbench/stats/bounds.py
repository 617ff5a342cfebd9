"""Piecewise linear bounds: how much one sample can say against a claim about ρ, for every ρ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pytest_speedbench.stats.data import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A piecewise linear function of theta; constant beyond its first and last knot.

    Attributes:
        knots: shape (knots,), values of theta, rising.
        values: shape (knots,), decoding steps, positive.
    """

    knots: Floats
    values: Floats

    def at(self, theta: float) -> float:
        """Value at one theta."""
        return float(np.interp(theta, self.knots, self.values))

    def all_at(self, thetas: Floats) -> Floats:
        """Values at several thetas."""
        return np.asarray(np.interp(thetas, self.knots, self.values))

    def times(self, factor: float) -> Bound:
        """The same shape, scaled."""
        return Bound(self.knots, factor * self.values)


def highest_line(
    lines: Iterable[tuple[float, float]], *, floor: float, start: float, end: float
) -> Bound:
    """Upper envelope of lines between two thetas, and at least `floor`.

    Args:
        lines: (slope, offset) of each.
        floor: steps, positive.
        start: first theta.
        end: last theta.

    Raises:
        ValueError: a floor that is not positive, or no range.
    """
    if not (floor > 0 and start < end):
        raise ValueError(f"expected a positive floor and start < end, got {floor}, {start}, {end}")
    table = np.unique(np.array([(0.0, floor), *lines], dtype=np.float64), axis=0)
    slopes, offsets = table[:, 0], table[:, 1]
    theta, knots = start, [start]
    heights = slopes * theta + offsets
    best = int(np.lexsort((slopes, heights))[-1])
    while True:
        steeper = np.flatnonzero(slopes > slopes[best])
        if not len(steeper):
            break
        crossings = (offsets[best] - offsets[steeper]) / (slopes[steeper] - slopes[best])
        nearest = float(crossings.min())
        if nearest >= end:
            break
        ties = steeper[crossings <= nearest]
        best = int(ties[np.argmax(slopes[ties])])
        theta = max(theta, nearest)
        if theta > knots[-1]:
            knots.append(theta)
    knots.append(end)
    thetas = np.array(knots)
    values = (slopes[:, None] * thetas + offsets[:, None]).max(axis=0)
    return Bound(thetas, values)


def lower_of(one: Bound, other: Bound) -> Bound:
    """Pointwise minimum of two bounds of the same range."""
    thetas = np.union1d(one.knots, other.knots)
    gap = one.all_at(thetas) - other.all_at(thetas)
    cross = np.flatnonzero(gap[:-1] * gap[1:] < 0)
    share = gap[cross] / (gap[cross] - gap[cross + 1])
    thetas = np.union1d(thetas, thetas[cross] + share * (thetas[cross + 1] - thetas[cross]))
    return Bound(thetas, np.minimum(one.all_at(thetas), other.all_at(thetas)))
