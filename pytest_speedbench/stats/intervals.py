"""Confidence bounds of a ratio of sums that hold for few and for skewed samples.

Gaffke's bound (Learned-Miller & Thomas, "A new confidence interval for the mean of a bounded random
variable", 2020; Gaffke 2005): weights of the samples are drawn uniformly from the simplex, as in
the Bayesian bootstrap (Rubin 1981), with one further observation as extreme as is possible. The
quantile of the weighted ratio is the bound. What has not been seen has its weight, so that no width
is zero and rare samples are reckoned with; for many samples it is the bootstrap's. No population is
known for which it covers less than it states.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.stats.data import Floats

ENOUGH = 5  # samples of a stratum whose own mean is taken out of the spread
PRECISION = 1e-10  # relative: the last step of the search for a bound is shorter
DIGITS = 9  # of a bound: the order in which samples are summed makes no difference
MOST_STEPS = 100  # of the search; about 5 are taken
ROUNDING = 1e-12  # relative to the largest term
_NORMAL = NormalDist()


def ratio_bounds(
    numerator: Floats,
    denominator: Floats,
    codes: NDArray[np.intp],
    level: float,
    *,
    lowest: tuple[float, float],
    highest: tuple[float, float],
) -> tuple[float, float]:
    """Bounds on a ratio of expectations, together wrong with probability 1 - level.

    Args:
        numerator: shape (clusters,).
        denominator: shape (clusters,), its sum positive.
        codes: shape (clusters,), stratum numbers. Strata of at least 5 clusters count with their
            spread within; smaller ones are pooled, which errs on the safe side.
        level: coverage of both bounds together.
        lowest: (numerator, denominator) of the most extreme cluster with a small ratio.
        highest: the same with a large one.
    """
    top, bottom = within_strata(numerator, codes), within_strata(denominator, codes)
    tail = (1 - level) / 2
    low = _bound(np.append(top, lowest[0]), np.append(bottom, lowest[1]), tail, lowest)
    # The upper bound of a ratio is the lower one of its reciprocal.
    high = _bound(np.append(bottom, highest[1]), np.append(top, highest[0]), tail, highest[::-1])
    return _rounded(low), math.inf if high == 0 else _rounded(1 / high)


def _rounded(bound: float) -> float:
    return float(f"{bound:.{DIGITS}g}")


def within_strata(values: Floats, codes: NDArray[np.intp]) -> Floats:
    """The same total and, for large strata, the spread within them alone; shape (clusters,)."""
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=values) / np.maximum(counts, 1)
    large = counts >= ENOUGH
    if large.sum() < 2:
        return values
    inside = large[codes]
    factor = np.sqrt(counts / np.maximum(counts - 1, 1))[codes]
    pooled = float(values[inside].mean())
    return np.asarray(np.where(inside, pooled + (values - means[codes]) * factor, values))


def _bound(top: Floats, bottom: Floats, tail: float, extreme: tuple[float, float]) -> float:
    """Ratio that the weighted ratio falls below with probability `tail`."""
    low = extreme[0] / extreme[1] if extreme[1] else 0.0
    high = float(top[:-1].sum() / bottom[:-1].sum()) if bottom[:-1].sum() > 0 else 0.0
    if not high:  # the samples alone have no finite ratio, with the extreme one there is one
        high = max(1.0, 2 * low)
        while below_zero(top - high * bottom) < tail:
            high *= 2
    if not high > low:
        return low
    goal, tail_of = _standard_normal(tail), _Tail()
    error = math.sqrt(float(np.square(top - high * bottom).sum())) / float(bottom.sum())
    return _crossing(
        lambda ratio: _standard_normal(tail_of(top - ratio * bottom)) - goal, low, high, error
    )


def _standard_normal(probability: float) -> float:
    """The quantile of a probability, finite at 0 and 1 too."""
    return _NORMAL.inv_cdf(min(max(probability, 1e-300), 1 - 1e-16))


def _crossing(rising: Callable[[float], float], low: float, high: float, unit: float) -> float:
    """Where `rising` crosses zero, from below, by the secant method.

    Few steps are needed where it is nearly linear, as the normal quantile of a tail is: near `high`
    it rises by about one in each `unit`. A step that leaves the interval in which the crossing is
    known to lie is replaced by one to its middle.
    """
    value = rising(high)
    if value < 0:
        return high
    if rising(low) >= 0:
        return low
    point, step = high, -value * unit
    for _ in range(MOST_STEPS):
        if not low < point + step < high:
            step = (low + high) / 2 - point
        if abs(step) <= PRECISION * high:
            break
        point += step
        value, last = rising(point), value
        low, high = (point, high) if value < 0 else (low, point)
        step *= value / (last - value) if value != last else 0.0
    return point + step


def below_zero(values: Floats) -> float:
    """P(a sum of `values`, weighted uniformly from the simplex, is at most 0).

    That is the sum weighted by independent exponentials, whose tail is Lugannani and Rice's
    saddlepoint approximation (1980). Shape (terms,).
    """
    return _Tail()(values)


class _Tail:
    """`below_zero` for values that change little from call to call.

    The search for the saddlepoint begins at the last one. Of few values, `reduce` takes half the
    time of the methods `sum`, `min` and `max`, which call it.
    """

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, values: Floats) -> float:
        """The probability; `values` have shape (terms,)."""
        smallest, largest = float(np.minimum.reduce(values)), float(np.maximum.reduce(values))
        nothing = ROUNDING * max(-smallest, largest)
        if largest <= nothing:
            return 1.0
        if smallest >= -nothing:
            return 0.0
        point, spread = _saddlepoint(values, 1 / smallest, 1 / largest, self._last)
        self._last = point
        cumulant = -float(np.add.reduce(np.log1p(-point * values)))
        root = math.copysign(math.sqrt(max(0.0, -2 * cumulant)), point)
        other = point * math.sqrt(spread)
        if abs(root) < 1e-5:
            return 0.5
        density = math.exp(-root * root / 2) / math.sqrt(2 * math.pi)
        normal = math.erfc(-root / math.sqrt(2)) / 2
        return min(1.0, max(0.0, normal + density * (1 / root - 1 / other)))


def _saddlepoint(values: Floats, low: float, high: float, start: float) -> tuple[float, float]:
    """Where the derivative of the cumulant generating function is zero, and its slope there.

    It lies between `low` and `high`, and the search begins at `start`.
    """
    point = start if low < start < high else 0.0
    for _ in range(100):
        terms = values / (1 - point * values)
        slope, curve = float(np.add.reduce(terms)), float(terms @ terms)
        if abs(slope) <= 1e-11 * math.sqrt(curve):
            break
        low, high = (point, high) if slope < 0 else (low, point)
        step = point - slope / curve
        point = step if low < step < high else (low + high) / 2
    return point, curve
