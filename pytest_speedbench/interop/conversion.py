"""Counts of other tools → traces in our definitions (docs/measurement.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_speedbench.engines.protocol import RequestTotals, Trace
from pytest_speedbench.engines.serving.steps import arrange


@dataclass(frozen=True, slots=True)
class Reported:
    """What an engine said of the drafts of one request, before the output was cut off.

    Attributes:
        steps: steps that had a draft.
        drafted: draft tokens proposed.
        accepted: of those the accepted.
        per_step: (drafted, accepted) of each step that had a draft; None where not reported.
        draft_length: the most that a step drafts; 0 where unknown.
    """

    steps: int
    drafted: int
    accepted: int
    per_step: tuple[Sequence[int], Sequence[int]] | None = None
    draft_length: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds on one clock, and how many events of output arrived; 0 where unknown."""

    sent: float = 0.0
    first: float = 0.0
    last: float = 0.0
    events: int = 0


def trace_of(
    name: str,
    tokens: int,
    reported: Reported,
    timing: Timing,
    *,
    prompt_tokens: int = 0,
    max_tokens: int | None = None,
) -> Trace | None:
    """The trace of a request whose first token the prefill emitted, by steps where they are known.

    None where what was reported does not fit the number of output tokens.
    """
    trace = Trace(
        name,
        prompt_tokens,
        timing.sent,
        finish_reason="length" if tokens == max_tokens else "stop",
    )
    if reported.per_step is not None:
        drafted, accepted = reported.per_step
        found = arrange([tokens], accepted, every_step_drafts=True) or arrange(
            [tokens], accepted, every_step_drafts=False
        )
        if found is None:
            return None
        if found.sizes is not None:
            trace.chunks = found.sizes
            trace.drafted, trace.accepted = list(drafted), list(accepted)
            trace.times = _spread(timing, len(found.sizes))
            return trace
    steps = decoding_steps(tokens, reported, timing.events)
    if steps is not None and not _possible(tokens, steps):
        return None
    return with_totals(trace, tokens, steps, reported, timing)


def with_totals(
    trace: Trace, tokens: int, steps: int | None, reported: Reported, timing: Timing
) -> Trace:
    """``trace`` with the totals of a request; its steps are unknown."""
    trace.chunks = [1, tokens - 1] if tokens > 1 else [tokens]
    trace.times = _spread(timing, len(trace.chunks))
    trace.totals = RequestTotals(steps, reported.drafted, reported.accepted)
    return trace


def decoding_steps(tokens: int, reported: Reported, events: int) -> int | None:
    """D of a request of ``tokens``; None where steps without a draft leave it open.

    A step emits its accepted tokens and one more, and the end of the output may cut the last one.
    So no step was without a draft where tokens - 1 ≤ steps + accepted. Where some were, the number
    of ``events`` after the first one is D, if it lies in the range that is left.
    """
    decoded = tokens - 1
    if decoded <= reported.steps + reported.accepted:
        return reported.steps
    least = decoded - reported.accepted
    return events - 1 if least <= events - 1 <= least + reported.draft_length else None


def _possible(tokens: int, steps: int) -> bool:
    """Whether so many steps can have emitted all tokens but the first."""
    return steps <= tokens - 1 and bool(steps) == (tokens > 1)


def _spread(timing: Timing, count: int) -> list[float]:
    """Arrivals of ``count`` events, evenly between the first and the last."""
    if count < 2:
        return [timing.last or timing.first] * count
    gap = (timing.last - timing.first) / (count - 1)
    return [timing.first + gap * number for number in range(count)]
