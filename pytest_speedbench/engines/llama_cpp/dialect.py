"""The protocol of llama.cpp's server: ``/completion`` with token ids, totals with every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_speedbench.engines.llama_cpp import next_token
from pytest_speedbench.engines.llama_cpp.files import tokenizer_source
from pytest_speedbench.engines.llama_cpp.server import drafts_fully, find_server, spec_type
from pytest_speedbench.engines.llama_cpp.steps import Mark, read_steps
from pytest_speedbench.engines.llama_cpp.vocabulary import check_vocabulary
from pytest_speedbench.engines.llama_cpp.withheld_tokens import fill
from pytest_speedbench.engines.protocol import (
    EngineConfig,
    EngineInfo,
    FinishReason,
    Request,
    TokenScore,
    Trace,
)
from pytest_speedbench.engines.serving.answer import Answer, Piece
from pytest_speedbench.engines.serving.dialect import Dialect
from pytest_speedbench.engines.serving.http import Http, RequestRefused
from pytest_speedbench.engines.serving.metrics import LLAMA_CPP
from pytest_speedbench.engines.serving.steps import Arrangement
from pytest_speedbench.errors import EngineError

_REASONS: Mapping[str, FinishReason] = {"eos": "stop", "word": "stop", "limit": "length"}
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
        properties = http.get_json("/props")
        self._check_slots(http, properties)
        card = (http.get_json("/v1/models").get("data") or [{}])[0]
        meta = card.get("meta") or {}
        self.plain = check_vocabulary(http, tokenizer_source(self.config), meta.get("n_vocab"))
        own = None if self.config.url else find_server(self.config)
        build = str(properties.get("build_info") or "unknown")
        return EngineInfo(
            engine="llama-cpp",
            version=own.version() if own else build,
            device=own.device() if own else "unknown",
            dtype=str(properties.get("model_ftype") or meta.get("ftype") or "unknown"),
            details={
                "server": own.name if own else http.address.url,
                "model_path": properties.get("model_path"),
                "slots": properties.get("total_slots"),
                "max_model_len": _context(properties),
                "speculation": spec_type(self.config),
                "prefix_caching": False,
                **_speculative(properties),
            },
        )

    def _check_slots(self, http: Http, properties: Mapping[str, Any]) -> None:
        slots = properties.get("total_slots")
        if isinstance(slots, int) and slots < self.config.max_batch:
            raise EngineError(
                f"the server at {http.address.url} has {slots} slots, which is fewer than the "
                f"batch size of {self.config.max_batch}: start it with --parallel "
                f"{self.config.max_batch}, or lower --speed-bs"
            )
        found = http.find_json("/slots")
        if not found:  # switched off in the server
            return
        speculates = bool(found[0].get("speculative"))
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
            "cache_prompt": False,
            "stream": True,
            "return_tokens": True,
            "timings_per_token": True,
        }

    def read(self, event: Mapping[str, Any]) -> Piece:
        timings = event["timings"]
        mark = Mark(
            timings["predicted_n"],
            timings["predicted_ms"],
            timings.get("draft_n", 0),
            timings.get("draft_n_accepted", 0),
        )
        text = event["content"]
        piece = Piece(event["tokens"], text, count=mark.tokens, note=Note(mark, text))
        if event["stop"]:
            piece.finish_reason = _REASONS.get(event["stop_type"], "stop")
            piece.prompt_tokens = event["tokens_evaluated"]
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
        reply = http.post_json(next_token.PATH, next_token.body(prompt, count, self.plain))
        return {entry["id"]: entry["logprob"] for entry in next_token.entries(reply)}


def _speculative(properties: Mapping[str, Any]) -> dict[str, object]:
    """The settings of drafting that the server uses where a request says nothing."""
    settings = properties.get("default_generation_settings") or {}
    found = settings.get("params") or {}
    return {name: value for name, value in found.items() if name.startswith("speculative.")}


def _context(properties: Mapping[str, Any]) -> int | None:
    """Context length of one request: prompt and output together."""
    found = (properties.get("default_generation_settings") or {}).get("n_ctx")
    return found if isinstance(found, int) else None
