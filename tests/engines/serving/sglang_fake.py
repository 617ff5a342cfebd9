"""The fake server as SGLang 0.5.23: its pages, and ``/generate`` streams of the shape it sends.

Fields and types were read in SGLang's source (``entrypoints/http_server.py``,
``managers/tokenizer_manager.py``); it never ran here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .fake import Event, Script

MODEL = "org/model"


class Sglang:
    """Answers every prompt with ``chunks`` of made-up tokens; ``accepted`` of each verification."""

    def __init__(
        self,
        chunks: Sequence[int] = (1, 3, 1),
        accepted: Sequence[int] = (2, 0),
        *,
        algorithm: str | None = "EAGLE3",
        draft_length: int = 3,
        incremental: bool = True,
        metrics: bool = True,
    ) -> None:
        self.chunks = list(chunks)
        self.accepted = list(accepted)
        self.draft_length = draft_length
        self.incremental = incremental
        self.generated = self.verified = 0
        self.reason: dict[str, Any] = {"type": "length", "length": sum(self.chunks)}
        self.info: dict[str, Any] = {
            "model_path": MODEL,
            "served_model_name": MODEL,
            "dtype": "auto",
            "tp_size": 2,
            "attention_backend": "fa3",
            "disable_radix_cache": True,
            "incremental_streaming_output": incremental,
            "speculative_algorithm": algorithm,
            "speculative_num_steps": draft_length if algorithm else None,
            "speculative_eagle_topk": 1 if algorithm else None,
            "speculative_num_draft_tokens": draft_length + 1 if algorithm else None,
            "speculative_ngram_max_bfs_breadth": 10,
            "internal_states": [{"avg_spec_accept_length": 2.5}],
            "version": "0.5.23",
        }
        self.script = Script(events=self.events)
        self.script.pages = {"/health": "", "/server_info": lambda: self.info}
        if metrics:
            self.script.pages["/metrics"] = self.metrics
        self.script.posts = {"/generate": self.scored}

    def metrics(self) -> str:
        label = '{model_name="org/model"}'
        lines = ["# TYPE sglang:spec_accept_length gauge", f"sglang:spec_accept_length{label} 2.5"]
        if self.generated:  # a counter with labels is not there before it counts
            for name, value in (
                ("sglang:generation_tokens_total", self.generated),
                ("sglang:spec_verify_calls_total", self.verified),
            ):
                lines += [f"# TYPE {name} counter", f"{name}{label} {float(value)}"]
        return "\n".join(lines) + "\n"

    def events(self, body: dict[str, Any]) -> list[Event]:
        with self.script.lock:
            name = f"{len(self.script.asked)}-{self.generated}"
            self.generated += sum(self.chunks)
            self.verified += len(self.accepted)
        events: list[Event] = []
        sent = 0
        for number, size in enumerate(self.chunks):
            last = number == len(self.chunks) - 1
            first = 100 if not self.incremental else 100 + sent
            sent += size
            meta = self.meta(name, len(body["input_ids"]), sent, last=last)
            ids = list(range(first, 100 + sent))
            events.append({"text": "x" * len(ids), "output_ids": ids, "meta_info": meta})
        return [*events, "[DONE]"]

    def meta(self, name: str, prompt: int, sent: int, *, last: bool) -> dict[str, Any]:
        meta: dict[str, Any] = {
            "id": name,
            "finish_reason": self.reason if last else None,
            "prompt_tokens": prompt,
            "weight_version": "default",
            "num_retractions": 0,
            "reasoning_tokens": 0,
            "completion_tokens": sent,
            "cached_tokens": 0,
        }
        if not last:
            return meta
        meta["e2e_latency"] = 0.25
        if steps := len(self.accepted):
            correct, proposed = sum(self.accepted), steps * self.draft_length
            meta |= {
                "spec_accept_rate": correct / proposed,
                "spec_accept_length": sent / steps,
                "spec_num_correct_drafts": correct,
                "spec_num_proposed_drafts": proposed,
                "spec_verify_ct": steps,
                "spec_correct_drafts_histogram": [
                    self.accepted.count(k) for k in range(max(self.accepted) + 1)
                ],
            }
        return meta

    def scored(self, body: dict[str, Any]) -> dict[str, Any]:
        with self.script.lock:
            self.generated += 1
        best = body["input_ids"][-1] + 1
        logprobs = [
            [-0.25 if token == best else -4.0, token, None] for token in body["token_ids_logprob"]
        ]
        return {
            "text": "x",
            "output_ids": [best],
            "meta_info": {
                "id": "s",
                "finish_reason": {"type": "length", "length": 1},
                "prompt_tokens": len(body["input_ids"]),
                "completion_tokens": 1,
                "output_token_logprobs": [[-0.25, best, None]],
                "output_top_logprobs": [[[-0.25, best, None]]],
                "output_token_ids_logprobs": [logprobs],
            },
        }
