"""The outcome of a comparison in one metric, with the numbers behind it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pytest_speedbench.quantities import change_of, span_of
from pytest_speedbench.stats import bound_text


class Outcome(StrEnum):
    """The outcomes of a test that was made, and the states in which none could be made.

    Attributes:
        PASS: it is shown that the metric has not fallen by more than the margin.
        FAIL: it is shown that it has.
        IMPROVED: it is shown that it has risen by more than the margin; the baseline is stale.
        UNDECIDED: neither is shown; the reason says how many more samples would settle it.
        NO_BASELINE: there is no saved record of this case.
        INCOMPARABLE: the record was measured on something else, such as other weights.
        SPECULATION_OFF: nothing is drafted, although a method was asked for.
        DEGENERATE: the answers themselves became worse, such as loops; whatever AL is.
        NOT_GATED: the metric was measured, but cannot be tested; the reason says why.
    """

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    IMPROVED = "improved"
    UNDECIDED = "undecided"
    NO_BASELINE = "no baseline"
    INCOMPARABLE = "incomparable"
    SPECULATION_OFF = "speculation off"
    DEGENERATE = "degenerate"
    NOT_GATED = "not gated"


COMPARED = frozenset({Outcome.PASS, Outcome.FAIL, Outcome.IMPROVED, Outcome.UNDECIDED})
"""Outcomes of a comparison with a baseline that was made."""
FAILING = frozenset(
    {Outcome.FAIL, Outcome.SPECULATION_OFF, Outcome.INCOMPARABLE, Outcome.DEGENERATE}
)
"""Outcomes that fail a test whatever the options say."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one case did in one metric.

    Attributes:
        case: the key of the case, as text.
        metric: a gated metric (``acceptance_length``, ``speedup``, ``output_tps``), or a check
            without a baseline (``lossless``, ``drift``, ``assert``), or ``output``, the
            guard against degenerate answers and wrong tokens.
        outcome: pass, fail, improved, undecided, or why nothing was tested.
        reason: what the outcome rests on, without the numbers of the change.
        ratio: new / old.
        low: lower bound of ``ratio``, 95%.
        high: upper bound of ``ratio``, 95%.
        margin: loss that is still accepted, as a share.
        coverage: share of the tokens that the verdict rests on.
        baseline: the saved run compared with.
        alpha: bound on the probability of a false *fail* of this one comparison.
        shown_low: lower bound of ``ratio`` that the outcome states, at the error rates of the gate.
        shown_high: upper bound of it.
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
    alpha: float | None = None
    shown_low: float | None = None
    shown_high: float | None = None

    @property
    def shown(self) -> str:
        """What was shown of the change, such as ``lost at most 1.80%``; empty where nothing was."""
        if self.outcome is Outcome.NOT_GATED:
            return bound_text(self.low, None)
        return bound_text(self.shown_low, self.shown_high)

    @property
    def certainty(self) -> str:
        """What was shown of the change, else its 95% interval; empty where there is neither."""
        if self.shown:
            return self.shown
        span = span_of(self.low, self.high)
        return f"95% interval {span}" if span else ""

    @property
    def change(self) -> str:
        """The change behind a name, such as `` (-3.3%)``; empty where there is none."""
        return "" if self.ratio is None else f" ({change_of(self.ratio)})"

    @property
    def compared(self) -> bool:
        """Whether anything was compared; not where the runs have no sample in common."""
        return self.outcome in COMPARED and self.ratio is not None

    def fails(self, inconclusive: str, require_baseline: bool) -> bool:
        """Whether a test with this verdict fails.

        *Fail*, *speculation off*, *incomparable* and *degenerate* do. *No baseline* does only under
        ``--speed-require-baseline``, *undecided* only under ``--speed-inconclusive=fail``.
        """
        if self.outcome in FAILING:
            return True
        if self.outcome is Outcome.NO_BASELINE:
            return require_baseline
        return self.outcome is Outcome.UNDECIDED and inconclusive == "fail"

    def as_dict(self) -> dict[str, Any]:
        """Plain builtins, for an xdist worker and for a record."""
        return {**asdict(self), "outcome": self.outcome.value}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Verdict:
        """The inverse of ``as_dict``."""
        return cls(**{**data, "outcome": Outcome(data["outcome"])})

    def __str__(self) -> str:
        parts = (f"{self.metric}: {self.outcome}{self.change}", self.certainty, self.reason)
        return ", ".join(filter(None, parts))
