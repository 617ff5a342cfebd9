"""The fake server as ``trtllm-serve``: its pages, and completions streams of the shape it sends.

Fields and types were read in its source of 2026 (``serve/openai_protocol.py``,
``serve/postprocess_handlers.py``, ``metrics/collector.py``); it never ran here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .fake import Event, Script

MODEL = "org/model"
# Its requests forbid every other field.
FIELDS = {
    *("model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stream", "stream_options"),
    *("stop_token_ids", "include_stop_str_in_output", "ignore_eos", "min_tokens", "detokenize"),
    "add_special_tokens",
}


class TensorrtLlm:
    """Answers every prompt with ``chunks`` of made-up tokens from so many ``iterations``."""

    def __init__(
        self,
        chunks: Sequence[int] = (1, 3, 1),
        iterations: int = 3,
        *,
        method: str | None = "EAGLE3",
        draft_length: int = 3,
        page: bool = True,
        per_request: bool = False,
    ) -> None:
        self.chunks = list(chunks)
        self.iterations = iterations
        self.method = method
        self.draft_length = draft_length
        self.per_request = per_request
        self.script = Script(events=self.events)
        self.script.pages = {
            "/health": "",
            "/version": {"version": "1.3.0rc27"},
            "/v1/models": {"object": "list", "data": [{"id": MODEL, "owned_by": "tensorrt_llm"}]},
            "/metrics": [],
        }
        if page:
            self.script.pages["/prometheus/metrics"] = self.page

    def page(self) -> str:
        common = 'engine_type="pytorch",model_name="org/model"'
        lines = [
            f"trtllm_num_requests_running{{{common}}} 0.0",
            f'trtllm_model_config_info{{{common},dtype="bfloat16",model="org/model"}} 1.0',
            f'trtllm_parallel_config_info{{{common},tensor_parallel_size="2"}} 1.0',
            f'trtllm_kv_cache_config_info{{{common},enable_block_reuse="False"}} 1.0',
        ]
        if self.method:
            lines.append(
                f'trtllm_speculative_config_info{{{common},spec_enabled="True",'
                f'spec_method="{self.method}",spec_num_tokens="{self.draft_length}",'
                'spec_draft_model="org/head"} 1.0'
            )
        return "\n".join(lines) + "\n"

    def events(self, body: dict[str, Any]) -> list[Event]:
        unknown = set(body) - FIELDS
        if unknown:
            return [{"error": {"message": f"Extra inputs: {sorted(unknown)}", "code": 400}}]
        events: list[Event] = []
        sent = 0
        for number, size in enumerate(self.chunks):
            last = number == len(self.chunks) - 1
            ids = list(range(100 + sent, 100 + sent + size))
            sent += size
            done = self.iterations if last else min(number + 1, self.iterations)
            events.append(self.chunk(ids, sent / done, "length" if last else None))
        usage = {
            "prompt_tokens": len(body["prompt"]),
            "completion_tokens": sent,
            "total_tokens": len(body["prompt"]) + sent,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        return [*events, {**self.head(), "choices": [], "usage": usage}, "[DONE]"]

    def head(self) -> dict[str, Any]:
        return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL}

    def chunk(self, ids: Sequence[int], average: float, reason: str | None) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": 0,
            "text": "",
            "token_ids": list(ids),
            "logprobs": None,
            "finish_reason": reason,
            "stop_reason": None,
            "avg_decoded_tokens_per_iter": average,
        }
        if reason and self.per_request:
            steps = self.iterations - 1
            accepted = sum(self.chunks) - self.iterations
            choice["speculative_decoding"] = {
                "acceptance_rate": accepted / (steps * self.draft_length),
                "total_accepted_draft_tokens": accepted,
                "total_draft_tokens": steps * self.draft_length,
                "num_spec_steps": steps,
                "acceptance_histogram": [1, 0, 1, 0],
                "num_spec_tokens": self.draft_length,
            }
        return {**self.head(), "choices": [choice], "usage": None}
