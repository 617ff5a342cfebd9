"""The fake server as vLLM 0.32: its pages, and streams of the shapes that it sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .fake import Event, Script

MODEL = "org/model"


class Vllm:
    """Answers every prompt with ``chunks`` of made-up tokens; counts like the real one."""

    def __init__(
        self,
        chunks: Sequence[int] = (1, 3, 1),
        accepted: Sequence[int] | None = (2, 0),
        draft_length: int = 3,
    ) -> None:
        self.url = ""
        self.chunks = list(chunks)
        self.accepted = accepted
        self.draft_length = draft_length
        self.drafts = self.draft_tokens = self.accepted_tokens = self.generated = 0
        self.spec_counters = accepted is not None
        self.script = Script(events=self.events)
        self.script.pages = {
            "/health": "",
            "/version": {"version": "0.32.0"},
            "/v1/models": {"object": "list", "data": [{"id": MODEL, "max_model_len": 2048}]},
            "/metrics": self.metrics,
        }

    def metrics(self) -> str:
        label = '{engine="0",model_name="org/model"}'
        lines = [
            "# TYPE vllm:generation_tokens_total counter",
            f"vllm:generation_tokens_total{label} {float(self.generated)}",
            "# TYPE vllm:cache_config_info gauge",
            'vllm:cache_config_info{block_size="16",enable_prefix_caching="False",engine="0",'
            'num_gpu_blocks="640"} 1.0',
        ]
        if self.spec_counters:
            for name, value in (
                ("drafts", self.drafts),
                ("draft_tokens", self.draft_tokens),
                ("accepted_tokens", self.accepted_tokens),
            ):
                metric = f"vllm:spec_decode_num_{name}_total"
                lines += [f"# TYPE {metric} counter", f"{metric}{label} {float(value)}"]
        return "\n".join(lines) + "\n"

    def events(self, body: dict[str, Any]) -> list[Event]:
        with self.script.lock:
            self.count()
        events: list[Event] = []
        sent = 0
        for number, size in enumerate(self.chunks):
            last = number == len(self.chunks) - 1
            ids = list(range(100 + sent, 100 + sent + size))
            sent += size
            events.append(self.chunk(ids, "length" if last else None))
        events += [self.usage(len(body["prompt"]), sent), "[DONE]"]
        return events

    def count(self) -> None:
        self.generated += sum(self.chunks)
        if self.accepted is not None:
            self.drafts += len(self.accepted)
            self.draft_tokens += self.draft_length * len(self.accepted)
            self.accepted_tokens += sum(self.accepted)

    def chunk(self, ids: Sequence[int], reason: str | None = None) -> dict[str, Any]:
        return {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "text": "x" * len(ids),
                    "logprobs": None,
                    "finish_reason": reason,
                    "stop_reason": None,
                    "token_ids": list(ids),
                }
            ],
        }

    def usage(self, prompt: int, completion: int) -> dict[str, Any]:
        event: dict[str, Any] = {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1,
            "model": MODEL,
            "choices": [],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
        }
        if self.accepted:
            steps, accepted = len(self.accepted), sum(self.accepted)
            drafted = self.draft_length * steps
            histogram = [self.accepted.count(k) for k in range(self.draft_length + 1)]
            event["metrics"] = {
                "speculative_decoding": {
                    "mean_acceptance_length": 1 + accepted / steps,
                    "draft_acceptance_rate": accepted / drafted,
                    "acceptance_histogram": histogram,
                    "num_spec_steps": steps,
                    "num_accepted_draft_tokens": accepted,
                    "num_draft_tokens": drafted,
                    "num_spec_tokens": self.draft_length,
                    "per_step_accepted": list(self.accepted),
                    "per_step_drafted": [self.draft_length] * steps,
                }
            }
        return event
