"""How much of an answer repeats what it has said before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_speedbench.stats.data import Ints

NGRAM = 8
REPEATS = 1 / 3
"""An answer repeats itself if this share of its n-grams occurred before in it."""
_SHORTEST = 24
_POWERS = np.uint64(0x9E3779B97F4A7C15) ** np.arange(NGRAM, dtype=np.uint64)[::-1]


def repeats_itself(token_ids: Sequence[int] | Ints) -> bool:
    """Whether an answer is a loop for a good part; short ones never are."""
    return len(token_ids) >= _SHORTEST and repeated_share(token_ids) >= REPEATS


def repeated_share(token_ids: Sequence[int] | Ints) -> float:
    """Share of the n-grams of ``NGRAM`` tokens that occurred before in the same text.

    A loop of any period up to the text's length counts from its second turn on. 0 for a text
    without an n-gram.
    """
    ids = np.asarray(token_ids, dtype=np.uint64)
    count = len(ids) - NGRAM + 1
    if count < 1:
        return 0.0
    hashes = np.sort(np.correlate(ids, _POWERS))  # a polynomial of each n-gram, modulo 2**64
    distinct = 1 + np.count_nonzero(hashes[1:] != hashes[:-1])
    return 1.0 - distinct / count
