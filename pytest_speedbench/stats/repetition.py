"""How much of an answer repeats what it has said before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.stats.data import Ints

NGRAM = 8
REPEATS = 1 / 3
"""An answer repeats itself if this share of its n-grams occurred before in it."""
# The shortest answer that may be a loop, in n-grams.
_SHORTEST = 3
_CHARACTERS_PER_TOKEN = 4  # of most languages
_BASE = np.uint64(0x9E3779B97F4A7C15)


@cache
def _powers(length: int) -> NDArray[np.uint64]:
    """The coefficients of a polynomial hash, shape (length,)."""
    return _BASE ** np.arange(length, dtype=np.uint64)[::-1]


def repeats_itself(token_ids: Sequence[int] | Ints) -> bool:
    """Whether an answer is a loop for a good part; short ones never are."""
    return _repeats(token_ids, NGRAM)


def text_repeats_itself(text: str) -> bool:
    """As :func:`repeats_itself`, by the characters of an answer without token ids; its n-grams have
    as many of them as ``NGRAM`` tokens have on average."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return _repeats(codes, NGRAM * _CHARACTERS_PER_TOKEN)


def _repeats(ids: Sequence[int] | Ints, length: int) -> bool:
    return len(ids) >= _SHORTEST * length and bool(repeated_share(ids, length) >= REPEATS)


def repeated_share(token_ids: Sequence[int] | Ints, length: int = NGRAM) -> float:
    """Share of the n-grams of ``length`` tokens that occurred before in the same text.

    A loop of any period up to the text's length counts from its second turn on. 0 for a text
    without an n-gram.
    """
    ids = np.asarray(token_ids, dtype=np.uint64)
    count = len(ids) - length + 1
    if count < 1:
        return 0.0
    hashes = np.sort(
        np.correlate(ids, _powers(length))
    )  # a polynomial of each n-gram, modulo 2**64
    distinct = 1 + np.count_nonzero(hashes[1:] != hashes[:-1])
    return 1.0 - distinct / count
