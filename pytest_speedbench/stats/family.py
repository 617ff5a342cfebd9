"""Spending α: divided over the cases of a session, then in a fixed sequence within each case."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from pytest_speedbench.errors import NoData


def divide_alpha(alpha: float, weights: Sequence[float]) -> tuple[float, ...]:
    """Divide a session's α over its cases before the first test (Bonferroni, weighted).

    Raises:
        NoData: no cases.
        ValueError: α not between 0 and 1, or a weight that is not positive and finite.
    """
    _check_level("alpha", alpha)
    if not weights:
        raise NoData("no comparisons to divide α over")
    if any(not (weight > 0 and math.isfinite(weight)) for weight in weights):
        raise ValueError("every weight must be positive and finite")
    total = math.fsum(weights)
    return tuple(alpha * weight / total for weight in weights)


def sequence_level(share: float, k: int) -> float:
    """Level of the k-th comparison of a case that has this share of α: share / (k (k + 1)).

    The levels of any number of comparisons sum to less than `share`, so that the number need not
    be known in advance (Tukey's alpha spending by 1/k - 1/(k + 1); union bound).

    Raises:
        ValueError: share not between 0 and 1, or k below 1.
    """
    _check_level("share", share)
    if k < 1:
        raise ValueError(f"comparisons are counted from 1, got {k}")
    return share / (k * (k + 1))


class AlphaSequence:
    """The levels of one case's comparisons, in the order in which they are made.

    P(any false verdict of the case) ≤ share, for any number of comparisons and any dependence
    between them, provided that what is compared does not depend on the results of the same run.
    A comparison that is repeated has the level of its first time: the same numbers are compared
    with the same bound again, and the result is the same.
    """

    def __init__(self, share: float) -> None:
        """Start with nothing spent.

        Raises:
            ValueError: share not between 0 and 1.
        """
        _check_level("share", share)
        self.share = share
        self._places: dict[Hashable, int] = {}

    def level(self, comparison: Hashable) -> float:
        """Level of a comparison; `comparison` names it, for instance metric, sign and number."""
        place = self._places.setdefault(comparison, len(self._places) + 1)
        return sequence_level(self.share, place)

    @property
    def made(self) -> int:
        """Number of different comparisons so far."""
        return len(self._places)

    @property
    def spent(self) -> float:
        """Sum of their levels, always below `share`."""
        return self.share * self.made / (self.made + 1)


def _check_level(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")
