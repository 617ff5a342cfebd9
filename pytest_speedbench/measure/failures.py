"""Answers that the engine broke off: how many, in its own words, and whether too many.

They are in no number: such an answer ends where it failed, and its steps would count as if it had
come to its end. Few of them leave a run usable; many would make it a run of other samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.results import ArmResult, Turn

MAX_FAILED = 0.01
_UNNAMED = "abort"
_BUSY = ("HTTP 429", "HTTP 503", "no new token")
_LOG = "see the engine's own log"
# An engine's words may be others for each answer.
_SHOWN = 5


def count_failed(turns: Sequence[Turn]) -> Counter[str]:
    """How many answers ended for each reason that is no end of its own."""
    return Counter(turn.trace.failure or _UNNAMED for turn in turns if not turn.complete)


def describe_failed(failed: Mapping[str, int], of: int) -> str:
    """``3 of 80 answers were broken off ('content_filter': 2, 'abort': 1)``."""
    common = Counter(failed).most_common(_SHOWN)
    reasons = ", ".join(f"{word!r}: {count}" for word, count in common)
    if others := sum(failed.values()) - sum(count for _, count in common):
        reasons += f", other reasons: {others}"
    return f"{sum(failed.values())} of {of} answers were broken off ({reasons})"


def refuse_failed(arm: ArmResult, most: float) -> None:
    """Ends a run in which more than the share ``most`` of all answers were broken off.

    Raises:
        EngineError: the message gives their number and the engine's own words.
    """
    failed = sum(arm.failed.values())
    if failed > most * arm.answers:
        raise too_many_failed(arm.failed, arm.answers, most)


def too_many_failed(failed: Mapping[str, int], of: int, most: float) -> EngineError:
    """The error for a run of which too little is left."""
    busy = any(word.startswith(_BUSY) for word in failed)
    look = "lower --speed-bs, or raise the server's limit of requests" if busy else _LOG
    return EngineError(
        f"{describe_failed(failed, of)} by the engine or by what is before it, and at most "
        f"{most:.1%} may be: {look}; --speed-max-failed=SHARE allows more, and leaves them out of "
        "every number"
    )
