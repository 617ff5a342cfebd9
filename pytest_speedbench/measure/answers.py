"""Answers that are no text as asked for: loops, and empty ones."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_speedbench.engines.protocol import Trace

# A share of answers that says something of the model or of the build.
_MANY = 0.25


def repeats_itself(trace: Trace) -> bool:
    """Whether an answer is a loop for a good part: by its token ids, without them by its text."""
    from pytest_speedbench.stats import repetition

    if trace.token_ids or trace.text is None:
        return repetition.repeats_itself(trace.token_ids)
    return repetition.text_repeats_itself(trace.reasoning + trace.text)


def degenerate_notes(traces: Sequence[Trace], max_tokens: int) -> list[str]:
    """What many of the answers are, where that is no answer."""
    notes = []
    if loops := _many(sum(map(repeats_itself, traces)), traces):
        notes.append(f"{loops} answers repeat themselves: their AL is that of loops")
    empty = _many(sum(trace.tokens <= 1 for trace in traces), traces)
    if empty and max_tokens > 1:
        notes.append(f"{empty} answers have at most one token, and no part in AL")
    return notes


def _many(count: int, traces: Sequence[Trace]) -> str:
    """``3 of 8``; empty where they are few."""
    return f"{count} of {len(traces)}" if 0 < count >= _MANY * len(traces) else ""
