"""What an engine tells of a request, held against the chunks in which its tokens came.

SGLang and TensorRT-LLM stream one chunk a decoding step, but merge chunks when their reader lags,
and tell the number of steps with the end of the request. Every chunk holds at least one step: where
there are as many chunks as steps, each chunk is exactly one. Otherwise the totals are all there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_speedbench.engines.protocol import RequestTotals


@dataclass(frozen=True, slots=True)
class Account:
    """The parts of a trace that the engine's own totals decide: see :class:`~.protocol.Trace`."""

    drafted: list[int] | None = None
    accepted: list[int] | None = None
    totals: RequestTotals | None = None


def settle(chunks: Sequence[int], told: RequestTotals, draft_length: int) -> Account:
    """Steps, where ``told`` proves that the chunks are steps; otherwise ``told``.

    Args:
        chunks: tokens of each chunk that had any, the prefill's one first.
        told: D, draft and accepted tokens of the whole request, as the engine tells them.
    """
    steps = chunks[1:]
    if told.steps is not None and len(steps) > told.steps:
        told = replace(told, steps=None)  # more passes than it counts: nobody knows how many
    if not _are_steps(chunks, told.steps, draft_length):
        return Account(totals=told)
    if told.draft_tokens != draft_length * len(steps) or told.accepted_tokens is None:
        return Account()
    accepted = _accepted(steps, told.accepted_tokens, draft_length)
    if accepted is None:
        return Account()
    return Account([draft_length] * len(steps), accepted)


def _are_steps(chunks: Sequence[int], steps: int | None, draft_length: int) -> bool:
    return (
        steps is not None
        and len(chunks) == steps + 1
        and chunks[0] == 1
        and max(chunks[1:], default=1) <= draft_length + 1
    )


def _accepted(steps: Sequence[int], total: int, draft_length: int) -> list[int] | None:
    """Accepted drafts of every step: one less than it emitted, and what the cut of the last one
    left of ``total``; None where the two do not fit."""
    if not steps:
        return None if total else []
    before = [size - 1 for size in steps[:-1]]
    last = total - sum(before)
    return [*before, last] if steps[-1] - 1 <= last <= draft_length else None
