"""The prefix cache of the simulated engine: blocks of tokens, each known with all before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_speedbench.engines.protocol import Request

BLOCK = 4
"""Tokens of a block."""


class PrefixCache:
    """Keeps everything."""

    def __init__(self) -> None:
        self._blocks: set[int] = set()

    def cached(self, request: Request) -> int:
        """Prompt tokens whose blocks are there; the last one is always computed."""
        found = 0
        for end, block in _blocks(request.cache_salt, request.prompt_ids):
            if block not in self._blocks:
                break
            found = end
        return min(found, len(request.prompt_ids) - 1)

    def keep(self, request: Request, output: Sequence[int]) -> None:
        """Adds a finished request."""
        text = (*request.prompt_ids, *output)
        self._blocks |= {block for _, block in _blocks(request.cache_salt, text)}


def _blocks(salt: str, text: Sequence[int]) -> Iterator[tuple[int, int]]:
    """End and identity of each whole block; the identity includes that of the block before."""
    identity = hash(salt)
    for end in range(BLOCK, len(text) + 1, BLOCK):
        identity = hash((identity, *text[end - BLOCK : end]))
        yield end, identity
