"""How much two prompts of a bucket have in common: beginnings (never), and body text (a share)."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

PREFIX_TOKENS: Final = 256
_UNIT: Final = re.compile(r"[^\n.?!]{20,}")
"""A run of at least 20 characters within a line and a sentence."""


class PrefixBook:
    """The first 256 token ids of every prompt so far, each at most once."""

    def __init__(self) -> None:
        self._seen: Final[set[bytes]] = set()

    def add(self, ids: Sequence[int]) -> bool:
        """Enter a prompt; False (and not entered) where its beginning was there before."""
        key = array("I", ids[:PREFIX_TOKENS]).tobytes()
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def longest_shared(self) -> int:
        """Return the longest common beginning of any two prompts, in tokens (below 256)."""
        ordered = sorted(_ids(key) for key in self._seen)
        return max((_common(left, right) for left, right in pairwise(ordered)), default=0)


def _ids(key: bytes) -> list[int]:
    ids = array("I")
    ids.frombytes(key)
    return ids.tolist()


def _common(left: list[int], right: list[int]) -> int:
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))


class ReuseMeter:
    """Share of characters in lines and sentences that an earlier prompt of the bucket has too.

    Holds one hash per distinct line or sentence, not the text.
    """

    def __init__(self) -> None:
        self._seen: Final[set[int]] = set()
        self.begin()

    def begin(self) -> None:
        """Begin a new tier: the share starts again, what was seen stays seen."""
        self._reused = 0
        self._all = 0

    def add(self, text: str) -> None:
        """Count one prompt; repeats within it are not reuse."""
        units = {hash(unit): len(unit) for unit in _UNIT.findall(text)}
        self._all += sum(units.values())
        self._reused += sum(size for key, size in units.items() if key in self._seen)
        self._seen.update(units)

    def share(self) -> float:
        """Return reused characters over all, in [0, 1]; 0 before anything was counted."""
        return self._reused / self._all if self._all else 0.0
