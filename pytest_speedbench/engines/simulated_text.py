"""The text of the simulated engine: a fixed function of what came before, apart from ties.

The first two tokens of the target's distribution are a tie everywhere.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from functools import lru_cache

from pytest_speedbench.engines.protocol import Sampling

VOCABULARY = 32_000
# Ordinary tokens start here; smaller ids are reserved for end-of-sequence and the like.
_FIRST_TOKEN = 16
_CONTEXT = 32


def digest(prompt: Sequence[int], *salt: object) -> int:
    text = f"{_joined(tuple(prompt))}|{salt}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@lru_cache(maxsize=512)
def _joined(numbers: tuple[int, ...]) -> str:
    """Comma-separated; kept, since each prompt is asked for at every token."""
    return ("%d," * len(numbers))[:-1] % numbers


def share(prompt: Sequence[int], *salt: object) -> float:
    return random.Random(digest(prompt, *salt)).random()


def context(prompt: Sequence[int], emitted: Sequence[int]) -> Sequence[int]:
    """The end of the text so far, which alone determines the next token."""
    missing = _CONTEXT - len(emitted)
    return [*prompt[-missing:], *emitted] if missing > 0 else emitted[-_CONTEXT:]


def choice(before: Sequence[int]) -> int:
    return neighbour(_FIRST_TOKEN, digest(before))


def neighbour(token: int, offset: int) -> int:
    return _FIRST_TOKEN + (token - _FIRST_TOKEN + offset) % (VOCABULARY - _FIRST_TOKEN)


def drawn_from(probabilities: Sequence[float], sampling: Sampling) -> list[float]:
    """The weights of the tokens that are kept, of ``probabilities`` in descending order."""
    most = probabilities[0]  # the others may come to nothing at a low temperature, this one not
    weights = [(p / most) ** (1.0 / sampling.temperature) for p in probabilities]
    kept = weights[: sampling.top_k or None]
    total = sum(kept)
    within = [w for i, w in enumerate(kept) if sum(kept[:i]) < sampling.top_p * total]
    return [w for w in within if w >= sampling.min_p * kept[0]]


def shifted(chance: float, shift: float) -> float:
    if chance in (0.0, 1.0):
        return chance
    return 1.0 / (1.0 + math.exp(-(math.log(chance / (1.0 - chance)) + shift)))
