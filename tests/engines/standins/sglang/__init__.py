"""A stand-in in the shape of ``sglang.Engine`` 0.5.23, for tests where SGLang cannot be installed.

What it takes and gives was read in SGLang's source (``entrypoints/engine.py``,
``managers/tokenizer_manager.py``): argument names, the loop, cumulative ``output_ids`` in one list
that grows, the fields of ``meta_info`` and when they are there. Its "model" is a script: the next
token is the last one plus one, and each step accepts as many drafts as the position says.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

__version__ = "0.5.23"


def accepted_at(position: int, draft_length: int) -> int:
    """Accepted drafts of the step that begins at output position ``position``."""
    return (position * 7 + 3) % (draft_length + 1) if draft_length else 0


class Engine:
    def __init__(self, **kwargs: Any) -> None:
        if kwargs["model_path"] == "missing":
            raise OSError("missing is not a local folder and is not a valid model identifier")
        self.kwargs = kwargs
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.tokenizer_manager = _TokenizerManager()
        self.draft_length = kwargs.get("speculative_num_draft_tokens", 1) - 1
        self.trie: set[tuple[int, ...]] = set()  # of n-gram drafts: outlives its requests

    def flush_cache(self) -> None:
        self.trie.clear()

    def get_server_info(self) -> dict[str, Any]:
        return {
            "model_path": self.kwargs["model_path"],
            "dtype": "auto",
            "tp_size": 1,
            "attention_backend": "fa3",
            "disable_overlap_schedule": False,
            "speculative_algorithm": None,
            **self.kwargs,
            "internal_states": [{"avg_spec_accept_length": 1.0}],
            "version": __version__,
        }

    async def async_generate(
        self,
        *,
        input_ids: list[int],
        sampling_params: dict[str, Any],
        stream: bool = False,
        rid: str | None = None,
        return_logprob: bool = False,
        logprob_start_len: int | None = None,
        top_logprobs_num: int | None = None,
        token_ids_logprob: list[int] | None = None,
    ) -> Any:
        if sampling_params.get("min_new_tokens") and self.kwargs.get("skip_tokenizer_init"):
            os._exit(1)  # the real scheduler asks its missing tokenizer, and dies
        if not stream:
            return self._scored(input_ids, token_ids_logprob or [])
        assert rid is not None
        return self._streamed(input_ids, sampling_params, rid)

    def _scored(self, input_ids: list[int], candidates: list[int]) -> dict[str, Any]:
        best = input_ids[-1] + 1
        logprobs = [(-0.25 if token == best else -4.0, token, None) for token in candidates]
        return {
            "output_ids": [best],
            "meta_info": {
                "completion_tokens": 1,
                "output_top_logprobs": [[(-0.25, best, None)]],
                "output_token_ids_logprobs": [logprobs],
            },
        }

    async def _streamed(
        self, input_ids: list[int], sampling: dict[str, Any], rid: str
    ) -> AsyncIterator[dict[str, Any]]:
        if len(input_ids) > 1000:
            raise ValueError(f"The input ({len(input_ids)} tokens) is longer than the context")
        output: list[int] = []
        meta = {"id": rid, "prompt_tokens": len(input_ids), "num_retractions": 0}
        verified, correct, histogram = 0, 0, [0] * (self.draft_length + 1)
        silent = self.kwargs["model_path"] == "silent"
        merging = self.kwargs["model_path"] == "merging"
        step = 0
        while True:
            await asyncio.sleep(3600 if silent else 0)
            if rid in self.tokenizer_manager.aborted:
                return
            taken = accepted_at(len(output), self.draft_length) if output else 0
            if output and tuple(input_ids) in self.trie:
                taken = self.draft_length
            if output and self.draft_length:
                verified, correct = verified + 1, correct + taken
                histogram[taken] += 1
            reason = None
            for _ in range(taken + 1):
                output.append((output or input_ids)[-1] + 1)
                reason = _ended(output, sampling)
                if reason:
                    break
            step += 1
            if reason and self.kwargs["model_path"] == "breaking" and rid == "r0":
                return
            if reason or not (merging and step % 2):
                now = {**meta, "completion_tokens": len(output), "finish_reason": reason}
                if reason and verified:
                    now |= {
                        "spec_verify_ct": verified,
                        "spec_num_correct_drafts": correct,
                        "spec_num_proposed_drafts": verified * self.draft_length,
                        "spec_accept_rate": correct / (verified * self.draft_length),
                        "spec_accept_length": len(output) / verified,
                        "spec_correct_drafts_histogram": histogram,
                    }
                yield {"output_ids": output, "meta_info": now}
            if reason:
                if self.kwargs.get("speculative_algorithm") == "NGRAM":
                    self.trie.add(tuple(input_ids))
                return

    def shutdown(self) -> None:
        self.loop.stop()


class _ModelConfig:
    dtype = "torch.bfloat16"


class _TokenizerManager:
    def __init__(self) -> None:
        self.aborted: set[str] = set()
        self.model_config = _ModelConfig()

    def abort_request(self, rid: str = "", abort_all: bool = False) -> None:
        self.aborted.add(rid)


def _ended(output: list[int], sampling: dict[str, Any]) -> dict[str, Any] | None:
    if output[-1] in sampling["stop_token_ids"]:
        return {"type": "stop", "matched": output[-1]}
    if len(output) == sampling["max_new_tokens"]:
        return {"type": "length", "length": len(output)}
    return None
