"""TensorRT-LLM as a library: ``LLM.generate_async`` streams one response per iteration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pytest_speedbench.engines.process.streaming import Chunk, StreamingBackend
from pytest_speedbench.engines.protocol import (
    Counters,
    EngineConfig,
    EngineInfo,
    Request,
    RequestTotals,
    TokenScore,
)
from pytest_speedbench.engines.serving.device import device_name
from pytest_speedbench.engines.tensorrt_llm.arguments import (
    config_class,
    drafts_a_chain,
    given_speculative,
    llm_arguments,
)
from pytest_speedbench.errors import EngineError

# Seconds to wait for iteration statistics.
_STATS_SECONDS = 0.2


class TensorrtLlmBackend(StreamingBackend):
    """One TensorRT-LLM engine. Token ids in and out, so it needs no tokenizer."""

    def __init__(self, config: EngineConfig) -> None:
        import tensorrt_llm

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        super().__init__(loop, config.speculation.draft_length)
        arguments = {"skip_tokenizer_init": True, **llm_arguments(config)}
        self.counts_drafts = drafts_a_chain(given_speculative(config))
        self.counting = bool(arguments.get("enable_iter_perf_stats"))
        self.lifetime = Counters()
        self.handles: dict[str, Any] = {}
        self.llm = _start(tensorrt_llm, arguments, config)
        details = describe(self.llm.args, config)
        self.info = EngineInfo(
            "tensorrt-llm",
            str(tensorrt_llm.__version__),
            device_name(cpu=False),
            str(getattr(self.llm.args, "dtype", "auto")),
            details,
        )

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        from tensorrt_llm import SamplingParams

        parameters = SamplingParams(**sampling_parameters(request), return_perf_metrics=True)
        # Called on the event loop, so that responses are delivered there.
        handle = self.llm.generate_async(list(request.prompt_ids), parameters, streaming=True)
        self.handles[request.id] = handle
        try:
            async for response in handle:
                completion = response.outputs[0]
                tokens = tuple(completion.token_ids_diff)
                if response.finished:
                    reason = str(completion.finish_reason)
                    sums = totals(response, counts_drafts=self.counts_drafts)
                    yield Chunk(tokens, reason, sums)
                else:
                    yield Chunk(tokens)
        finally:
            self.handles.pop(request.id, None)

    def end(self, request_id: str) -> None:
        if handle := self.handles.pop(request_id, None):
            handle.abort()

    def counters(self) -> Counters | None:
        """Sums of the iteration statistics, if they are enabled."""
        if not self.counting:
            return None
        self.lifetime += iteration_sums(self.llm.get_stats(_STATS_SECONDS))
        return self.lifetime

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        return self.wait(self._score(list(token_ids[:position]), candidates))

    async def _score(self, prefix: list[int], candidates: Sequence[int]) -> TokenScore:
        """Log-probabilities from the logits of one token after ``prefix``."""
        import torch
        from tensorrt_llm import SamplingParams

        parameters = SamplingParams(
            max_tokens=1,
            end_id=-1,
            ignore_eos=True,
            detokenize=False,
            return_generation_logits=True,
        )
        answer = await self.llm.generate_async(prefix, parameters).aresult()
        logits = answer.outputs[0].generation_logits[0].float().flatten()
        logprobs = torch.log_softmax(logits, dim=-1)
        top = int(logprobs.argmax())
        return TokenScore(
            {token: float(logprobs[token]) for token in candidates},
            top,
            float(logprobs[top]),
            float(logits.abs().max()),
        )

    def close(self) -> None:
        self.llm.shutdown()


def sampling_parameters(request: Request) -> dict[str, Any]:
    """TensorRT-LLM's ``SamplingParams``; outputs end at the request's stop ids, which are kept.

    Raises:
        EngineError: ``min_tokens`` is set, which TensorRT-LLM applies to one end token only.
    """
    sampling = request.sampling
    if sampling.min_tokens and not sampling.ignore_eos:
        raise EngineError(
            "TensorRT-LLM suppresses at most one end token, so min_tokens may not hold: use "
            "ignore_eos for outputs of equal length"
        )
    parameters: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "end_id": -1,
        "ignore_eos": True,
        "include_stop_str_in_output": True,
        "detokenize": False,
    }
    if request.stop_ids and not sampling.ignore_eos:
        parameters["stop_token_ids"] = list(request.stop_ids)
    if not sampling.greedy:
        parameters |= {"seed": sampling.seed, **sampling.filters}
    return parameters


def totals(response: Any, *, counts_drafts: bool) -> RequestTotals:
    """D, draft and accepted tokens of a finished request; the context iteration is not a step."""
    iterations = int(getattr(response, "decoding_iter", 0) or 0)
    metrics = getattr(response.outputs[0], "request_perf_metrics", None)
    found = getattr(metrics, "speculative_decoding", None)
    steps = iterations - 1 if iterations else None
    if found is None:
        return RequestTotals(steps)
    drafted = int(found.total_draft_tokens) if counts_drafts else None
    return RequestTotals(steps, drafted, int(found.total_accepted_draft_tokens))


def iteration_sums(stats: Sequence[Mapping[str, Any]]) -> Counters:
    """Sums over a series of iteration statistics (``get_stats``, ``GET /metrics``)."""
    found = [entry["specDecodingStats"] for entry in stats if entry.get("specDecodingStats")]
    return Counters(
        sum(int(entry.get("numRequestsWithDraftTokens", 0)) for entry in found),
        sum(int(entry["numDraftTokens"]) for entry in found),
        sum(int(entry["numAcceptedTokens"]) for entry in found),
    )


def describe(args: Any, config: EngineConfig) -> dict[str, object]:
    """The part of the engine's final arguments that goes into a record.

    Raises:
        EngineError: it drafts another number of tokens than configured.
    """
    details: dict[str, object] = {
        name: value for name in _KEPT if (value := getattr(args, name, None)) is not None
    }
    cache = getattr(args, "kv_cache_config", None)
    details["prefix_caching"] = getattr(cache, "enable_block_reuse", None)
    details["kv_cache_config"] = _plain_fields(cache)
    details["quant_config"] = _plain_fields(getattr(args, "quant_config", None))
    found = getattr(args, "speculative_config", None)
    details["speculative_method"] = str(getattr(found, "decoding_type", "none")).lower()
    details["speculative"] = _plain_fields(found)
    length = getattr(found, "max_draft_len", None)
    if found is not None and length not in (None, config.speculation.draft_length):
        raise EngineError(
            f"TensorRT-LLM drafts {length} tokens per step, expected "
            f"dl={config.speculation.draft_length}: this release reads the speculative "
            "configuration differently; change --speed-dl, or use a newer release"
        )
    return details


def _plain_fields(part: Any) -> dict[str, object]:
    """The fields of one part of the arguments that are numbers, names or switches; the drafter is
    identified by its weights."""
    fields = getattr(part, "__dict__", {})
    values = {name: getattr(value, "value", value) for name, value in fields.items()}
    return {
        name: value
        for name, value in values.items()
        if (value is None or isinstance(value, bool | int | float | str))
        and not name.startswith("_")
        and name not in _PLACES
    }


_PLACES = ("speculative_model", "speculative_model_dir")
_KEPT = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "backend",
    "attn_backend",
    "disable_overlap_scheduler",
    "max_batch_size",
    "max_num_tokens",
    "max_seq_len",
)
# Arguments that TensorRT-LLM takes as objects of these classes.
_CLASSES = {"kv_cache_config": "KvCacheConfig", "cuda_graph_config": "CudaGraphConfig"}


def build(llmapi: Any, arguments: Mapping[str, Any], config: EngineConfig) -> dict[str, Any]:
    """``arguments`` with plain dictionaries turned into TensorRT-LLM's classes.

    Raises:
        EngineError: this release has no class for the method.
    """
    made = dict(arguments)
    for name, title in _CLASSES.items():
        if isinstance(made.get(name), dict):
            made[name] = getattr(llmapi, title)(**made[name])
    if "speculative_config" in made:
        title = config_class(config.speculation.method)
        kind = getattr(llmapi, title, None)
        if kind is None:
            raise EngineError(
                f"this TensorRT-LLM has no {title}, which method {config.speculation.method} needs"
            )
        fields = {k: v for k, v in made["speculative_config"].items() if k != "decoding_type"}
        made["speculative_config"] = kind(**fields)
    return made


def _start(tensorrt_llm: Any, arguments: Mapping[str, Any], config: EngineConfig) -> Any:
    try:
        return tensorrt_llm.LLM(**build(tensorrt_llm.llmapi, arguments, config))
    except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
        raise EngineError(
            f"TensorRT-LLM does not start with model {config.model!r}, {config.speculation}, "
            f"drafter {config.speculation.drafter!r}: {' '.join(str(error).split())[:400]}"
        ) from error
