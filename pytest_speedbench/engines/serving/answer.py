"""One answer on its way: what its stream brought, and the trace that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_speedbench.engines.protocol import (
    FinishReason,
    Request,
    RequestTotals,
    Trace,
    spread_tokens,
)
from pytest_speedbench.engines.reconcile import reconcile
from pytest_speedbench.engines.serving.steps import Arrangement, arrange
from pytest_speedbench.errors import EngineDied, EngineError

UNKNOWN = RequestTotals()
UNKNOWN_ID = -1
"""Stands for a token id that the server has not told, until the dialect has found it."""
# An average of 32 bits gives back its whole number of passes much closer than this.
_BROKEN = 0.05


@dataclass(frozen=True, slots=True)
class Told:
    """What a server tells of one request's speculation, converted to our definitions.

    ``drafted`` and ``accepted``: one entry for each step *that had a draft*, before the output was
    cut (see :class:`~.protocol.Trace`). Where a server tells sums only: ``totals``, with
    ``drafting_steps``, the number of steps that had a draft, or ``tokens_per_pass``, output tokens
    divided by all passes, the prefill's included. ``draft_length`` is the server's own setting.
    """

    drafted: Sequence[int] | None = None
    accepted: Sequence[int] | None = None
    totals: RequestTotals = UNKNOWN
    drafting_steps: int | None = None
    tokens_per_pass: float | None = None
    draft_length: int | None = None


@dataclass(slots=True)
class Piece:
    """What one event of a stream carries; anything it does not carry stays as it is here.

    ``token_ids`` and ``text`` are those of this event alone. ``usage`` and ``prompt_tokens`` are
    the server's own counts for the request so far; ``count`` is its count of output tokens, this
    event included, for servers that withhold tokens from the stream. ``note`` is kept with the
    chunk, for the dialect.
    """

    token_ids: Sequence[int] = ()
    text: str = ""
    finish_reason: FinishReason | None = None
    usage: int | None = None
    prompt_tokens: int | None = None
    told: Told | None = None
    count: int | None = None
    note: Any = None


@dataclass(slots=True)
class Answer:
    """All pieces of one request. Times are :func:`time.perf_counter` seconds.

    ``chunks`` and ``times`` tell the arrivals: their tokens where ids come with them, otherwise 0.
    """

    request: Request
    submitted: float
    token_ids: list[int] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    usage: int | None = None
    prompt_tokens: int | None = None
    told: Told | None = None
    ended: float = 0.0
    notes: list[Any] = field(default_factory=list)
    """The dialect's note of each chunk."""

    def add(self, piece: Piece, now: float) -> None:
        """Empty pieces (a role, a finish, the usage) are no chunks."""
        ids = piece.token_ids
        if piece.count is not None:
            ids = [*[UNKNOWN_ID] * (piece.count - len(self.token_ids) - len(ids)), *ids]
        if ids or (piece.text and not self.token_ids):
            self.token_ids.extend(ids)
            self.chunks.append(len(ids))
            self.times.append(now)
            self.notes.append(piece.note)
        if piece.text:
            self.texts.append(piece.text)
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.ended = now
        if piece.usage is not None:
            self.usage = piece.usage
        if piece.prompt_tokens is not None:
            self.prompt_tokens = piece.prompt_tokens
        self.told = piece.told or self.told

    @property
    def tokens(self) -> int:
        """Output tokens so far, as far as they are known."""
        return len(self.token_ids) or self.usage or 0

    @property
    def at_stop(self) -> bool:
        """Whether the last token is one of those that end the output."""
        if self.request.sampling.ignore_eos or not self.token_ids:
            return False
        return self.token_ids[-1] in self.request.stop_ids

    def check(self) -> None:
        """Whether the stream came to its end, with all the tokens that the server counts.

        Raises:
            EngineError: it did not.
        """
        if self.finish_reason is None:
            raise EngineDied(
                f"request {self.request.id}: the server ended the stream half way, after "
                f"{len(self.chunks)} chunks and without a finish reason; see its own log, then run "
                "again"
            )
        if self.usage is None and not self.token_ids:
            raise EngineError(
                f"request {self.request.id}: the server neither sends token ids nor counts tokens "
                "(no usage in its stream, though stream_options.include_usage asked for it): "
                "nothing can be measured; take a server, or a version, that does"
            )
        if self.token_ids and self.usage is not None and self.usage != len(self.token_ids):
            raise EngineError(
                f"request {self.request.id}: the server counts {self.usage} output tokens, its "
                f"stream brought {len(self.token_ids)}; a proxy or a filter between us may drop "
                "events: ask the engine itself"
            )

    def trace(self, finish_reason: FinishReason | None = None) -> Trace:
        """The trace as it came, chunk by chunk; ``finish_reason`` overrides the server's."""
        trace = Trace(
            self.request.id,
            self.prompt_tokens or len(self.request.prompt_ids),
            self.submitted,
            self.token_ids,
            self.chunks,
            self.times,
            finish_reason=finish_reason or self.finish_reason or "abort",
        )
        if not self.token_ids:
            # Tokens without a text (an answer that ends at once) arrive with the stream's end.
            if self.tokens and not self.times:
                self.times.append(self.ended)
            trace.text = "".join(self.texts)
            trace.chunks = spread_tokens(self.tokens, len(self.times))
            trace.totals = UNKNOWN
        return trace

    def totals_trace(self, *, every_step_drafts: bool) -> Trace:
        """The trace with what the server tells of the whole request, its steps unknown."""
        trace, told = self.trace(), self.told or Told()
        steps = told.totals.steps
        if steps is None and told.tokens_per_pass:
            steps = _whole_steps(self.tokens / told.tokens_per_pass)
        if steps is None and every_step_drafts:
            steps = told.drafting_steps
        trace.totals = replace(told.totals, steps=steps)
        return trace

    def step_trace(self, draft_length: int, *, every_step_drafts: bool) -> Trace:
        """The trace by decoding steps, for servers that tell (or need not tell) of each step.

        A server's chunks may merge steps. Where what it tells of the steps leaves one way to take
        the chunks apart, they are taken apart, merged steps at one time; otherwise the trace has
        totals only. The first token is the prefill's.

        Args:
            draft_length: 0 without speculation; then each token is a step of its own.
            every_step_drafts: no step goes without a draft (all methods but lookups).
        """
        trace, told = self.trace(), self.told
        if draft_length == 0:
            return _taken_apart(trace, [1] * trace.tokens)
        if told is None:
            return trace
        if told.drafted is None or told.accepted is None:
            return self.totals_trace(every_step_drafts=every_step_drafts)
        found = arrange(self.chunks, told.accepted, every_step_drafts=every_step_drafts)
        if found is None:
            raise EngineError(
                f"request {self.request.id}: the server says its steps accepted "
                f"{list(told.accepted)} draft tokens, but its stream brought chunks of "
                f"{self.chunks} tokens; these cannot belong together"
            )
        return self.arranged(found, told.drafted, told.accepted)

    def reconciled_trace(self, draft_length: int) -> Trace:
        """The trace of a server that tells the number of steps with the end, and streams one chunk
        a step unless its reader lags: by steps where the two agree, otherwise with totals.

        Args:
            draft_length: 0 without speculation; then each token is a step of its own.
        """
        trace = self.trace()
        if not draft_length:
            return _taken_apart(trace, [1] * trace.tokens)
        told = self.totals_trace(every_step_drafts=False).totals or UNKNOWN
        found = reconcile(trace.chunks, told, draft_length)
        trace.drafted, trace.accepted = found.drafted, found.accepted
        trace.totals = found.totals
        return trace

    def arranged(
        self, found: Arrangement, drafted: Sequence[int], accepted: Sequence[int]
    ) -> Trace:
        """The trace with its chunks cut or joined to steps, or with totals where that is open.

        ``drafted`` and ``accepted`` as in :class:`Told`; where ``found`` has no sizes, their sums
        are all that counts.
        """
        trace = self.trace()
        if found.sizes is None:
            trace.totals = RequestTotals(found.steps, sum(drafted), sum(accepted))
            return trace
        trace = _taken_apart(trace, found.sizes)
        trace.drafted, trace.accepted = list(drafted), list(accepted)
        return trace


def _whole_steps(passes: float) -> int | None:
    """Decoding steps of so many passes, the prefill's left out; a broken number tells nothing."""
    whole = round(passes)
    return max(0, whole - 1) if abs(passes - whole) < _BROKEN else None


def _taken_apart(trace: Trace, sizes: Sequence[int]) -> Trace:
    """``trace`` with events of ``sizes`` tokens; each at the time of the chunk that holds it."""
    times: list[float] = []
    ends: list[int] = []
    total = 0
    for chunk in trace.chunks:
        total += chunk
        ends.append(total)
    chunk, done = 0, 0
    for size in sizes:
        done += size
        while ends[chunk] < done:
            chunk += 1
        times.append(trace.times[chunk])
    trace.chunks, trace.times = list(sizes), times
    return trace
