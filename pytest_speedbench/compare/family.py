"""The family of comparisons: every selected case, with or without a baseline.

It is known before the first test and is the same in a session, on each xdist worker, and for
``speedbench compare``. α is divided over its cases, and within a case over its comparisons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_speedbench.errors import count_of
from pytest_speedbench.stats import AlphaSequence, divide_alpha, sequence_level


@dataclass(frozen=True, slots=True)
class Family:
    """All comparisons that are made together.

    Attributes:
        alpha: P(any false *fail* in the family), and P(false *pass*) of each single case.
        cases: number of selected cases, at least 1.
    """

    alpha: float
    cases: int

    @property
    def share(self) -> float:
        """The α of one case."""
        return divide_alpha(self.alpha, [1.0] * max(1, self.cases))[0]

    def sequence(
        self, comparisons: Iterable[str] = (), spent: Mapping[str, int] | None = None
    ) -> AlphaSequence:
        """How one case spends its share: ``spent`` is what a session did, comparison → place, and
        ``comparisons``, known beforehand, have the next places."""
        return AlphaSequence(self.share, spent, comparisons)

    def describe(self) -> str:
        """The division in one sentence, the same in every report."""
        cases = count_of(self.cases, "case")
        return (
            f"α = {self.alpha:g} for a false fail anywhere in {cases}, "
            f"{sequence_level(self.share, 1):.2g} for the first comparison of each, "
            f"{sequence_level(self.share, 2):.2g} for the second; "
            f"{self.alpha:g} for a false pass of any one case"
        )
