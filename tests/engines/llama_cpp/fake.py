"""The fake server as llama.cpp's, build 11549: events of the shapes that it sends.

Its vocabulary: 0 to 99 are the words ``w0`` to ``w99`` without digits, 100 and up are single bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..serving.fake import Event, Script

STOP = 2
_BYTES = 100


def word(token: int) -> str:
    """The text of an ordinary token."""
    return "".join(chr(97 + int(digit)) for digit in str(token))


def spelled(text: str) -> list[int]:
    """A text as single-byte tokens."""
    return [_BYTES + byte for byte in text.encode()]


def text_bytes(token: int) -> bytes:
    return bytes([token - _BYTES]) if token >= _BYTES else word(token).encode()


@dataclass(frozen=True)
class Step:
    """One decoding step: its tokens, and its draft if it had one."""

    tokens: Sequence[int]
    drafted: int = 0
    accepted: int = 0


@dataclass
class LlamaCpp:
    """Answers every prompt with ``prefill`` and ``steps``; counts like the real one."""

    prefill: int = 10
    steps: Sequence[Step] = (Step([11, 12, 13], 4, 2), Step([14]), Step([15], 4, 0))
    stop_type: str = "limit"
    slots: int = 8
    speculative: bool = True
    spelling: bool = True
    """Whether /tokenize spells texts as the model does."""
    likely: Sequence[int] = (3, 4)
    counted: dict[str, int] = field(default_factory=dict)
    url: str = ""

    def __post_init__(self) -> None:
        self.counted = dict.fromkeys(("predicted", "drafts", "drafted", "accepted"), 0)
        self.script = Script(events=self.events)
        self.script.pages = {
            "/health": {"status": "ok"},
            "/props": {
                "default_generation_settings": {
                    "n_ctx": 2048,
                    "params": {"temperature": 0.8, "speculative.n_min": 1},
                },
                "total_slots": self.slots,
                "model_path": "/models/tiny.gguf",
                "model_ftype": "Q4_1",
                "build_info": "b11549-0123abc",
            },
            "/slots": lambda: [{"id": 0, "n_ctx": 2048, "speculative": self.speculative}],
            "/v1/models": {"data": [{"id": "tiny", "meta": {"n_vocab": _BYTES + 256}}]},
            "/metrics": self.metrics,
        }
        self.script.posts = {
            "/detokenize": lambda body: {"content": "".join(map(word, body["tokens"]))},
            "/tokenize": self.tokenize,
            "/completion": self.probabilities,
        }

    def metrics(self) -> str:
        names = {
            "tokens_predicted": "predicted",
            "spec_decode_num_drafts": "drafts",
            "spec_decode_num_draft_tokens": "drafted",
            "spec_decode_num_accepted_tokens": "accepted",
        }
        return "".join(
            f"# TYPE llamacpp:{name}_total counter\nllamacpp:{name}_total {self.counted[key]}\n"
            for name, key in names.items()
        )

    def tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"tokens": spelled(body["content"]) if self.spelling else [7]}

    def probabilities(self, body: dict[str, Any]) -> dict[str, Any]:
        self.counted["predicted"] += 1
        entries = [
            {
                "id": token,
                "token": text_bytes(token).decode(errors="replace"),
                "bytes": list(text_bytes(token)),
                "logprob": -0.5 - rank,
            }
            for rank, token in enumerate(self.likely[: body["n_probs"]])
        ]
        return {"completion_probabilities": [{"id": 1, "top_logprobs": entries}]}

    def events(self, body: dict[str, Any]) -> list[Event]:
        events: list[Event] = []
        text, sent = b"", 0
        timings: dict[str, Any] = {"predicted_n": 0, "predicted_ms": 0.001}
        for number, step in enumerate([Step([self.prefill]), *self.steps]):
            if number:
                timings["predicted_ms"] += 7.25
            if step.drafted:
                timings["draft_n"] = timings.get("draft_n", 0) + step.drafted
                timings["draft_n_accepted"] = timings.get("draft_n_accepted", 0) + step.accepted
                self.counted["drafts"] += 1
            for token in step.tokens:
                timings["predicted_n"] += 1
                text += b"" if token == STOP else text_bytes(token)
                try:
                    whole = text.decode()
                except UnicodeDecodeError:
                    continue  # within a character: no event
                events.append(self.event(whole[sent:], [token], timings))
                sent = len(whole)
        self.counted["predicted"] += timings["predicted_n"]
        self.counted["drafted"] += timings.get("draft_n", 0)
        self.counted["accepted"] += timings.get("draft_n_accepted", 0)
        end = self.event("", [], timings) | {
            "stop": True,
            "stop_type": self.stop_type,
            "truncated": False,
        }
        return [*events, end]

    def event(self, text: str, tokens: list[int], timings: dict[str, Any]) -> dict[str, Any]:
        return {
            "index": 0,
            "content": text,
            "tokens": tokens,
            "stop": False,
            "id_slot": -1,
            "tokens_predicted": timings["predicted_n"],
            "tokens_evaluated": 3,
            "timings": {"cache_n": 0, "prompt_n": 3, "prompt_ms": 4.0, **timings},
        }
