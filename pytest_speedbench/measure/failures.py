"""Answers that the engine broke off: how many, in its own words, and whether too many.

They are in no number: such an answer ends where it failed, and its steps would count as if it had
come to its end. Few of them leave a run usable; many would make it a run of other samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.results import ArmResult, Turn
from pytest_speedbench.splits import Sample

_UNNAMED = "abort"
_BUSY = ("HTTP 429", "HTTP 503", "no new token")
_LOG = "see the engine's own log"
# An engine may give another reason for each answer.
_MOST_REASONS = 5


@dataclass(slots=True)
class FailureLimit:
    """Ends a run at the first answer that makes it too many: those to come cannot make up for it.

    Attributes:
        most: the share of all answers that may be broken off.
        planned: how many answers the whole run can come to.
        answers: those so far.
        failed: those of them that were broken off, by reason.
    """

    most: float
    planned: int = 0
    answers: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def plan(self, samples: Iterable[Sample]) -> None:
        """Adds the turns of ``samples``, which are going to be sent."""
        self.planned += sum(max(1, len(sample.turns)) for sample in samples)

    def add(self, turn: Turn) -> None:
        """Takes an answer.

        Raises:
            EngineError: too many were broken off.
        """
        self.answers += 1
        if turn.complete:
            return
        self.failed += count_failed([turn.trace])
        if self.failed.total() > self.most * self.planned:
            raise too_many_failed(self.failed, self.answers, self.most, self.planned)


def count_failed(traces: Iterable[Trace]) -> Counter[str]:
    """How many answers ended for each reason that is no end of its own."""
    return Counter(trace.failure or _UNNAMED for trace in traces if trace.finish_reason == "abort")


def describe_failed(failed: Mapping[str, int], answers: int) -> str:
    """``3 of 80 answers were broken off ('content_filter': 2, 'abort': 1)``."""
    common = Counter(failed).most_common(_MOST_REASONS)
    reasons = ", ".join(f"{reason!r}: {count}" for reason, count in common)
    if others := sum(failed.values()) - sum(count for _, count in common):
        reasons += f", other reasons: {others}"
    return f"{sum(failed.values())} of {answers} answers were broken off ({reasons})"


def refuse_failed(arm: ArmResult, most: float) -> None:
    """Ends a run in which more than the share ``most`` of all answers were broken off.

    Raises:
        EngineError: the message gives their number and the engine's own words.
    """
    failed = sum(arm.failed.values())
    if failed > most * arm.answers:
        raise too_many_failed(arm.failed, arm.answers, most)


def too_many_failed(
    failed: Mapping[str, int], answers: int, most: float, planned: int = 0
) -> EngineError:
    """The error for a run of which too little is left; ``answers`` came of ``planned``."""
    busy = any(reason.startswith(_BUSY) for reason in failed)
    look = "lower --speed-bs, or raise the server's limit of requests" if busy else _LOG
    every = f" of the run's {planned}" if planned > answers else ""
    return EngineError(
        f"{describe_failed(failed, answers)} by the engine or a proxy before it, and at most "
        f"{most:.1%}{every} may be: {look}; --speed-max-failed=SHARE allows more, and leaves them "
        "out of every number"
    )
