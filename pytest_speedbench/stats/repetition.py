"""How much of an answer repeats what it has said before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NGRAM = 8
REPEATS = 1 / 3
"""An answer repeats itself if this share of its n-grams occurred before in it."""
_SHORTEST = 24
_BASE = np.uint64(0x9E3779B97F4A7C15)


def repeats_itself(token_ids: Sequence[int]) -> bool:
    """Whether an answer is a loop for a good part; short ones never are."""
    return len(token_ids) >= _SHORTEST and repeated_share(token_ids) >= REPEATS


def repeated_share(token_ids: Sequence[int], length: int = NGRAM) -> float:
    """Share of the n-grams of ``length`` tokens that occurred before in the same text.

    A loop of any period up to the text's length counts from its second turn on. 0 for a text
    without an n-gram.
    """
    ids = np.asarray(token_ids, dtype=np.uint64)
    count = len(ids) - length + 1
    if count < 1:
        return 0.0
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(length):  # wraps around: a polynomial modulo 2**64
        hashes = hashes * _BASE + ids[offset : offset + count] + np.uint64(1)
    return 1.0 - len(np.unique(hashes)) / count
