"""The output in one event of a stream: answer, reasoning, and whatever else there is.

Chat servers put output into many fields (``reasoning_details``, ``tool_calls``, ``refusal``,
``audio``), and more are to come. Whatever is not empty has arrived, under any name; the answer is
``content`` alone, as a chat client sends it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_speedbench.engines.serving.pieces import Piece
from pytest_speedbench.engines.serving.schema import Choice

_REASONING = ("reasoning_content", "reasoning", "thinking")
# Fields that are no output by themselves: the author, and labels of a part of the output.
_AUTHOR = ("role", "name")
_LABELS = ("type", "index", "id", "format")


def read_completion_choice(choice: Choice) -> Piece:
    """The output of ``choices[0]`` of a completion: text, or token ids."""
    return Piece(
        choice.get("token_ids") or (),
        choice.get("text") or "",
        finish_reason=choice.get("finish_reason"),
    )


def read_chat_choice(choice: Choice) -> Piece:
    """The output of ``choices[0]`` of a chat.

    Raises:
        ValueError: ``content`` is neither text nor a list of parts.
    """
    ids, reason = choice.get("token_ids") or (), choice.get("finish_reason")
    delta = choice.get("delta")
    if delta is None:
        delta = choice.get("message") or {}
    if len(delta) == 1 and type(alone := delta.get("content")) is str and alone:
        return Piece(ids, alone, finish_reason=reason)  # nearly every event
    text, reasoning = "", ""
    for kind, found in _content(delta.get("content")):
        if kind == "text":
            text += found
        else:
            reasoning += found
    others = {k: v for k, v in delta.items() if k not in ("content", *_AUTHOR)}
    texts = [others.pop(name) for name in _REASONING if isinstance(others.get(name), str)]
    reasoning += next(filter(None, texts), "")  # some servers send it under two names
    other = not _empty(others)
    if not (text or reasoning):
        other |= not _empty(_logprobs(choice.get("logprobs")))
    if not (text or reasoning or other):
        text = choice.get("text") or ""
    return Piece(ids, text, reasoning, other, finish_reason=reason)


def _content(found: Any) -> Iterator[tuple[str, str]]:
    """(kind, text) of the parts: one text, or a list of parts of which only some are the answer."""
    if found is None:
        return
    if isinstance(found, str):
        yield "text", found
        return
    if not isinstance(found, list):
        raise ValueError(f"choices.0.delta.content: expected text, got {found!r:.80}")
    for part in found:
        if isinstance(part, str):
            yield "text", part
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            yield (
                "text" if part.get("type", "text") in ("text", "output_text") else "other",
                part["text"],
            )
        elif not _empty(part):
            yield "other", str(part)


def _logprobs(found: Any) -> Any:
    """The entries of the tokens: there is one even for a token without text of its own."""
    return found.get("content") or found.get("tokens") if isinstance(found, Mapping) else None


def _empty(value: Any) -> bool:
    """Whether there is no output in ``value``, at any depth."""
    if isinstance(value, Mapping):
        return all(_empty(part) for name, part in value.items() if name not in _LABELS)
    if isinstance(value, list):
        return all(map(_empty, value))
    return not value
