"""The ``random`` split: uniform token ids, for comparison only.

Random input overstates throughput: drafters are accepted less or more than on text (some models
fall into trivial answers), and expert routing and caches see no real pattern. A test that asserts
speed on it should say so (:data:`WARNING`).
"""

from __future__ import annotations

import random
from typing import Final

from pytest_speedbench.errors import SplitError

from .model import Sample, Split, TargetTokenizer, make_split

WARNING: Final = (
    "split 'random' feeds uniform token ids: it overstates throughput and says nothing about "
    "acceptance on real text; use it beside a real split, never instead of one"
)
_PLAIN_RANGE: Final = (1000, 32000)
"""Ids that are ordinary pieces in the common tokenizers, for when none is given."""


def random_split(
    tokenizer: TargetTokenizer | None = None,
    *,
    name: str = "random",
    length: int = 1024,
    n: int = 80,
    seed: int = 0,
) -> Split:
    """Return ``n`` prompts of ``length`` uniform token ids each; deterministic under ``seed``.

    Ids come from the tokenizer's vocabulary without its special ids, or, with no tokenizer, from
    1,000 to 31,999. A longer draw of ``n`` begins with the shorter one. Raises SplitError for a
    length or n below 1 and for a tokenizer that does not report its vocabulary size.
    """
    if length < 1 or n < 1:
        raise SplitError(f"split 'random': length and n must be at least 1, got {length} and {n}")
    allowed = _allowed(tokenizer)
    samples = []
    for index in range(n):
        draw = random.Random(f"{seed}/{length}/{index}")
        ids = tuple(draw.choices(allowed, k=length))
        samples.append(
            Sample(
                id=f"random-{length}-{index:04d}",
                category="random",
                turns=(),
                source="uniform token ids",
                licence="Apache-2.0",
                token_ids=ids,
            )
        )
    return make_split(name, samples, version=f"1/{length}/{seed}", licence="Apache-2.0")


def _allowed(tokenizer: TargetTokenizer | None) -> list[int]:
    if tokenizer is None:
        return list(range(*_PLAIN_RANGE))
    if not tokenizer.vocab_size:
        raise SplitError(
            f"split 'random': tokenizer {tokenizer.name!r} does not report its vocabulary size; "
            "set TargetTokenizer.vocab_size"
        )
    return [i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids]
