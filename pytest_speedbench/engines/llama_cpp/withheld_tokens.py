"""The ids of tokens that llama.cpp's server withholds from its stream.

A token that ends within a character (some bytes of an emoji or a Chinese character) has no event.
The text comes with the token that completes the character; the ids before it are not sent. They are
reconstructed: the tokenizer encodes the text, and if that does not agree with the known ids, the
most likely tokens that fit are taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_speedbench.engines.llama_cpp import next_token
from pytest_speedbench.engines.serving.answer import UNKNOWN_ID, Answer
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.schema import NextTokens, Tokenized
from pytest_speedbench.errors import EngineError

_CANDIDATES = 500
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Gap:
    """``count`` withheld tokens at ``position`` of the output, and the ``text`` that came with the
    token ``after`` them; no text and no token if the output ended within a character."""

    position: int
    count: int
    text: str = ""
    after: int | None = None


def gaps(answer: Answer) -> list[Gap]:
    """Every run of withheld tokens, in order."""
    found = []
    ids, start = answer.token_ids, 0
    for size, note in zip(answer.chunks, answer.notes, strict=True):
        count = ids[start : start + size].count(UNKNOWN_ID)
        if count:
            last = ids[start + size - 1] if size > count else None
            found.append(Gap(start, count, note.text, last))
        start += size
    return found


async def fill(http: Http, answer: Answer, plain: int) -> int:
    """Puts the withheld ids into ``answer``; returns the output tokens that this generated.

    ``plain`` is any token that is an ordinary word.

    Raises:
        EngineError: they cannot be reconstructed.
    """
    asked = 0
    encodings: dict[Gap, list[int]] = {}
    for gap in gaps(answer):
        alike = Gap(0, gap.count, gap.text, gap.after)
        found = encodings.get(alike) or await _encoded(http, gap)
        if found is None:
            found = await _most_likely(http, answer, gap, plain)
            asked += gap.count
        else:
            encodings[alike] = found
        answer.token_ids[gap.position : gap.position + gap.count] = found
    return asked


async def _encoded(http: Http, gap: Gap) -> list[int] | None:
    """The tokenizer's ids of the text, if they agree with what is known."""
    if gap.after is None or not gap.text or _REPLACEMENT in gap.text:
        return None
    body = {"content": gap.text, "add_special": False, "parse_special": False}
    ids = (await http.ask("/tokenize", body, Tokenized)).tokens
    return ids[:-1] if len(ids) == gap.count + 1 and ids[-1] == gap.after else None


async def _most_likely(http: Http, answer: Answer, gap: Gap, plain: int) -> list[int]:
    """The most likely tokens, one after another, that fit."""
    found: list[int] = []
    written = b""
    wanted = None if _REPLACEMENT in gap.text or gap.after is None else gap.text.encode()
    for _ in range(gap.count):
        prompt = [*answer.request.prompt_ids, *answer.token_ids[: gap.position], *found]
        body = next_token.body(prompt, _CANDIDATES, plain)
        for entry in next_token.entries(await http.ask(next_token.PATH, body, NextTokens)):
            text = written + bytes(entry.bytes)
            if is_cut(text) and (wanted is None or wanted.startswith(text)):
                found.append(entry.id)
                written = text
                break
        else:
            raise EngineError(
                f"request {answer.request.id}: the server withheld the token at position "
                f"{gap.position + len(found)} of the output, which ends within a character, and "
                f"none of the {_CANDIDATES} most likely tokens fits there"
            )
    return found


def is_cut(text: bytes) -> bool:
    """Whether ``text`` ends within a UTF-8 character."""
    for back in range(1, min(4, len(text)) + 1):
        lead = text[-back]
        if lead >= 0xC0:
            length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return back < length
        if lead < 0x80:
            return False
    return False
