"""How one family of servers is spoken to: what an adapter adds to the shared client.

An adapter for a server is a subclass of :class:`Dialect` (what to send, how to read what comes
back), and for servers of our own making a command for :class:`~.process.ServerProcess`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_speedbench.engines.protocol import (
    Counters,
    EngineConfig,
    EngineInfo,
    FinishReason,
    Request,
    TokenScore,
    Trace,
)
from pytest_speedbench.engines.serving.answer import Answer, Piece, Told
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.metrics import MetricNames, Reading
from pytest_speedbench.errors import EngineError

# The reasons of OpenAI's API and of the engines that add to it.
_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "limit": "length",
    "abort": "abort",
}


class Dialect(ABC):
    """OpenAI's completions with a list of token ids as prompt; a subclass overrides what differs.

    ``path`` takes the requests, ``health`` answers 200 when the server is ready (empty: it has no
    such page), ``metrics_path`` is its Prometheus page (empty: none) and ``metrics`` its names
    there. ``model`` is the name that goes into every request; :meth:`connect` may set it to what
    the server calls its model. ``cuts`` says that the server knows no stop tokens but its model's
    own: the client ends the output at the others. ``reuses_connections`` says that it keeps a
    connection open after a stream, if it promises to.
    """

    path: str = "/v1/completions"
    health: str = "/health"
    metrics_path: str = "/metrics"
    metrics: MetricNames = MetricNames()
    cuts: bool = False
    reuses_connections: bool = True

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.model = str(config.option("served_model_name") or config.model)

    @property
    def draft_length(self) -> int:
        return self.config.speculation.draft_length

    # -- at the start -------------------------------------------------------------------------

    @abstractmethod
    def connect(self, http: Http) -> EngineInfo:
        """Asks the healthy server what it is (version, model, settings).

        Raises:
            EngineError: it is not what the case asks for, say another model, or one without SD.
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
        if not sampling.greedy:
            body["seed"] = sampling.seed
        return body

    def read(self, event: Mapping[str, Any]) -> Piece:
        """What one event of the stream carries. Called for every event: keep it cheap."""
        choices = event.get("choices")
        piece = self.read_choice(choices[0]) if choices else Piece()
        usage = event.get("usage")
        if usage:
            piece.usage = usage.get("completion_tokens")
            piece.prompt_tokens = usage.get("prompt_tokens")
        return piece

    def read_choice(self, choice: Mapping[str, Any]) -> Piece:
        """What ``choices[0]`` of an event carries."""
        return Piece(
            choice.get("token_ids") or (),
            choice.get("text") or "",
            finish_reason(choice.get("finish_reason")),
        )

    async def complete(self, http: Http, answer: Answer) -> int:
        """Asks for what the stream of an answer has withheld; how many output tokens that cost."""
        return 0

    @abstractmethod
    def trace(self, answer: Answer) -> Trace:
        """The trace of a complete answer: by steps, or with totals.

        Raises:
            EngineError: what the server tells of it contradicts itself.
        """

    def check_report(self, told: Told | None) -> None:
        """A server that runs already drafts as it was started, whatever the case says.

        Raises:
            EngineError: another draft length, or drafts where there should be none.
        """
        if told is None:
            return
        mine, theirs = self.draft_length, told.draft_length
        if not mine and (theirs or told.totals.draft_tokens):
            raise EngineError(
                "the server speculates, but this case is without SD: name its method and draft "
                "length, --speed-method METHOD --speed-dl N, or give a server without SD"
            )
        if mine and theirs and theirs != mine:
            raise EngineError(
                f"the server drafts {theirs} tokens a step, this case says dl={mine}: "
                f"--speed-dl {theirs}, or start the server with {mine}"
            )

    def counters(self, reading: Reading) -> Counters | None:
        """Lifetime totals of a look at the metrics page; None where it lacks one of the three."""
        return reading.counters

    # -- teacher forcing ----------------------------------------------------------------------

    def score(
        self, http: Http, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> tuple[TokenScore, int]:
        """See :meth:`~.protocol.Engine.score`, and how many output tokens that has cost; only
        where the adapter says ``scores=True``."""
        raise EngineError(f"engine {self.config.engine} cannot score tokens")


def finish_reason(word: object) -> FinishReason | None:
    """Our word for a server's ``finish_reason``; None while it goes on."""
    return None if word is None else _REASONS.get(str(word), "stop")
