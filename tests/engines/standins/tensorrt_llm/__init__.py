"""A stand-in in the shape of TensorRT-LLM's LLM API, for tests where it cannot be installed.

Names, defaults and what is refused were read in its source of 2026 (``llmapi/llm_args.py``,
``llmapi/llm.py``, ``sampling_params.py``, ``executor/result.py``). Its "model" is a script: the
next token is the last one plus one, and each iteration accepts as many drafts as the position says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tensorrt_llm import llmapi

__version__ = "1.3.0rc27"
__all__ = ["LLM", "SamplingParams", "llmapi"]


def accepted_at(position: int, draft_length: int) -> int:
    """Accepted drafts of the iteration that begins at output position ``position``."""
    return (position * 5 + 2) % (draft_length + 1) if draft_length else 0


@dataclass(slots=True, kw_only=True)
class SamplingParams:
    """The fields that are of use here, and no others: an unknown one is a TypeError."""

    end_id: int | None = None
    max_tokens: int = 32
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    seed: int | None = None
    temperature: float | None = None
    return_generation_logits: bool = False
    return_perf_metrics: bool = False
    ignore_eos: bool = False
    detokenize: bool = True


@dataclass
class CompletionOutput:
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    generation_logits: Any = None
    request_perf_metrics: Any = None
    last: int = 0

    @property
    def token_ids_diff(self) -> list[int]:
        return self.token_ids[self.last :]


class RequestOutput:
    """One request; iterating over it handles one response at a time and gives itself back."""

    def __init__(self, responses: Iterator[None], output: CompletionOutput) -> None:
        self.responses = responses
        self.outputs = [output]
        self.decoding_iter = 0
        self.avg_decoded_tokens_per_iter: float | None = None
        self.finished = False

    def __aiter__(self) -> RequestOutput:
        return self

    async def __anext__(self) -> RequestOutput:
        if self.finished:
            raise StopAsyncIteration
        await asyncio.sleep(0)
        next(self.responses)
        return self

    async def aresult(self) -> RequestOutput:
        async for _ in self:
            pass
        return self

    def abort(self) -> None:
        self.outputs[0].finish_reason = "cancelled"
        self.finished = True


class LLM:
    def __init__(self, model: str, **kwargs: Any) -> None:
        if model == "missing":
            raise RuntimeError("Executor worker returned error: missing is not a local folder")
        self.args = llmapi.TorchLlmArgs(model=model, **kwargs)
        found = self.args.speculative_config
        self.draft_length = 0 if found is None else int(found.max_draft_len)
        self.stats: list[dict[str, Any]] = []

    def generate_async(
        self, inputs: list[int], sampling_params: SamplingParams, streaming: bool = False
    ) -> RequestOutput:
        if len(inputs) > 1000:
            raise RuntimeError(f"The sum of prompt length ({len(inputs)}.0) should not exceed 1000")
        if sampling_params.end_id is None and self.args.skip_tokenizer_init:
            raise ValueError("tokenizer is required to reset end_id if it is None")
        asyncio.get_running_loop()  # responses are delivered to the loop of the caller
        output = CompletionOutput()
        if sampling_params.return_generation_logits:
            output.generation_logits = _logits(inputs[-1] + 1)
        request = RequestOutput(iter(()), output)
        every = 2 if self.args.model == "merging" or not streaming else 1
        request.responses = self._respond(request, inputs, sampling_params, every)
        return request

    def _respond(
        self, request: RequestOutput, inputs: list[int], sampling: SamplingParams, every: int
    ) -> Iterator[None]:
        output, drafted, accepted = request.outputs[0], 0, 0
        seen = 0
        while output.finish_reason is None:
            context = not output.token_ids
            taken = 0 if context else accepted_at(len(output.token_ids), self.draft_length)
            drafted += 0 if context else self.draft_length
            accepted += taken
            for _ in range(taken + 1):
                output.token_ids.append((output.token_ids or inputs)[-1] + 1)
                output.finish_reason = _ended(output.token_ids, sampling)
                if output.finish_reason:
                    break
            request.decoding_iter += 1
            request.avg_decoded_tokens_per_iter = len(output.token_ids) / request.decoding_iter
            if not context and self.draft_length:
                self.stats.append(_stats(self.draft_length, taken))
            if output.finish_reason and sampling.return_perf_metrics:
                rate = accepted / drafted if drafted else 0.0
                output.request_perf_metrics = SimpleNamespace(
                    speculative_decoding=SimpleNamespace(
                        acceptance_rate=rate,
                        total_accepted_draft_tokens=accepted,
                        total_draft_tokens=drafted,
                    )
                )
            if output.finish_reason or request.decoding_iter % every == 0 or context:
                output.last, seen = seen, len(output.token_ids)
                request.finished = output.finish_reason is not None
                yield

    def get_stats(self, timeout: float | None = 2) -> list[dict[str, Any]]:
        found, self.stats = self.stats, []
        return found

    def shutdown(self) -> None:
        self.args.model = ""


def _ended(output: list[int], sampling: SamplingParams) -> str | None:
    if output[-1] in (sampling.stop_token_ids or ()):
        if not sampling.include_stop_str_in_output:
            output.pop()
        return "stop"
    return "length" if len(output) == sampling.max_tokens else None


def _stats(drafted: int, accepted: int) -> dict[str, Any]:
    return {
        "iter": 1,
        "iterLatencyMS": 5.0,
        "inflightBatchingStats": {"numGenRequests": 1, "avgNumDecodedTokensPerIter": 1.0},
        "specDecodingStats": {
            "numDraftTokens": drafted,
            "numAcceptedTokens": accepted,
            "numRequestsWithDraftTokens": 1,
            "acceptanceLength": 1.0 + accepted,
            "iterLatencyMS": 1.0,
            "draftOverhead": 0.2,
        },
    }


def _logits(best: int) -> Any:
    import torch

    logits = torch.zeros(1, 50)
    logits[0, best] = 4.0
    return logits
