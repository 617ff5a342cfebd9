"""The load: samples in, traces out, a fixed number of requests in flight (closed loop)."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import uuid4

from pytest_speedbench.engines.protocol import (
    Counters,
    Engine,
    EngineInfo,
    EngineType,
    PromptForm,
    Request,
    Sampling,
    Speculation,
    Trace,
)
from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.failures import FailureLimit
from pytest_speedbench.measure.heap import frozen_heap
from pytest_speedbench.measure.results import Turn
from pytest_speedbench.measure.tokenizer import Message, Tokenizer
from pytest_speedbench.splits import Sample

COLLECT_SECONDS = 0.5
"""How long to wait for traces before the progress display is updated."""

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""(samples finished, samples) — for display."""
Enough = Callable[[str, Sequence["Turn"]], bool]
"""(sample, its turns), when it is through → whether no further sample need be sent."""


@dataclass(slots=True)
class _Conversation:
    """The turns of one sample so far.

    ``prompt_ids`` is the prompt in flight, ``copy`` how often the sample was sent before,
    ``unsent`` the number of turns that do not fit the context window.
    """

    sample: Sample
    messages: list[Message] = field(default_factory=list)
    turn: int = 0
    turns: list[Turn] = field(default_factory=list)
    prompt_ids: Sequence[int] = ()
    copy: int = 0
    unsent: int = 0


@dataclass(frozen=True, slots=True)
class Reported:
    """How an engine reports acceptance: of each request (``counts``) or by its lifetime counters
    alone; and in which form it takes prompts."""

    counts: bool = True
    prompt_form: PromptForm = "token_ids"

    @classmethod
    def of(cls, adapter: EngineType, info: EngineInfo) -> Reported:
        """What a started engine reports; its own ``info`` overrules its type."""
        own = info.request_counts
        return cls(adapter.request_counts if own is None else own, adapter.prompt_form)


@dataclass
class Meter:
    """Requests that came to their end, and their output tokens."""

    requests: int = 0
    tokens: int = 0

    def add(self, trace: Trace) -> None:
        self.requests += 1
        self.tokens += trace.tokens


class ClosedLoop:
    """Sends samples to one engine and holds ``batch_size`` requests in flight.

    Prompts are rendered and tokenized here, so that every engine sees the same token ids; servers
    that take none get the messages. Later turns of a conversation carry the model's own answers as
    history, in the server's own text where it gives that, and go before samples that have not
    begun. A conversation that outgrows the context window ends there.

    ``uncached`` keeps every request from the engine's prefix cache. ``reported`` is what the engine
    reports of a request; ``max_failed`` the share of answers that it may break off. ``meter``
    counts what comes back. ``grown`` holds, by request, the growth of the engine's counters while
    it alone was in flight: at BS 1 of an engine that reports no more.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        sampling: Sampling,
        speculation: Speculation,
        context_window: int,
        reported: Reported = Reported(),
        max_failed: float = 0.0,
        meter: Meter | None = None,
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.sampling = sampling
        self.speculation = speculation
        self.longest_prompt = context_window - sampling.max_tokens
        self.reported = reported
        self.max_failed = max_failed
        self.meter = meter or Meter()
        self.uncached = False
        self.grown: dict[str, Counters] = {}
        self._runs = 0

    @frozen_heap()
    def run(
        self,
        samples: Sequence[Sample],
        batch_size: int,
        progress: Progress = lambda done, total: None,
        enough: Enough | None = None,
        limit: FailureLimit | None = None,
    ) -> list[Turn]:
        """All turns of ``samples``, in the order in which they finished.

        A sample may stand among them more than once: each time is a request of its own. With
        ``enough`` a sample is sent only when another one is through, until there is enough; those
        then in flight still come to their end.

        Raises:
            EngineDied: the engine ended or fell silent.
            EngineError: a prompt does not fit the context window, or more answers are broken off
                than ``limit`` allows.
        """
        self._runs += 1
        self.grown.clear()
        self.engine.hold(batch_size)
        waiting = self._first_requests(samples)
        open_turns: dict[str, _Conversation] = {}
        reader = _Reader.of(self, batch_size)
        at_once = len(waiting) if enough is None and reader is None else batch_size
        self._send(waiting, at_once, open_turns)
        turns: list[Turn] = []
        finished = 0
        while open_turns:
            for trace in self.engine.collect(COLLECT_SECONDS):
                if reader is not None and (grown := reader.growth()) is not None:
                    self.grown[trace.request_id] = grown
                conversation = answered(open_turns, trace)
                sample = conversation.sample
                turns.append(_turn(conversation, trace))
                self.meter.add(trace)
                if limit is not None:
                    limit.add(turns[-1])
                conversation.turns.append(turns[-1])
                follow_up = self._follow_up(conversation, trace)
                if follow_up is not None:
                    open_turns[follow_up.id] = conversation
                    self.engine.submit([follow_up], first=True)
                    continue
                turns[-1] = replace(turns[-1], unsent=conversation.unsent)
                finished += 1
                if enough is not None and enough(sample.id, conversation.turns):
                    waiting.clear()
                self._send(waiting, 1, open_turns)
            progress(finished, len(samples))
        return turns

    def _first_requests(self, samples: Sequence[Sample]) -> deque[tuple[Request, _Conversation]]:
        """The request that begins the conversation of each sample.

        Raises:
            EngineError: a prompt does not fit the context window.
        """
        requests: deque[tuple[Request, _Conversation]] = deque()
        copies: Counter[str] = Counter()
        for sample in samples:
            conversation = _Conversation(sample, list(sample.messages()), copy=copies[sample.id])
            copies[sample.id] += 1
            request = self._request(conversation)
            if request is None:
                raise EngineError(self._too_long(sample))
            requests.append((request, conversation))
        return requests

    def _send(
        self,
        waiting: deque[tuple[Request, _Conversation]],
        count: int,
        open_turns: dict[str, _Conversation],
    ) -> None:
        chosen = [waiting.popleft() for _ in range(min(count, len(waiting)))]
        open_turns.update((request.id, conversation) for request, conversation in chosen)
        if chosen:
            self.engine.submit([request for request, _ in chosen])

    def _follow_up(self, conversation: _Conversation, trace: Trace) -> Request | None:
        sample = conversation.sample
        if conversation.turn + 1 >= len(sample.turns) or not conversation.turns[-1].complete:
            return None
        conversation.turn += 1
        conversation.messages += [
            {"role": "assistant", "content": self._answer(trace)},
            {"role": "user", "content": sample.turns[conversation.turn]},
        ]
        request = self._request(conversation)
        if request is None:
            conversation.unsent = len(sample.turns) - conversation.turn
        return request

    def _answer(self, trace: Trace) -> str:
        if trace.text is not None:
            return trace.text
        if trace.tokens and not trace.token_ids:
            raise EngineError(
                f"request {trace.request_id}: the engine gave neither token ids nor text, so the "
                "conversation cannot go on; use samples with one turn"
            )
        return self.tokenizer.decode(trace.token_ids)

    def _request(self, conversation: _Conversation) -> Request | None:
        sample = conversation.sample
        if sample.token_ids and self.reported.prompt_form == "chat":
            raise EngineError(
                f"sample {sample.id!r} is a list of token ids, and the server takes only text: "
                "choose a split of text"
            )
        ids = sample.token_ids or self.tokenizer.render(conversation.messages)
        if len(ids) > self.longest_prompt:
            return None
        conversation.prompt_ids = array("I", ids)  # four bytes a token, kept with the trace
        return Request(
            f"{self._runs}/{sample.id}/{conversation.turn}/{conversation.copy}",
            tuple(ids),
            self.sampling,
            self.tokenizer.stop_ids,
            self.speculation,
            sample.category,
            ()
            if sample.token_ids
            else tuple((m["role"], m["content"]) for m in conversation.messages),
            tuple(self.tokenizer.template_kwargs.items()),
            cache_salt=uuid4().hex if self.uncached else "",
        )

    def _too_long(self, sample: Sample) -> str:
        length = len(sample.token_ids or self.tokenizer.render(sample.messages()))
        return (
            f"sample {sample.id!r} has {length} prompt tokens; with --speed-max-tokens "
            f"{self.sampling.max_tokens} at most {max(0, self.longest_prompt)} fit the context "
            "window: lower --speed-max-tokens, choose another split, or a model with a longer "
            "context"
        )


def answered(in_flight: dict[str, T], trace: Trace) -> T:
    """Takes out what ``trace`` answers.

    Raises:
        EngineError: nothing that is in flight.
    """
    if trace.request_id not in in_flight:
        raise EngineError(
            f"the engine answered request {trace.request_id!r}, which is not in flight: its "
            "adapter gave an answer twice, or one that an earlier load had asked for"
        )
    return in_flight.pop(trace.request_id)


def _turn(conversation: _Conversation, trace: Trace) -> Turn:
    sample = conversation.sample
    return Turn(
        sample.id,
        sample.category,
        conversation.turn,
        trace,
        conversation.prompt_ids,
        conversation.copy,
    )


@dataclass(slots=True)
class _Reader:
    """Reads the engine's counters around every request of a load that has one in flight."""

    engine: Engine
    last: Counters | None

    @classmethod
    def of(cls, loop: ClosedLoop, batch_size: int) -> _Reader | None:
        """None where requests report for themselves, overlap, or nothing is counted."""
        if loop.reported.counts or batch_size > 1:
            return None
        counters = loop.engine.counters()
        return None if counters is None else cls(loop.engine, counters)

    def growth(self) -> Counters | None:
        """What the counters grew by since the last reading; None once they are not available."""
        before, self.last = self.last, self.engine.counters()
        return None if before is None or self.last is None else self.last - before
