"""Prompt forms: what is made of a conversation before it becomes token ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Form = Literal["chat", "raw", "ids"]
"""The chat template applied, the text as it is, or the split's own token ids."""
FORMS: tuple[Form, ...] = ("chat", "raw", "ids")


def raw_text(messages: Iterable[tuple[str, str]]) -> str:
    """A conversation of (role, content) as plain text: an answer continues what is before it, and
    everything else begins after an empty line."""
    text = ""
    for role, content in messages:
        text += content if role == "assistant" or not text else f"\n\n{content}"
    return text
