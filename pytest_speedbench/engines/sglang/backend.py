"""SGLang as a library: ``sglang.Engine``, which streams on an event loop of its own.

Its ``shutdown`` kills all children of its process, and a failure kills the process itself, so it
needs a child process of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pytest_speedbench.engines.process.streaming import Chunk, StreamingBackend
from pytest_speedbench.engines.protocol import EngineConfig, EngineInfo, Request, TokenScore
from pytest_speedbench.engines.serving.device import device_name
from pytest_speedbench.engines.sglang.answer import (
    describe,
    finish_reason,
    new_tokens,
    read_score,
    sampling_parameters,
    score_request,
    totals,
)
from pytest_speedbench.engines.sglang.arguments import counts_drafts, server_arguments
from pytest_speedbench.errors import EngineError


class SglangBackend(StreamingBackend):
    """One SGLang engine. Token ids in and out, so it needs no tokenizer."""

    def __init__(self, config: EngineConfig) -> None:
        import sglang

        self.arguments = {"skip_tokenizer_init": True, **server_arguments(config)}
        self.counts_drafts = counts_drafts(config.speculation, self.arguments)
        # With a prefix cache it must outlive loads: flushing would empty both.
        self.shared_pool = config.speculation.method == "ngram" and not config.prefix_caching
        self.engine = _start(sglang, self.arguments, config)
        super().__init__(self.engine.loop, config.speculation.draft_length)
        info = self.engine.get_server_info()
        self.info = EngineInfo(
            "sglang",
            str(info.get("version", sglang.__version__)),
            device_name(cpu=info.get("device") == "cpu"),
            _dtype(self.engine, info),
            describe(info, config.speculation),
        )

    def add(self, request: Request) -> None:
        if self.shared_pool and self.idle:
            # The n-gram trie outlives requests: a load would find the outputs of the previous one.
            self.engine.flush_cache()
        super().add(request)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        from pytest_speedbench.engines.serving.schema import SglangMeta  # SGLang has pydantic

        self._check(request)
        seen = 0
        async for answer in await self._answers(request):
            meta = SglangMeta.model_validate(answer["meta_info"])
            tokens = new_tokens(answer["output_ids"], seen, meta.completion_tokens or 0)
            seen += len(tokens)
            reason = finish_reason(meta.finish_reason)
            if reason is None:
                yield Chunk(tokens)
            else:
                found = totals(meta, counts_drafts=self.counts_drafts)
                yield Chunk(tokens, reason, found, meta.cached_tokens)

    async def _answers(self, request: Request) -> AsyncIterator[Any]:
        """The stream of a request."""
        asked = {
            "input_ids": list(request.prompt_ids),
            "sampling_params": sampling_parameters(request),
            "stream": True,
            "rid": request.id,
        }
        answers: AsyncIterator[Any]
        if request.cache_salt:  # which the engine's own method does not pass on
            from sglang.srt.managers.io_struct import GenerateReqInput

            salted = GenerateReqInput(**asked, extra_key=request.cache_salt)
            answers = self.engine.tokenizer_manager.generate_request(salted, None)
        else:
            answers = await self.engine.async_generate(**asked)
        return answers

    def _check(self, request: Request) -> None:
        """Without a tokenizer SGLang crashes on a minimum number of tokens."""
        needed = sampling_parameters(request)["min_new_tokens"]
        if needed and self.arguments["skip_tokenizer_init"]:
            raise EngineError(
                "SGLang needs its tokenizer for min_tokens: use --speed-engine-arg "
                "skip_tokenizer_init=false, or ignore_eos for outputs of equal length"
            )

    def end(self, request_id: str) -> None:
        self.engine.tokenizer_manager.abort_request(request_id)

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        asked = score_request(token_ids[:position], candidates)
        return read_score(self.wait(self.engine.async_generate(**asked)))

    def close(self) -> None:
        self.engine.shutdown()


def _dtype(engine: Any, info: Mapping[str, Any]) -> str:
    """That of the loaded model: ``info`` has the argument, which may be ``auto``. Among several
    tokenizer processes, the one here does not hold the model's configuration."""
    model = getattr(engine.tokenizer_manager, "model_config", None)
    found = getattr(model, "dtype", None) or info.get("dtype", "auto")
    return str(found).removeprefix("torch.")


def _start(sglang: Any, arguments: dict[str, Any], config: EngineConfig) -> Any:
    try:
        return sglang.Engine(**arguments)
    except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
        raise EngineError(
            f"SGLang does not start with model {config.model!r}, {config.speculation}, drafter "
            f"{config.speculation.drafter!r}: {' '.join(str(error).split())[:400]}"
        ) from error
