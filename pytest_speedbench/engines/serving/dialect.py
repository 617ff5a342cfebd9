"""The protocol of one family of servers: what an adapter adds to the shared client.

An adapter for a server is a subclass of :class:`Dialect` (what to send, how to read the responses),
and for servers that can be started here a command for :class:`~.process.ServerProcess`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pytest_speedbench.engines.protocol import (
    Counters,
    EngineConfig,
    EngineInfo,
    Request,
    TokenScore,
    Trace,
)
from pytest_speedbench.engines.serving.answer import Answer
from pytest_speedbench.engines.serving.deltas import read_completion_choice
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.metrics import MetricNames, Reading
from pytest_speedbench.engines.serving.pieces import Piece, SpeculationReport, TokenCounts
from pytest_speedbench.engines.serving.readers import read_nothing
from pytest_speedbench.engines.serving.schema import Choice, Event, read_event
from pytest_speedbench.errors import EngineError


class Dialect(ABC):
    """OpenAI's completions with a list of token ids as prompt; a subclass overrides what differs.

    ``path`` takes the requests, ``health`` returns 200 when the server is ready (empty: it has no
    such endpoint), ``metrics_path`` is its Prometheus page (empty: none) and ``metrics`` the names
    there. ``model`` is the model name in every request; :meth:`connect` may set it to
    the server's name of the model. ``cuts``: the server knows only the stop tokens of its model, so
    the client ends the output at others. ``reuses_connections``: the server keeps a connection open
    after a stream. ``probes``: :meth:`connect` has the server answer a request. ``read_choice``
    gives the content of ``choices[0]`` of an event, ``read_report`` what an event reports of the
    request's speculation.
    """

    path: str = "/v1/completions"
    health: str = "/health"
    metrics_path: str = "/metrics"
    metrics: MetricNames = MetricNames()
    cuts: bool = False
    reuses_connections: bool = True
    probes: bool = False
    read_choice: Callable[[Choice], Piece] = staticmethod(read_completion_choice)
    read_report: Callable[[Event], SpeculationReport | None] = staticmethod(read_nothing)

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.model = str(config.option("served_model_name") or config.model)

    @property
    def draft_length(self) -> int:
        return self.config.speculation.draft_length

    # -- at the start -------------------------------------------------------------------------

    @abstractmethod
    def connect(self, http: Http) -> EngineInfo:
        """Reads version, model and settings of the server, which is ready.

        Raises:
            EngineError: the server does not fit the case, such as another model, or no SD.
        """

    # -- one request --------------------------------------------------------------------------

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON of one streaming request."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": list(request.prompt_ids),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if not sampling.greedy:  # a server may have another default of top_p, from the checkpoint
            body |= {"seed": sampling.seed, "top_p": sampling.top_p, **sampling.filters}
        return body

    def parse(self, data: bytes) -> Piece:
        """The content of one event of the stream. Called for every event: keep it cheap.

        Raises:
            ValueError: not an event of this API; pydantic's errors are among them.
        """
        return self.read(read_event(data))

    def read(self, event: Event) -> Piece:
        """The content of one event of OpenAI's API."""
        choices = event.get("choices")
        piece = self.read_choice(choices[0]) if choices else Piece()
        piece.report = self.read_report(event)
        if (usage := event.get("usage")) is not None:
            prompt, output = usage.prompt_tokens_details, usage.completion_tokens_details
            piece.usage = TokenCounts(
                usage.completion_tokens,
                usage.prompt_tokens,
                prompt.cached_tokens if prompt else None,
                output.reasoning_tokens if output else None,
            )
        return piece

    async def complete(self, http: Http, answer: Answer) -> int:
        """Requests what the stream withheld; returns the output tokens that this generated."""
        return 0

    @abstractmethod
    def trace(self, answer: Answer) -> Trace:
        """The trace of a complete answer: by steps, or with totals.

        Raises:
            EngineError: what the server reports contradicts itself.
        """

    def check_report(self, report: SpeculationReport | None) -> None:
        """Checks that a joined server speculates as the case says.

        Raises:
            EngineError: another draft length, more accepted in a step than it allows, or drafts in
                a case without SD.
        """
        if report is None:
            return
        mine, theirs = self.draft_length, report.draft_length
        if not mine:
            self.check_drafts(theirs, report.totals.draft_tokens)
        if mine and theirs and theirs != mine:
            raise EngineError(
                f"the server drafts {theirs} tokens per step, this case has dl={mine}: "
                f"use --speed-dl {theirs}, or start the server with {mine}"
            )
        if mine and (taken := max(report.accepted or (), default=0)) > mine:
            raise EngineError(
                f"the server says that a step accepted {taken} draft tokens, and at dl={mine} at "
                f"most {mine} can be: give the server's own draft length with --speed-dl, or use "
                "another version of the server"
            )

    def check_drafts(self, *counts: int | None) -> None:
        """Checks that nothing was drafted in a case without SD, by any of the server's ``counts``.

        Raises:
            EngineError: it was.
        """
        if any(counts) and not self.config.speculation.active:
            raise EngineError(
                "the server speculates, but this case or arm is without SD: set its method and "
                "draft length, --speed-method METHOD --speed-dl N, or use a server without SD, for "
                "an arm --speed-engine-arg reference_url=URL"
            )

    def without_tree_nodes(self, report: SpeculationReport | None) -> SpeculationReport | None:
        """``report`` without draft tokens if they are nodes of a tree, most of which can never be
        accepted: more per step than the draft length."""
        if report is None or report.totals.draft_tokens is None:
            return report
        steps = report.totals.steps or report.drafting_steps
        if not steps or report.totals.draft_tokens <= self.draft_length * steps:
            return report
        return replace(report, totals=replace(report.totals, draft_tokens=None))

    def counters(self, reading: Reading) -> Counters | None:
        """Lifetime totals from the metrics page; None if draft or accepted tokens are missing."""
        return reading.counters

    # -- teacher forcing ----------------------------------------------------------------------

    def score(
        self, http: Http, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> tuple[TokenScore, int]:
        """See :meth:`~.protocol.Engine.score`, and the number of output tokens it generated;
        called only if the adapter declares ``scores=True``."""
        raise EngineError(f"engine {self.config.engine} cannot score tokens")
