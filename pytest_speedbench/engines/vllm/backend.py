"""vLLM as a library: the ``LLMEngine.step()`` loop, which gives exact step traces.

Each call of ``step()`` returns the output of one engine-core step; ``LLM.generate`` and
``AsyncLLM`` may merge steps under load.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from pytest_speedbench.engines.process.backend import StepOutput
from pytest_speedbench.engines.protocol import (
    Counters,
    EngineConfig,
    EngineInfo,
    Request,
    TokenScore,
)
from pytest_speedbench.engines.vllm.arguments import (
    PER_REQUEST_METRICS,
    engine_arguments,
    has_argument,
)
from pytest_speedbench.engines.vllm.configuration import (
    configuration,
    dtype_of,
    environment_variables,
)
from pytest_speedbench.errors import EngineError
from pytest_speedbench.validation import place, problem

# Exceptions of vLLM for configurations that it cannot start.
_NO_START = (
    OSError,
    ValueError,
    TypeError,
    ImportError,
    NotImplementedError,
    AssertionError,
    RuntimeError,
    KeyError,
    AttributeError,
)


class VllmBackend:
    """One vLLM engine, driven step by step."""

    def __init__(self, config: EngineConfig) -> None:
        variables = environment_variables()  # vLLM sets more when it is imported
        import vllm

        arguments = engine_arguments(config, on_cpu=_on_cpu())
        self.speculation = config.speculation
        self.detailed = config.speculation.active and has_argument(PER_REQUEST_METRICS)
        if self.detailed:
            arguments[PER_REQUEST_METRICS] = "detailed"
        self.llm = start(vllm, arguments, config)
        self.engine = self.llm.llm_engine
        self.capacity = _capacity(self.engine.vllm_config)
        self.slots = _slots(self.engine.vllm_config)
        self.live: dict[str, int] = {}
        """Prompt tokens of each request that vLLM holds, rounded up to whole blocks."""
        self.info = self._describe(vllm.__version__, variables)

    def _describe(self, version: str, variables: Mapping[str, str]) -> EngineInfo:
        settings = self.engine.vllm_config
        details = {
            **configuration(settings),
            "environment": dict(variables),
            "omp_preloaded": "libiomp5" in os.environ.get("LD_PRELOAD", ""),
        }
        device = str(settings.device_config.device)
        return EngineInfo("vllm", version, _device_name(device), dtype_of(settings), details)

    def now(self) -> float:
        return time.perf_counter()

    def prefill_tokens(self, request: Request) -> int:
        return 1

    def add(self, request: Request) -> None:
        if not request.prompt_ids:
            raise EngineError(f"request {request.id}: the prompt is empty")
        self._reserve(request)
        prompt: dict[str, Any] = {"prompt_token_ids": list(request.prompt_ids)}
        if request.cache_salt:
            prompt["cache_salt"] = request.cache_salt
        try:
            self.engine.add_request(request.id, prompt, _sampling(request))
        except _refusals() as error:
            del self.live[request.id]
            raise EngineError(
                f"request {request.id}, {len(request.prompt_ids)} prompt tokens: vLLM refuses it: "
                f"{_reason(error)}"
            ) from error

    def _reserve(self, request: Request) -> None:
        size = self.engine.vllm_config.cache_config.block_size
        self.live[request.id] = -(-len(request.prompt_ids) // size) * size
        if not self._fits():
            del self.live[request.id]
            raise EngineError(_too_small(self.capacity, f"request {request.id} would be queued"))

    def _fits(self) -> bool:
        """Whether the KV cache has space for the prompts of all running requests."""
        running = islice(self.live.values(), self.slots)
        return not self.capacity or sum(running) <= self.capacity

    def step(self) -> list[StepOutput]:
        return [self._output(output) for output in self.engine.step()]

    def _output(self, output: Any) -> StepOutput:
        completion = output.outputs[0]
        if not output.finished:
            return StepOutput(output.request_id, completion.token_ids)
        self.live.pop(output.request_id, None)
        if not self._fits():
            what = f"the request after {output.request_id} would be queued"
            raise EngineError(_too_small(self.capacity, what))
        if getattr(output.metrics, "num_preemptions", 0):
            what = f"request {output.request_id} was preempted"
            raise EngineError(_too_small(self.capacity, what))
        metrics = getattr(completion, "spec_decode_metrics", None)
        return StepOutput(
            output.request_id,
            completion.token_ids,
            completion.finish_reason or "unknown",
            drafted=list(metrics.per_step_drafted) if metrics else self._no_drafts(),
            accepted=list(metrics.per_step_accepted) if metrics else self._no_drafts(),
            cached_tokens=output.num_cached_tokens,
        )

    def _no_drafts(self) -> list[int] | None:
        """A request that never drafted has no metrics: no drafts, rather than unknown."""
        return [] if self.detailed else None

    def abort(self, request_id: str) -> None:
        self.live.pop(request_id, None)
        self.engine.abort_request([request_id])

    def counters(self) -> Counters | None:
        if not self.speculation.active:
            return None
        values = {metric.name: getattr(metric, "value", 0) for metric in self.llm.get_metrics()}
        name = "vllm:spec_decode_num_"
        return Counters(
            int(values.get(f"{name}drafts", 0)),
            int(values.get(f"{name}draft_tokens", 0)),
            int(values.get(f"{name}accepted_tokens", 0)),
        )

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        logprobs: dict[int, float] = {}
        top, top_logprob = -1, float("-inf")
        for candidate in candidates:
            entry = self._prompt_logprobs([*token_ids[:position], candidate])
            logprobs[candidate] = entry[candidate].logprob
            best = min(entry, key=lambda token: entry[token].rank)
            if entry[best].rank == 1:
                top, top_logprob = best, entry[best].logprob
        return TokenScore(logprobs, top, top_logprob)

    def _prompt_logprobs(self, token_ids: list[int]) -> Any:
        from vllm import SamplingParams

        parameters = SamplingParams(
            prompt_logprobs=1, max_tokens=1, temperature=0.0, detokenize=False
        )
        output = self.llm.generate([{"prompt_token_ids": token_ids}], parameters, use_tqdm=False)[0]
        return output.prompt_logprobs[-1]

    def close(self) -> None:
        self.engine.engine_core.shutdown()


def start(vllm: Any, arguments: dict[str, Any], config: EngineConfig) -> Any:
    """``vllm.LLM``.

    Raises:
        EngineError: vLLM refuses the configuration; the message names each setting.
    """
    try:
        return vllm.LLM(**arguments)
    except _NO_START as error:
        if "initialization failed" in str(error):  # the cause is in the log of another process
            raise
        what = f"model {config.model!r}"
        if config.speculation.active:
            what += f", method {config.speculation.method!r}"
        if config.speculation.drafter:
            what += f", drafter {config.speculation.drafter!r}"
        why = _reason(error) or type(error).__name__
        raise EngineError(f"vLLM does not start with {what}: {why}") from error


def _capacity(settings: Any) -> int | None:
    """Tokens that fit into the KV cache; None if not every layer keeps every token."""
    model, cache = settings.model_config, settings.cache_config
    if getattr(model, "is_hybrid", False) or model.get_sliding_window() is not None:
        return None
    return (cache.num_gpu_blocks or 0) * cache.block_size or None


def _slots(settings: Any) -> int | None:
    """Requests that the scheduler runs at once; None if several schedulers share the requests."""
    if settings.parallel_config.data_parallel_size > 1:
        return None
    return int(settings.scheduler_config.max_num_seqs)


def _too_small(tokens: int | None, what: str) -> str:
    size = f"of {tokens} tokens " if tokens else ""
    return (
        f"the KV cache {size}is too small for this batch size: {what}, so fewer requests would be "
        "in flight than the batch size. Lower --speed-bs or --speed-max-tokens, or enlarge the "
        "cache with --speed-engine-arg gpu_memory_utilization=0.95 or kv_cache_memory_bytes=N (on "
        "a CPU set VLLM_CPU_KVCACHE_SPACE=GIB)"
    )


def _reason(error: BaseException) -> str:
    """The first lines of an error; of a configuration that is refused, each setting and why."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        found = [(place(one["loc"]), problem(one)) for one in error.errors()]
        return "; ".join(": ".join(filter(None, pair)) for pair in found)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:4])


def _refusals() -> tuple[type[Exception], ...]:
    """Exceptions of vLLM for a request that it refuses; older versions raise ValueError only."""
    import vllm.exceptions

    return ValueError, getattr(vllm.exceptions, "VLLMError", ValueError)


def _sampling(request: Request) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    sampling = request.sampling
    return SamplingParams(
        temperature=sampling.temperature,
        seed=None if sampling.greedy else sampling.seed,
        **sampling.filters,
        max_tokens=sampling.max_tokens,
        min_tokens=sampling.min_tokens,
        ignore_eos=sampling.ignore_eos,
        # By token id: a request that ends at a stop string has no metrics.
        stop_token_ids=[] if sampling.ignore_eos else list(request.stop_ids),
        output_kind=RequestOutputKind.DELTA,
        detokenize=False,
    )


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return str(torch.cuda.get_device_name())
