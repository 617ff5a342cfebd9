"""The protocol of llama.cpp's server: ``/completion`` with token ids, totals with every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_speedbench.engines.llama_cpp import next_token
from pytest_speedbench.engines.llama_cpp.files import tokenizer_source
from pytest_speedbench.engines.llama_cpp.server import (
    drafts_fully,
    find_server,
    keeps_drafts,
    spec_type,
)
from pytest_speedbench.engines.llama_cpp.steps import Mark, read_steps
from pytest_speedbench.engines.llama_cpp.vocabulary import check_vocabulary
from pytest_speedbench.engines.llama_cpp.withheld_tokens import fill
from pytest_speedbench.engines.protocol import (
    UNKNOWN_METHOD,
    EngineConfig,
    EngineInfo,
    Request,
    TokenScore,
    Trace,
)
from pytest_speedbench.engines.serving.answer import Answer
from pytest_speedbench.engines.serving.dialect import Dialect
from pytest_speedbench.engines.serving.failures import RequestRefused
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.metrics import LLAMA_CPP
from pytest_speedbench.engines.serving.models import PATH as MODELS
from pytest_speedbench.engines.serving.pieces import Piece, TokenCounts
from pytest_speedbench.engines.serving.schema import (
    CardMeta,
    CompletionEvent,
    GenerationSettings,
    ModelList,
    NextTokens,
    Properties,
    Slot,
)
from pytest_speedbench.engines.serving.steps import Arrangement
from pytest_speedbench.errors import EngineError

_SOME, _ALL = 200, 1 << 20


@dataclass(frozen=True, slots=True)
class Note:
    """The totals and the text of an event, kept with its chunk."""

    mark: Mark
    text: str


class LlamaCppDialect(Dialect):
    """``llama-server``, and packages that contain the same server."""

    path = next_token.PATH
    metrics = LLAMA_CPP
    cuts = True
    # It announces keep-alive, but closes the connection after every stream.
    reuses_connections = False

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.plain = 0
        """A token that is an ordinary word; set by :meth:`connect`."""

    # -- at the start -------------------------------------------------------------------------

    def connect(self, http: Http) -> EngineInfo:
        properties = http.get("/props", Properties)
        self._check_slots(http, properties)
        cards = http.get(MODELS, ModelList).data
        meta = (cards[0].meta if cards else None) or CardMeta()
        self.plain = check_vocabulary(http, tokenizer_source(self.config), meta.n_vocab)
        own = None if self.config.url else find_server(self.config)
        settings = properties.default_generation_settings or GenerationSettings()
        return EngineInfo(
            engine="llama-cpp",
            version=own.version() if own else properties.build_info or "unknown",
            device=own.device() if own else "unknown",
            dtype=properties.model_ftype or meta.ftype or "unknown",
            details={
                "joined": own is None,
                "server": own.name if own else http.address.url,
                "model_path": properties.model_path,
                "slots": properties.total_slots,
                "max_model_len": settings.n_ctx,  # of one request: prompt and output together
                "speculative_method": self.config.speculation.method if own else UNKNOWN_METHOD,
                "shared_draft_pool": keeps_drafts(self.config),
                "prefix_caching": self.config.prefix_caching,  # by each request
                **_own_settings(self.config, settings, started=own is not None),
            },
        )

    def _check_slots(self, http: Http, properties: Properties) -> None:
        slots = properties.total_slots
        if slots is not None and slots < self.config.max_batch:
            raise EngineError(
                f"the server at {http.address.url} has {slots} slots, which is fewer than the "
                f"batch size of {self.config.max_batch}: start it with --parallel "
                f"{self.config.max_batch}, or lower --speed-bs"
            )
        found = http.find("/slots", list[Slot])
        if not found:  # switched off in the server
            return
        speculates = found[0].speculative
        if speculates != self.config.speculation.active:
            does = "speculates" if speculates else "does not speculate"
            raise EngineError(
                f"the server at {http.address.url} {does}, but the case needs "
                f"{self.config.speculation}: start it with --spec-type {spec_type(self.config)}; "
                "the arm without SD needs a second server, --speed-engine-arg reference_url=URL"
            )

    # -- one request --------------------------------------------------------------------------

    def body(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        endless = sampling.ignore_eos or sampling.min_tokens >= sampling.max_tokens
        if sampling.min_tokens and not endless:
            raise RequestRefused(
                "llama.cpp's server supports min_tokens only if it equals max_tokens: leave it "
                "out, or use ignore_eos"
            )
        return {
            "prompt": list(request.prompt_ids),
            "n_predict": sampling.max_tokens,
            "temperature": sampling.temperature,
            # No others, which the server applies by default.
            "samplers": ["temperature", *sampling.filters],
            **sampling.filters,
            "seed": sampling.seed,
            "ignore_eos": endless,
            # A slot keeps the prompt that it had last; there is no cache for each salt.
            "cache_prompt": self.config.prefix_caching and not request.cache_salt,
            "stream": True,
            "return_tokens": True,
            "timings_per_token": True,
        }

    def parse(self, data: bytes) -> Piece:
        event = CompletionEvent.model_validate_json(data)
        timings = event.timings
        mark = Mark(
            timings.predicted_n or 0,
            timings.predicted_ms,
            timings.draft_n,
            timings.draft_n_accepted,
        )
        text = event.content
        piece = Piece(event.tokens, text, count=mark.tokens, note=Note(mark, text))
        if event.stop:
            piece.finish_reason = event.stop_type or "unknown"
            piece.usage = TokenCounts(prompt=event.tokens_evaluated, cached=timings.cache_n)
        return piece

    async def complete(self, http: Http, answer: Answer) -> int:
        return await fill(http, answer, self.plain)

    def trace(self, answer: Answer) -> Trace:
        marks = [note.mark for note in answer.notes]
        if not marks:
            return answer.trace()
        found = read_steps(
            marks,
            cut=answer.finish_reason == "stop",
            full=self.draft_length if drafts_fully(self.config) else 0,
            limit=answer.request.sampling.max_tokens,
        )
        return answer.arranged(Arrangement(found.sizes, found.count), found.drafted, found.accepted)

    # -- teacher forcing ----------------------------------------------------------------------

    def score(
        self, http: Http, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> tuple[TokenScore, int]:
        """From the prefill's token, which is never a draft: its probabilities are the target's."""
        wanted, found = list(candidates), self._top(http, token_ids[:position], _SOME)
        asked = 1
        if any(candidate not in found for candidate in wanted):
            asked, found = 2, self._top(http, token_ids[:position], _ALL)
        if missing := [candidate for candidate in wanted if candidate not in found]:
            raise EngineError(f"the server's vocabulary has no tokens {missing}")
        top = next(iter(found))
        return TokenScore({token: found[token] for token in wanted}, top, found[top]), asked

    def _top(self, http: Http, prompt: Sequence[int], count: int) -> dict[int, float]:
        """Log-probabilities of the ``count`` most likely next tokens, in descending order."""
        body = next_token.body(prompt, count, self.plain)
        reply = http.post(next_token.PATH, body, NextTokens)
        return {entry.id: entry.logprob for entry in next_token.entries(reply)}


def _own_settings(
    config: EngineConfig, settings: GenerationSettings, *, started: bool
) -> dict[str, object]:
    """The settings of drafting that the server uses where a request says nothing, and of one that
    was started here its ``--spec-type``."""
    params = settings.params or {}
    found = {name: value for name, value in params.items() if name.startswith("speculative.")}
    return {"speculation": spec_type(config), **found} if started else found
