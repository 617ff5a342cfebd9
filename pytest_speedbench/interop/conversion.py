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

    @property
    def most_cut(self) -> int:
        """Accepted draft tokens that the end of the output may have cut off."""
        return self.per_step[1][-1] if self.per_step and self.per_step[1] else self.draft_length


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
    every_step: bool,
    prompt_tokens: int = 0,
    max_tokens: int | None = None,
) -> Trace | None:
    """The trace of a request whose first token the prefill emitted, by steps where they are known.

    ``every_step`` says whether the method drafts in every step. None where what was reported does
    not fit the number of output tokens; ``totals.steps`` of a trace is None where D is not known.
    """
    trace = Trace(
        name,
        prompt_tokens,
        timing.sent,
        finish_reason="length" if tokens == max_tokens else "stop",
    )
    steps = None
    if reported.per_step is not None:
        drafted, accepted = reported.per_step
        found = None
        for every in dict.fromkeys((every_step, False)):
            found = found or arrange([tokens], accepted, every_step_drafts=every)
        if found is None:
            return None
        if found.sizes is not None:
            trace.chunks = found.sizes
            trace.drafted, trace.accepted = list(drafted), list(accepted)
            trace.times = _spread(timing, len(found.sizes))
            return trace
        steps = found.steps
    if steps is None:
        # An answer that ends by itself does so with a token that has no text, and no event.
        ended = max_tokens is not None and tokens < max_tokens
        events = 0 if ended else timing.events
        steps = decoding_steps(tokens, reported, events, every_step=every_step)
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


def decoding_steps(tokens: int, reported: Reported, events: int, *, every_step: bool) -> int | None:
    """D of a request of ``tokens``; None where steps without a draft leave it open.

    A step emits its accepted tokens and one more, and the end of the output may cut the last one.
    Where ``every_step`` drafts, D is the number of drafts, unless there are more tokens than those
    emit. Otherwise D lies between two numbers, and is the number of ``events`` after the first one
    if that lies between them too.
    """
    alone = tokens - 1 - reported.accepted
    if every_step and alone <= reported.steps:
        return reported.steps
    least, most = max(reported.steps, alone), max(reported.steps, alone + reported.most_cut)
    if least == most:
        return least
    return events - 1 if least <= events - 1 <= most else None


def _possible(tokens: int, steps: int) -> bool:
    """Whether so many steps can have emitted all tokens but the first."""
    return steps <= tokens - 1 and bool(steps) == (tokens > 1)


def _spread(timing: Timing, count: int) -> list[float]:
    """Arrivals of ``count`` events, evenly between the first and the last."""
    if count < 2:
        return [timing.last or timing.first] * count
    gap = (timing.last - timing.first) / (count - 1)
    return [timing.first + gap * number for number in range(count)]
