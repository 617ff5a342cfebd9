"""Spending α: divided over the cases of a session, then in a fixed sequence within each case."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

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


def comparison(metric: str, margin: float) -> str:
    """The name of a comparison of one metric at one margin; a record keeps it."""
    return f"{metric}:{margin!r}"


class AlphaSequence:
    """The levels of one case's comparisons, in the order in which they are made.

    P(any false verdict of the case) ≤ share, for any number of comparisons and any dependence
    between them, provided that what is compared does not depend on the results of the same run.
    A comparison that is repeated has the level of its first time: the same numbers are compared
    with the same bound again, and the result is the same.
    """

    def __init__(
        self, share: float, spent: Mapping[str, int] | None = None, reserved: Iterable[str] = ()
    ) -> None:
        """Start with the places of `spent`, comparison → place, and keep the next free ones for
        those of `reserved` that are not among them.

        Raises:
            ValueError: share not between 0 and 1, or a place below 1 or taken twice.
        """
        _check_level("share", share)
        self.share = share
        self._places = dict(spent or {})
        taken = list(self._places.values())
        if len(set(taken)) < len(taken) or min(taken, default=1) < 1:
            raise ValueError(f"places are counted from 1, one for each comparison, got {taken}")
        self._reserved: dict[str, int] = {}
        for name in reserved:
            if name not in self._places:
                self._reserved[name] = self._free()

    def level(self, comparison: str, *, of: str = "") -> float:
        """Level of a comparison; the first one has the place that was reserved for it, or for what
        it is a comparison `of`."""
        if comparison not in self._places:
            kept = comparison if comparison in self._reserved else of
            place = self._reserved.pop(kept) if kept in self._reserved else self._free()
            self._places[comparison] = place
        return sequence_level(self.share, self._places[comparison])

    def _free(self) -> int:
        taken = {*self._places.values(), *self._reserved.values()}
        return next(place for place in count(1) if place not in taken)

    @property
    def places(self) -> Mapping[str, int]:
        """The comparisons that were made, each with its place."""
        return self._places

    @property
    def spent(self) -> float:
        """Sum of their levels, always below `share`."""
        return math.fsum(sequence_level(self.share, place) for place in self._places.values())


def _check_level(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")
