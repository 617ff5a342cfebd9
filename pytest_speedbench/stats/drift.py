"""Trend over the rounds of a soak: Mann-Kendall test with Theil-Sen slope.

Sources: Mann, Econometrica 13 (1945); Kendall, Rank Correlation Methods (1975), ch. 4, for the
variance under ties; Sen, JASA 63 (1968), for the slope and its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import Floats

MIN_ROUNDS = 4  # below, no order of rounds is rare enough to be evidence


@dataclass(frozen=True, slots=True)
class Trend:
    """A monotone trend.

    `slope` is in units of the series per round (or per unit of `times`), with `low` and `high` at
    `level`. `p_value` is two-sided, `n` the number of rounds.
    """

    slope: float
    low: float
    high: float
    p_value: float
    n: int
    level: float


def trend(
    series: Sequence[float], times: Sequence[float] | None = None, level: float = 0.95
) -> Trend:
    """Mann-Kendall test and Theil-Sen slope of one value per round.

    Rounds are taken as independent; a series whose rounds depend on each other makes p too small.

    Args:
        series: AL, step time, …, one per round, in order.
        times: when each was measured, rising; round numbers if None.
        level: coverage of the slope's interval.

    Raises:
        NoData: fewer than 4 rounds.
        ValueError: NaN or infinite values, times that do not rise, or a level not between 0 and 1.
    """
    values = np.asarray(series, dtype=np.float64)
    n = len(values)
    if n < MIN_ROUNDS:
        raise NoData(f"a trend needs at least {MIN_ROUNDS} rounds, got {n}")
    when = np.arange(n, dtype=np.float64) if times is None else np.asarray(times, dtype=float)
    _check(values, when, level)
    slope, low, high = _theil_sen(values, when, level)
    return Trend(slope, low, high, _p_value(values), n, level)


def _check(values: Floats, when: Floats, level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    if not np.isfinite(values).all():
        raise ValueError(f"round {int(np.argmin(np.isfinite(values))) + 1} is not a finite number")
    if when.shape != values.shape or not (np.diff(when) > 0).all():
        raise ValueError("times must rise and be one per round")


def _p_value(values: Floats) -> float:
    """Exact without ties up to 50 rounds, else normal with the tie-corrected variance."""
    from scipy.special import ndtr
    from scipy.stats import kendalltau

    n, (_, counts) = len(values), np.unique(values, return_counts=True)
    if len(counts) == n and n <= 50:
        return float(kendalltau(np.arange(n), values, method="exact").pvalue)
    score = _score(values)
    spread = math.sqrt(_score_variance(n, counts.astype(np.float64)))
    if spread == 0:  # all rounds equal
        return 1.0
    corrected = max(0.0, abs(score) - 1) / spread
    return float(2 * ndtr(-corrected))


def _score(values: Floats) -> float:
    rows, columns = np.triu_indices(len(values), k=1)
    return float(np.sign(values[columns] - values[rows]).sum())


def _score_variance(n: int, counts: Floats) -> float:
    ties = float((counts * (counts - 1) * (2 * counts + 5)).sum())
    return max(0.0, (n * (n - 1) * (2 * n + 5) - ties) / 18)


def _theil_sen(values: Floats, when: Floats, level: float) -> tuple[float, float, float]:
    from scipy.special import ndtri

    n = len(values)
    rows, columns = np.triu_indices(n, k=1)
    slopes = np.sort((values[columns] - values[rows]) / (when[columns] - when[rows]))
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    reach = float(ndtri(0.5 + level / 2)) * math.sqrt(_score_variance(n, counts))
    last = len(slopes) - 1
    first = min(max(0, math.floor((len(slopes) - reach) / 2)), last)
    low, high = float(slopes[first]), float(slopes[last - first])
    return float(np.median(slopes)), low, high
