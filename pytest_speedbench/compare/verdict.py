"""The one outcome in which every comparison ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """Verdicts of a test that was made, and the states in which none could be."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    IMPROVED = "improved"
    UNDECIDED = "undecided"
    NO_BASELINE = "no baseline"
    INCOMPARABLE = "incomparable"
    SPECULATION_OFF = "speculation off"
    NOT_GATED = "not gated"


# Those that are the verdict of a comparison with a baseline.
COMPARED = frozenset({Outcome.PASS, Outcome.FAIL, Outcome.IMPROVED, Outcome.UNDECIDED})


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one case did in one metric against its baseline.

    ``ratio`` is new / old with its interval ``low`` to ``high`` (95 %); ``margin`` the loss
    allowed; ``coverage`` the share of tokens that the verdict rests on.
    """

    case: str
    metric: str
    outcome: Outcome
    reason: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    coverage: float | None = None
    baseline: str = ""

    def fails(self, inconclusive: str, require_baseline: bool) -> bool:
        """Whether a test with this verdict fails."""
        if self.outcome in (Outcome.FAIL, Outcome.SPECULATION_OFF, Outcome.INCOMPARABLE):
            return True
        if self.outcome is Outcome.NO_BASELINE:
            return require_baseline
        return self.outcome is Outcome.UNDECIDED and inconclusive == "fail"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "outcome": self.outcome.value}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Verdict:
        return cls(**{**data, "outcome": Outcome(data["outcome"])})

    def __str__(self) -> str:
        change = "" if self.ratio is None else f" ({self.ratio - 1:+.1%})"
        return f"{self.metric}: {self.outcome}{change}" + (
            f", {self.reason}" if self.reason else ""
        )
