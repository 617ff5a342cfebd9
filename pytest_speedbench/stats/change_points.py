"""Where the level of a series changes: circular binary segmentation.

Method: Olshen, Venkatraman, Lucito and Wigler, "Circular binary segmentation for the analysis of
array-based DNA copy number data", Biostatistics 5 (2004). A stretch of the series is compared with
the rest; the best stretch splits the series where its t statistic is beyond Bonferroni's limit over
all stretches, and its parts are searched in turn. A stretch that reaches the end is one change; one
that does not is a change and its way back.

With independent normal values the chance of any change in a healthy series is at most ``alpha``,
whatever its length, since the first split must pass the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEWEST = 6
"""A shorter series has no change points."""
_LEAST = 2  # values on each side of a change: a single one is an outlier
_LEAST_INSIDE = 3  # values of a stretch between two changes, where outliers have more places
_SMALLEST = 5e-4  # the spread that is assumed at least, as a share of the level


def change_points(values: Sequence[float], alpha: float = 0.01) -> list[int]:
    """Indices of the values with which a new level begins, ascending.

    Args:
        values: the series, in order, finite.
        alpha: the chance of any change point in a series without one.

    A series of equal values that takes another one has a change; changes far below 0.1 % of the
    level have none.
    """
    series = np.asarray(values, dtype=np.float64)
    if len(series) < FEWEST:
        return []
    floor = _SMALLEST * abs(float(np.median(series)))
    found = _split(series, 0, alpha, floor)
    return _needed(series, found, alpha, floor)


def _split(series: Floats, start: int, alpha: float, floor: float) -> list[int]:
    """The edges of the best stretch of ``series``, and those found within its parts."""
    if len(series) < 2 * _LEAST + 1:
        return []
    edges = _best_stretch(series, alpha, floor)
    if not edges:
        return []
    found = [start + edge for edge in edges]
    for low, high in pairwise([0, *edges, len(series)]):
        found += _split(series[low:high], start + low, alpha, floor)
    return sorted(found)


def _best_stretch(series: Floats, alpha: float, floor: float) -> list[int]:
    """One edge or two, or none where no stretch differs from the rest.

    Half of ``alpha`` is for single changes, which are few and likely, half for all the others.
    """
    size = len(series)
    low, high = np.triu_indices(size + 1, _LEAST)
    single = (low == 0) | (high == size)
    allowed = (high - low <= size - _LEAST) & (low != 1) & (high != size - 1)
    allowed &= single | (high - low >= _LEAST_INSIDE)
    low, high, single = low[allowed], high[allowed], single[allowed]
    statistic = _statistics(series, low, high, floor)
    best: tuple[float, list[int]] = (alpha, [])
    for kind in (single, ~single):
        if not kind.any():
            continue
        # A stretch from the start and the rest of the series are the same split.
        tests = kind.sum() / 2 if kind is single else kind.sum()
        chosen = int(np.argmax(np.where(kind, statistic, -1.0)))
        chance = 2 * tests * _two_sided(statistic[chosen], size - 2)
        if chance < best[0]:
            edges = [int(edge) for edge in (low[chosen], high[chosen]) if 0 < edge < size]
            best = (chance, edges)
    return best[1]


def _statistics(
    series: Floats, low: NDArray[np.intp], high: NDArray[np.intp], floor: float
) -> Floats:
    """Student's t of ``series[low:high]`` against the rest, without its sign."""
    centred = series - series.mean()
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    inside, size = high - low, len(series)
    difference = (sums[high] - sums[low]) * size / (inside * (size - inside))
    weight = inside * (size - inside) / size
    spread = np.maximum(
        (np.square(centred).sum() - weight * np.square(difference)) / (size - 2), floor**2
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.abs(difference) * np.sqrt(weight / spread)
    return np.asarray(np.nan_to_num(found, posinf=np.inf), dtype=np.float64)


def _two_sided(statistic: float, freedom: int) -> float:
    from scipy.stats import t

    return 2 * float(t.sf(statistic, freedom))


def _needed(series: Floats, edges: list[int], alpha: float, floor: float) -> list[int]:
    """Leaves out, weakest first, each edge whose two neighbours do not differ by themselves."""
    cuts = [0, *edges, len(series)]
    while len(cuts) > 2:
        chances = [
            _two_sided(_step(series[a:b], series[b:c], floor), c - a - 2) * len(series)
            for a, b, c in zip(cuts, cuts[1:], cuts[2:], strict=False)
        ]
        weakest = int(np.argmax(chances))
        if chances[weakest] < alpha:
            break
        del cuts[weakest + 1]
    return cuts[1:-1]


def _step(before: Floats, after: Floats, floor: float) -> float:
    both = np.concatenate([before, after])
    low, high = np.array([0]), np.array([len(before)])
    return float(_statistics(both, low, high, floor)[0])
