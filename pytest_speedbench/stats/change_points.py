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

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import erfc, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

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

    A series of equal values that takes another one has a change; changes far below 0.1% of the
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
    sums = np.concatenate([[0.0], np.cumsum(series - series.mean())])
    total = float(np.square(series - series.mean()).sum())
    best: tuple[float, list[int]] = (alpha, [])
    for stretches in (_single_changes(size), _inner_stretches(size)):
        tests, strongest, edges = 0, -1.0, [0, 0]
        for low, high in stretches:
            statistic = _statistics(sums, total, low, high, floor)
            chosen = int(np.argmax(statistic))
            tests += len(high)
            if statistic[chosen] > strongest:
                strongest, edges = float(statistic[chosen]), [low, int(high[chosen])]
        # The normal tail is below Student's: where it is too large already, scipy is not needed.
        if not tests or 2 * tests * erfc(strongest / sqrt(2)) >= best[0]:
            continue
        chance = 2 * tests * _two_sided(strongest, size - 2)
        if chance < best[0]:
            best = chance, [edge for edge in edges if edge]
    return best[1]


def _single_changes(size: int) -> Iterator[tuple[int, Ints]]:
    """Stretches from the start; those to the end divide the series in the same way."""
    yield 0, np.arange(_LEAST, size - _LEAST + 1)


def _inner_stretches(size: int) -> Iterator[tuple[int, Ints]]:
    """For each first index, the ends of the stretches with values before and behind them."""
    for low in range(_LEAST, size - _LEAST - _LEAST_INSIDE + 1):
        yield low, np.arange(low + _LEAST_INSIDE, size - _LEAST + 1)


def _statistics(sums: Floats, total: float, low: int, high: Ints, floor: float) -> Floats:
    """Student's t of each stretch ``low:high`` against the rest, without its sign.

    ``sums`` are the running sums of the centred series, ``total`` the sum of its squares.
    """
    size, inside = len(sums) - 1, high - low
    difference = (sums[high] - sums[low]) * size / (inside * (size - inside))
    weight = inside * (size - inside) / size
    spread = np.maximum((total - weight * np.square(difference)) / (size - 2), floor**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.abs(difference) * np.sqrt(weight / spread)
    return np.asarray(np.nan_to_num(found, posinf=np.inf), dtype=np.float64)


def _two_sided(statistic: float, freedom: int) -> float:
    from scipy.special import stdtr  # as scipy.stats has it, which takes a second to import

    return 2 * float(stdtr(freedom, -statistic))


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
    both = both - both.mean()
    sums, total = np.concatenate([[0.0], np.cumsum(both)]), float(np.square(both).sum())
    return float(_statistics(sums, total, 0, np.array([len(before)]), floor)[0])
