"""Delta-method intervals for ratios of sums over stratified clusters.

Source: Särndal, Swensson & Wretman, Model Assisted Survey Sampling (1992), 5.5-5.7, with clusters
as primary units drawn with replacement within strata.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import Floats


def total_variance(values: Floats, codes: NDArray[np.intp]) -> float:
    """Variance of the sum of `values`, shape (clusters,), strata numbered by `codes`.

    Squared unit of `values`. A stratum of one cluster adds nothing; `stratum_codes` avoids those.
    """
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=values) / counts
    squares = np.bincount(codes, weights=(values - means[codes]) ** 2)
    factor = counts / np.maximum(counts - 1, 1)
    return float((factor * squares).sum())


def degrees_of_freedom(codes: NDArray[np.intp]) -> int:
    """Clusters minus strata, at least 1."""
    return max(1, len(codes) - len(np.unique(codes)))


def ratio(numerator: Floats, denominator: Floats, codes: NDArray[np.intp]) -> tuple[float, float]:
    """Ratio of sums and its standard error; inputs of shape (clusters,).

    Raises:
        NoData: the denominators sum to zero.
    """
    bottom = float(denominator.sum())
    if not bottom > 0:
        raise NoData("the denominator sums to zero")
    value = float(numerator.sum()) / bottom
    influence = (numerator - value * denominator) / bottom
    return value, total_variance(influence, codes) ** 0.5


def log_ratio_of_ratios(
    new: tuple[Floats, Floats], old: tuple[Floats, Floats], codes: NDArray[np.intp]
) -> tuple[float, float]:
    """Log of (new numerator/denominator) / (old numerator/denominator), and its standard error.

    Each array has shape (clusters,), aligned by cluster, so that what two runs share cancels.

    Raises:
        NoData: one of the four sums is zero.
    """
    parts = (*new, *old)
    sums = [float(part.sum()) for part in parts]
    if min(sums) <= 0:
        raise NoData("a sum of tokens or decoding steps is zero")
    signs = (1.0, -1.0, -1.0, 1.0)
    value = sum(sign * float(np.log(s)) for sign, s in zip(signs, sums, strict=True))
    influence = np.zeros_like(new[0], dtype=np.float64)
    for sign, part, s in zip(signs, parts, sums, strict=True):
        influence = influence + sign * part / s
    return value, total_variance(influence, codes) ** 0.5


def t_quantile(level: float, df: float) -> float:
    """Two-sided Student quantile: ±t covers `level`."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.5 + level / 2))
