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
PRECISION = 1e-12  # of the search for a bound: relative, and in the normal quantile
DIGITS = 9  # of a bound: the order in which samples are summed makes no difference
MOST_STEPS = 100  # of the search; about 8 are taken
ROUNDING = 1e-12  # relative to the largest term


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
    goal = _standard_normal(tail)
    return _crossing(
        lambda ratio: _standard_normal(below_zero(top - ratio * bottom)) - goal, low, high
    )


def _standard_normal(probability: float) -> float:
    """The quantile of a probability, finite at 0 and 1 too."""
    return NormalDist().inv_cdf(min(max(probability, 1e-300), 1 - 1e-16))


def _crossing(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where `rising` crosses zero, from below, by regula falsi with Illinois weights.

    Few steps are needed where it is nearly linear, as the normal quantile of a tail is.
    """
    below, above = rising(low), rising(high)
    if below >= 0 or above < 0:
        return low if below >= 0 else high
    moved = 0  # the end that moved last; the other one counts half when it moves again
    for _ in range(MOST_STEPS):
        if high - low <= PRECISION * high:
            break
        middle = (low * above - high * below) / (above - below)
        value = rising(middle)
        if abs(value) <= PRECISION:
            return middle
        if value < 0:
            low, below = middle, value
            above *= 0.5 if moved < 0 else 1.0
            moved = -1
        else:
            high, above = middle, value
            below *= 0.5 if moved > 0 else 1.0
            moved = 1
    return low


def below_zero(values: Floats) -> float:
    """P(a sum of `values`, weighted uniformly from the simplex, is at most 0).

    That is the sum weighted by independent exponentials, whose tail is Lugannani and Rice's
    saddlepoint approximation (1980). Shape (terms,).
    """
    scaled = values / max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
    scaled = np.where(np.abs(scaled) < ROUNDING, 0.0, scaled)
    if scaled.max() <= 0:
        return 1.0
    if scaled.min() >= 0:
        return 0.0
    point, spread = _saddlepoint(scaled)
    cumulant = -float(np.log1p(-point * scaled).sum())
    root = math.copysign(math.sqrt(max(0.0, -2 * cumulant)), point)
    other = point * math.sqrt(spread)
    if abs(root) < 1e-5:
        return 0.5
    density = math.exp(-root * root / 2) / math.sqrt(2 * math.pi)
    normal = math.erfc(-root / math.sqrt(2)) / 2
    return min(1.0, max(0.0, normal + density * (1 / root - 1 / other)))


def _saddlepoint(values: Floats) -> tuple[float, float]:
    """Where the derivative of the cumulant generating function is zero, and its slope there."""
    low, high = 1 / float(values.min()), 1 / float(values.max())
    point = 0.0
    for _ in range(100):
        terms = values / (1 - point * values)
        slope, curve = float(terms.sum()), float(terms @ terms)
        if abs(slope) <= 1e-9 * math.sqrt(curve):
            break
        low, high = (point, high) if slope < 0 else (low, point)
        step = point - slope / curve
        point = step if low < step < high else (low + high) / 2
    return point, curve
