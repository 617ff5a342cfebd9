"""The answer to one request: what its stream delivered, and the trace built from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_speedbench.engines.finish import read_finish
from pytest_speedbench.engines.protocol import (
    FinishReason,
    Request,
    RequestTotals,
    Trace,
    spread_tokens,
)
from pytest_speedbench.engines.reconcile import reconcile
from pytest_speedbench.engines.serving.failures import AnswerFailed
from pytest_speedbench.engines.serving.pieces import UNKNOWN, Piece, SpeculationReport, TokenCounts
from pytest_speedbench.engines.serving.steps import (
    Arrangement,
    arrange,
    reported_steps,
    split_into_steps,
)
from pytest_speedbench.errors import UNUSABLE_COUNTS, EngineError

UNKNOWN_ID = -1
"""Stands for a token id that the server withholds, until the dialect has found it."""
# Beyond one for each token: a chunk that a parser cut in two, and the rest of a text at the end.
_SPARE_CHUNKS = 16
# Tokens whose text may come in two chunks: around reasoning, and at the end.
_SPLIT_TOKENS = 4
# Tokens that open and close reasoning, and the one that ends the output.
_MARKERS = 8
# The longest prompt that a server may add of its own: a system prompt, definitions of tools.
_TEMPLATE_TOKENS = 1 << 16
# The longest tokens of any vocabulary have some hundred bytes.
_BYTES_PER_TOKEN = 1024


@dataclass(slots=True)
class Answer:
    """All pieces of one request. Times are :func:`time.perf_counter` seconds.

    Attributes:
        submitted: when the request left.
        token_ids: shape (tokens,); empty where the server sends no ids.
        chunks: shape (arrivals,), tokens of each; 0 if no ids came with it.
        times: shape (arrivals,), when each arrived.
        texts: the answer alone, piece by piece.
        reasoning: what came before the answer, piece by piece.
        has_other_output: whether there was output of another kind, such as a call of a tool.
        size: bytes of all text.
        withheld: tokens that came without ids, although others had some.
        finish_reason: why the output ended; None while it goes on.
        failure: why the server broke the answer off; empty where it did not.
        counted, prompt_tokens, cached_tokens, reasoning_tokens: the server's counts, as in
            :class:`TokenCounts`, ``counted`` that of the output.
        cut: whether the client ended the stream at a stop token that the server does not know.
        report: what the server reports of the request's speculation.
        ended: when the last piece arrived.
        progress: grows with every piece that brings the request forward.
        notes: shape (arrivals,), the dialect's own data of each.
    """

    request: Request
    submitted: float
    token_ids: list[int] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    has_other_output: bool = False
    size: int = 0
    withheld: int = 0
    finish_reason: FinishReason | None = None
    failure: str = ""
    counted: int | None = None
    cut: bool = False
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int = 0
    report: SpeculationReport | None = None
    ended: float = 0.0
    progress: int = 0
    notes: list[Any] = field(default_factory=list)

    def on_sent(self) -> None:
        """The request leaves now: not when its turn came, as many connections may be opened at
        once."""
        self.submitted = time.perf_counter()

    def add(self, piece: Piece, now: float) -> None:
        """Adds a piece. Empty ones (a role, a finish, the usage) are not chunks.

        Raises:
            EngineError: more output than ``max_tokens`` allows, or a count that cannot be.
        """
        ids = piece.token_ids
        if piece.count is not None:
            self._check_count(piece.count)  # before as many placeholders are allocated
            ids = [*[UNKNOWN_ID] * self._withheld(piece.count, len(ids)), *ids]
        shows_output = piece.shows_output
        if ids or (shows_output and not self.token_ids):
            self.token_ids.extend(ids)
            self.chunks.append(len(ids))
            self.times.append(now)
            self.notes.append(piece.note)
            self.progress += 1
        if shows_output:
            self._add_text(piece)
        self._check_length()
        if piece.finish_reason is not None:
            self._add_finish(piece.finish_reason)
        self.ended = now
        if piece.usage is not None:
            self._add_counts(piece.usage)
        if piece.report is not None:
            self._add_report(piece.report)

    def _withheld(self, count: int, arrived: int) -> int:
        """Tokens before the ``arrived`` ones that the server counts and does not send."""
        withheld = count - len(self.token_ids) - arrived
        if withheld < 0:
            raise self._unusable(
                f"the server counts {count} output tokens, but sent {count - withheld}"
            )
        return withheld

    def _add_report(self, report: SpeculationReport) -> None:
        """The latest one counts: some servers repeat it with every event."""
        if self.report is not None and report.falls_below(self.report):
            raise self._unusable("the server's counts of its drafts fell during the answer")
        self.report = report

    def _add_finish(self, reason: object) -> None:
        """An answer that was broken off stays so, whatever reason follows."""
        if not self.failure and (finish := read_finish(reason)):
            self.progress += self.finish_reason is None
            self.finish_reason, self.failure = finish.reason, finish.failure

    def _add_text(self, piece: Piece) -> None:
        if text := piece.text:
            self.texts.append(text)
            self.size += len(text.encode())
        if reasoning := piece.reasoning:
            self.reasoning.append(reasoning)
            self.size += len(reasoning.encode())
        self.has_other_output |= piece.other

    def _add_counts(self, counts: TokenCounts) -> None:
        if counts.output is not None:
            self._add_output_count(counts.output)
        if counts.prompt:
            self._check_prompt(counts.prompt)
            self.prompt_tokens = counts.prompt
        if counts.cached is not None:
            self.cached_tokens = counts.cached
        self.reasoning_tokens = max(self.reasoning_tokens, counts.reasoning or 0)

    def _add_output_count(self, count: int) -> None:
        """The server's count of output tokens, which some repeat with every event."""
        self._check_count(count)
        if count < (self.counted or 0):
            raise self._unusable(
                f"the server's count of output tokens fell from {self.counted} to {count} "
                "(usage.completion_tokens)"
            )
        self.progress += count != self.counted
        self.counted = count

    def _check_prompt(self, prompt: int) -> None:
        if self.prompt_tokens == prompt:  # repeated with every event
            return
        if self.prompt_tokens is not None:
            raise self._unusable(
                f"the server's count of prompt tokens changed from {self.prompt_tokens} to "
                f"{prompt} (usage.prompt_tokens)"
            )
        size = len(self.request.prompt_ids) + sum(len(t.encode()) for _, t in self.request.messages)
        if prompt > size + _TEMPLATE_TOKENS:
            raise self._unusable(
                f"the server counts {prompt} prompt tokens (usage.prompt_tokens) of a prompt of "
                f"{size} bytes"
            )

    def _unusable(self, what: str) -> EngineError:
        return EngineError(f"request {self.request.id}: {what}; {UNUSABLE_COUNTS}")

    def end_at_stop(self) -> None:
        """Ends the answer at a stop token that the server does not know."""
        self.finish_reason, self.cut = "stop", True

    def forget_ids(self) -> None:
        """Leaves only times, text and the server's counts, where ids were sent of some tokens
        alone."""
        self.withheld = (self.counted or 0) - len(self.token_ids)
        self.token_ids = []

    @property
    def hidden(self) -> int:
        """Tokens, at least, that are counted and of which nothing was sent: a parser of reasoning
        hides them. A text has no more tokens than bytes; a few markers are never sent."""
        if self.token_ids:
            return 0
        if self.reasoning_tokens and not (self.reasoning or self.has_other_output):
            found = self.reasoning_tokens
        else:
            found = 0 if self.has_other_output else (self.counted or 0) - self.size
        found = max(found, self.withheld)
        return found if found > _MARKERS else 0

    @property
    def tokens(self) -> int:
        """Known output tokens so far."""
        return len(self.token_ids) or self.counted or 0

    @property
    def at_stop(self) -> bool:
        """Whether the last token is one of those that end the output."""
        if self.request.sampling.ignore_eos or not self.token_ids:
            return False
        return self.token_ids[-1] in self.request.stop_ids

    def check_end(self) -> None:
        """Checks that the stream came to its end.

        Raises:
            AnswerFailed: it has no finish reason.
        """
        if self.finish_reason is None:
            raise AnswerFailed(
                f"request {self.request.id}: the server ended the stream early, after "
                f"{len(self.chunks)} chunks and without a finish reason; see its own log, then run "
                "again",
                "no finish reason",
            )

    def check_counts(self) -> None:
        """Checks that all tokens were received that the server counts.

        Raises:
            EngineError: they were not.
        """
        if self.counted is None and not self.token_ids:
            raise EngineError(
                f"request {self.request.id}: the server neither sends token ids nor counts tokens "
                "(its stream has no usage, although stream_options.include_usage was set), so "
                "nothing can be measured: use a server or a version that does"
            )
        if not self.token_ids and len(self.chunks) > self._most_chunks:
            raise self._unusable(
                f"the server counts {self.counted} output tokens (usage.completion_tokens), but "
                f"sent output in {len(self.chunks)} chunks"
            )
        if self.token_ids and self.counted is not None and self.counted != len(self.token_ids):
            raise EngineError(
                f"request {self.request.id}: the server counts {self.counted} output tokens, but "
                f"its stream contained {len(self.token_ids)}; a proxy or a filter may drop events: "
                "connect to the engine directly"
            )

    @property
    def _most_chunks(self) -> int:
        """A chunk of text is at least one token, but for a few that a parser splits; what else is
        output, such as the call of a tool, may come in smaller parts."""
        counted = self.counted or 0
        return 2 * counted if self.has_other_output else counted + min(counted, _SPLIT_TOKENS)

    def _check_count(self, count: int) -> None:
        most = self.request.sampling.max_tokens
        if count > most:
            raise self._unusable(
                f"the server counts {count} output tokens, more than max_tokens={most}"
            )

    def _check_length(self) -> None:
        """A server that goes on past ``max_tokens`` would never come to an end."""
        most = self.request.sampling.max_tokens
        if len(self.token_ids) > most:
            what = f"{len(self.token_ids)} output tokens"
        elif len(self.chunks) > 2 * most + _SPARE_CHUNKS:
            what = f"output in {len(self.chunks)} chunks"
        elif self.size > _BYTES_PER_TOKEN * (most + _SPARE_CHUNKS):
            what = f"{self.size} bytes of text"
        else:
            return
        raise EngineError(
            f"request {self.request.id}: the server sent {what}, more than max_tokens={most} "
            "allows, and was stopped: it ignores max_tokens; use another version, or a proxy that "
            "passes max_tokens on"
        )

    def trace(self, finish_reason: FinishReason | None = None) -> Trace:
        """The trace as it arrived, chunk by chunk; ``finish_reason`` overrides the server's."""
        trace = Trace(
            self.request.id,
            self.prompt_tokens or len(self.request.prompt_ids),
            self.submitted,
            self.token_ids,
            self.chunks,
            self.times,
            finish_reason=finish_reason or self.finish_reason or "abort",
            failure=self.failure,
            cached_tokens=self.cached_tokens,
        )
        if not self.token_ids:
            # Tokens without text (an answer that ends at once) arrive with the end of the stream.
            if self.tokens and not self.times:
                self.times.append(self.ended)
            trace.text, trace.reasoning = "".join(self.texts), "".join(self.reasoning)
            trace.hidden_tokens = self.hidden
            trace.chunks = spread_tokens(self.tokens - self.hidden, len(self.times))
            if self.hidden:  # they came before the first text
                trace.chunks[0] += self.hidden
            trace.totals = UNKNOWN
        return trace

    def totals_trace(self, *, every_step_drafts: bool) -> Trace:
        """The trace with the server's totals of the request; its steps are unknown."""
        trace, report = self.trace(), self.report or SpeculationReport()
        steps = reported_steps(
            report, self.tokens, len(self.times), every_step_drafts=every_step_drafts
        )
        trace.totals = replace(report.totals, steps=steps)
        return trace

    def step_trace(self, draft_length: int, *, every_step_drafts: bool) -> Trace:
        """The trace by decoding steps, for servers that report each step.

        A chunk may hold several steps. If the reported steps fit the chunks in only one way, the
        chunks are split into steps, which then share the time of their chunk; otherwise the trace
        has totals only. The first token is the prefill's.

        Args:
            draft_length: 0 without speculation; then every token is one step.
            every_step_drafts: whether every step usually has a draft (not so for lookup methods);
                steps without one are assumed only if the chunks show them.
        """
        trace, report = self.trace(), self.report
        if draft_length == 0:
            return split_into_steps(trace, [1] * trace.tokens)
        if report is None:
            return trace
        if report.drafted is None or report.accepted is None:
            return self.totals_trace(every_step_drafts=every_step_drafts)
        found = None
        for every in dict.fromkeys((every_step_drafts, False)):
            found = found or arrange(self.chunks, report.accepted, every_step_drafts=every)
        if found is None:
            raise EngineError(
                f"request {self.request.id}: the server reports {list(report.accepted)} accepted "
                f"draft tokens per step, which does not fit the chunks of its stream, "
                f"{self.chunks} tokens"
            )
        return self.arranged(found, report.drafted, report.accepted)

    def reconciled_trace(self, draft_length: int) -> Trace:
        """The trace of a server that streams one chunk per step, unless the client reads too
        slowly, and reports the number of steps at the end: by steps if the two agree, otherwise
        with totals.

        Args:
            draft_length: 0 without speculation; then every token is one step.
        """
        trace = self.trace()
        if not draft_length:
            return split_into_steps(trace, [1] * trace.tokens)
        totals = self.totals_trace(every_step_drafts=False).totals or UNKNOWN
        found = reconcile(trace.chunks, totals, draft_length)
        trace.drafted, trace.accepted = found.drafted, found.accepted
        trace.totals, trace.steps_proven = found.totals, found.steps_proven
        return trace

    def arranged(
        self, found: Arrangement, drafted: Sequence[int], accepted: Sequence[int]
    ) -> Trace:
        """The trace by the steps of ``found``, or with totals if it has no sizes.

        ``drafted`` and ``accepted`` as in :class:`SpeculationReport`; without sizes only their sums
        are used.
        """
        trace = self.trace()
        if found.sizes is None:
            trace.totals = RequestTotals(found.steps, sum(drafted), sum(accepted))
            return trace
        trace = split_into_steps(trace, found.sizes)
        trace.drafted, trace.accepted = list(drafted), list(accepted)
        return trace
