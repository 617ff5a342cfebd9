"""The engine's totals of a request reconciled with the chunks in which its tokens arrived.

SGLang and TensorRT-LLM stream one chunk per decoding step, but merge chunks when they are read too
slowly, and report the number of steps at the end of the request. Every chunk holds at least one
step: if there are as many chunks as steps, each chunk is one step. Otherwise only totals are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_speedbench.engines.protocol import RequestTotals


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The parts of a :class:`~.protocol.Trace` that depend on the engine's totals."""

    drafted: list[int] | None = None
    accepted: list[int] | None = None
    totals: RequestTotals | None = None

    @property
    def steps_proven(self) -> bool:
        """Whether the chunks are steps by the engine's own count."""
        return self.totals is None


def reconcile(chunks: Sequence[int], reported: RequestTotals, draft_length: int) -> Reconciled:
    """Steps, where ``reported`` proves that the chunks are steps; otherwise ``reported``.

    Args:
        chunks: tokens of each non-empty chunk, the prefill's token first.
        reported: D, draft and accepted tokens of the whole request, from the engine.
    """
    steps = chunks[1:]
    if reported.steps is not None and len(steps) > reported.steps:
        reported = replace(reported, steps=None)  # more passes than the engine counted
    if not _are_steps(chunks, reported.steps, draft_length):
        return Reconciled(totals=reported)
    if reported.draft_tokens != draft_length * len(steps) or reported.accepted_tokens is None:
        return Reconciled()
    accepted = _accepted(steps, reported.accepted_tokens, draft_length)
    if accepted is None:
        return Reconciled()
    return Reconciled([draft_length] * len(steps), accepted)


def _are_steps(chunks: Sequence[int], steps: int | None, draft_length: int) -> bool:
    return (
        steps is not None
        and len(chunks) == steps + 1
        and chunks[0] == 1
        and max(chunks[1:], default=1) <= draft_length + 1
    )


def _accepted(steps: Sequence[int], total: int, draft_length: int) -> list[int] | None:
    """Accepted drafts of every step: one less than it emitted, and for the last step, which may be
    cut, the rest of ``total``; None if the numbers contradict each other."""
    if not steps:
        return None if total else []
    before = [size - 1 for size in steps[:-1]]
    last = total - sum(before)
    return [*before, last] if steps[-1] - 1 <= last <= draft_length else None
