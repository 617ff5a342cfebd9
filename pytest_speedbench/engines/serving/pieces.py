"""What one event of a stream delivers, and what a server reports of a request's speculation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_speedbench.engines.protocol import RequestTotals

UNKNOWN = RequestTotals()


@dataclass(frozen=True, slots=True)
class SpeculationReport:
    """What a server reports about the speculation of one request, in our definitions.

    ``drafted`` and ``accepted`` have one entry for each step *that had a draft*, counted before the
    output was cut (see :class:`~.protocol.Trace`). A server that reports sums gives ``totals``
    with ``drafting_steps``, the number of steps that had a draft, or ``tokens_per_pass``, output
    tokens divided by all passes, the prefill included. ``draft_length`` is the server's
    setting.
    """

    drafted: Sequence[int] | None = None
    accepted: Sequence[int] | None = None
    totals: RequestTotals = UNKNOWN
    drafting_steps: int | None = None
    tokens_per_pass: float | None = None
    draft_length: int | None = None

    def falls_below(self, earlier: SpeculationReport) -> bool:
        """Whether a count is smaller than in an ``earlier`` report of the request, or gone."""
        return any(
            old and (new or 0) < old
            for old, new in (
                (earlier.drafting_steps, self.drafting_steps),
                (earlier.totals.draft_tokens, self.totals.draft_tokens),
                (earlier.totals.accepted_tokens, self.totals.accepted_tokens),
            )
        )


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The server's own counts for one request so far; None where it sends no such count.

    ``cached`` are those of the prompt that came from the prefix cache, ``reasoning`` those of the
    output that precede the answer.
    """

    output: int | None = None
    prompt: int | None = None
    cached: int | None = None
    reasoning: int | None = None


@dataclass(slots=True)
class Piece:
    """The content of one event of a stream; defaults stand for what it does not contain.

    ``token_ids`` and ``text`` are those of this event alone; ``text`` belongs to the answer,
    ``reasoning`` comes before it, and ``other`` says that there is output of another kind, such as
    a call of a tool. ``finish_reason`` is as the engine sends it. ``count`` is the server's count
    of output tokens, this event included, for servers that withhold tokens from the stream.
    ``note`` is data of the dialect, kept with the chunk.
    """

    token_ids: Sequence[int] = ()
    text: str = ""
    reasoning: str = ""
    other: bool = False
    finish_reason: object = None
    usage: TokenCounts | None = None
    report: SpeculationReport | None = None
    count: int | None = None
    note: Any = None

    @property
    def shows_output(self) -> bool:
        """Whether there is output that is not given as token ids."""
        return bool(self.text or self.reasoning or self.other)
