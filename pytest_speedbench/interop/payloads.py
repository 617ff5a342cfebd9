"""Requests in the form of OpenAI's API, as a client has sent them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Payload: TypeAlias = Mapping[str, Any]
_SAMPLING: Final = ("temperature", "top_p", "top_k", "min_p", "seed", "ignore_eos", "min_tokens")


def sampling(payloads: Sequence[Payload]) -> dict[str, str | int | float | bool]:
    """What every request says of its sampling and of the form of its prompt."""
    if not payloads:
        return {}
    known: dict[str, str | int | float | bool] = {}
    for name in _SAMPLING:
        value = common(payloads, name)
        if isinstance(value, int | float):
            known[name] = value
    most = common(payloads, "max_completion_tokens", "max_tokens")
    if isinstance(most, int):
        known["max_tokens"] = most
    known["prompt_form"] = "chat" if all("messages" in p for p in payloads) else "raw"
    if not any(payload.get("chat_template_kwargs") for payload in payloads):
        known["template"] = ""
    return known


def common(payloads: Sequence[Payload], *names: str) -> Any:
    """The value that all requests give one of ``names``; None where they differ or have none."""
    found = [next((p[n] for n in names if n in p), None) for p in payloads]
    return found[0] if found and all(value == found[0] for value in found) else None


def user_text(payload: Payload) -> str:
    """The last user message of a request, or its prompt."""
    prompt = payload.get("prompt")
    if isinstance(prompt, str):
        return prompt
    return _last_text(payload, "user")


def system_text(payload: Payload) -> str | None:
    return _last_text(payload, "system") or None


def _last_text(payload: Payload, role: str) -> str:
    messages = payload.get("messages")
    own = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    texts = [_text(m.get("content")) for m in own if m.get("role") == role]
    return texts[-1] if texts else ""


def _text(content: object) -> str:
    """The text of a message; empty where it is not text alone."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    known = [text for text in texts if isinstance(text, str)]
    return "\n".join(known) if len(known) == len(parts) else ""
