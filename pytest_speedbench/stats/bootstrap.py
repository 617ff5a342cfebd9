"""Stratified cluster bootstrap of sums, as multinomial weights times per-cluster sums.

Source: Davison & Hinkley, Bootstrap Methods and their Application (1997), 3.2 and 3.8. For showing
intervals, not for deciding: bootstrap quantiles say little about a tail of 1e-5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import Floats

CHUNK = 2_000  # resamples at a time; keeps the weights of 880 clusters within 15 MB


def resampled_sums(
    sums: Floats, codes: NDArray[np.intp], *, resamples: int = 10_000, seed: int = 0
) -> Floats:
    """Totals of each resample.

    Args:
        sums: shape (clusters, columns), what each cluster adds to each total.
        codes: shape (clusters,), stratum numbers; clusters are redrawn within strata.
        resamples: number of resamples.
        seed: same seed, same resamples.

    Returns:
        Shape (resamples, columns).

    Raises:
        NoData: no clusters.
    """
    if len(sums) == 0:
        raise NoData("no clusters to resample")
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    parts = []
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        parts.append(_weights(rng, members, rows, len(sums)) @ sums)
    return np.concatenate(parts)


def _weights(
    rng: np.random.Generator, members: list[NDArray[np.intp]], rows: int, width: int
) -> Floats:
    weights = np.empty((rows, width))
    for group in members:
        size = len(group)
        draws = rng.integers(0, size, size=(rows, size), dtype=np.int32)
        draws += np.arange(rows, dtype=np.int32)[:, None] * size
        weights[:, group] = np.bincount(draws.ravel(), minlength=rows * size).reshape(rows, size)
    return weights


def ratio_interval(
    numerator: Floats,
    denominator: Floats,
    codes: NDArray[np.intp],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a ratio of sums; inputs of shape (clusters,).

    Raises:
        NoData: no clusters, or no resample with a positive denominator.
    """
    totals = resampled_sums(
        np.column_stack([numerator, denominator]), codes, resamples=resamples, seed=seed
    )
    return _quantiles(totals[:, 0], totals[:, 1], level)


def ratio_of_ratios_interval(
    new: tuple[Floats, Floats],
    old: tuple[Floats, Floats],
    codes: NDArray[np.intp],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of (new top/bottom) / (old top/bottom), clusters redrawn together.

    Raises:
        NoData: no clusters, or no resample with positive sums.
    """
    totals = resampled_sums(np.column_stack([*new, *old]), codes, resamples=resamples, seed=seed)
    return _quantiles(totals[:, 0] * totals[:, 3], totals[:, 1] * totals[:, 2], level)


def _quantiles(top: Floats, bottom: Floats, level: float) -> tuple[float, float]:
    usable = bottom > 0
    if not usable.any():
        raise NoData("the denominator is zero in every resample")
    tail = (1 - level) / 2
    low, high = np.quantile(top[usable] / bottom[usable], [tail, 1 - tail])
    return float(low), float(high)
