"""From a pool of candidates to the bundled split: what ``speedbench splits curate`` runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_speedbench.errors import SplitError

from .curation import Progress, Quota, Selection, mean_similarity, select
from .embedding import DEFAULT_MODEL, embed_samples
from .model import Sample
from .scripts import main_script
from .writing import read_pool, write_split

if TYPE_CHECKING:
    from .curation import Floats

PAIR_LIMIT: Final = 0.85
REFERENCE_LIMIT: Final = 0.9
LONG_WORDS: Final = 900
_RANDOM_DRAWS: Final = 200


@dataclass(frozen=True, slots=True)
class Minimum:
    """At least ``share`` of a category's selection pass ``test``, where the pool has so many.

    ``category`` None: of each category.
    """

    name: str
    share: float
    test: Callable[[Sample], bool]
    category: str | None = None


def is_long(sample: Sample) -> bool:
    """Return whether the first turn has more than 900 words."""
    return len(sample.turns[0].split()) > LONG_WORDS


def is_not_latin(sample: Sample) -> bool:
    """Return whether the user writes mainly in a script other than Latin."""
    return main_script("\n".join(sample.turns)) not in ("LATIN", "(none)")


def is_chinese(sample: Sample) -> bool:
    """Return whether the user writes mainly in Chinese (not in another language about it)."""
    return sample.language == "zh" and main_script("\n".join(sample.turns)) == "CJK"


MINIMA: Final = (
    Minimum("multi-turn", 1 / 5, lambda sample: sample.multiturn),
    Minimum("first turn above 900 words", 1 / 16, is_long),
    Minimum("not in Latin script", 1 / 3, is_not_latin, category="multilingual"),
    Minimum("in Chinese", 1 / 40, is_chinese, category="multilingual"),
)


@dataclass(frozen=True, slots=True)
class CategoryReport:
    """What curation did in one category; similarities are mean pairwise cosines of first turns."""

    category: str
    candidates: int
    left_out: tuple[str, ...]
    chosen: int
    mean_similarity: float
    greedy_similarity: float
    random_similarity: float
    swaps: int


@dataclass(frozen=True, slots=True)
class CurationReport:
    """The split that was written and one line per category."""

    version: str
    digest: str
    categories: tuple[CategoryReport, ...]


def curate(
    pool_dir: Path,
    out_dir: Path,
    *,
    per_category: int,
    version: str,
    seed: int = 0,
    starts: int = 16,
    model: str = DEFAULT_MODEL,
    references: Sequence[Sample] = (),
    progress: Progress | None = None,
) -> CurationReport:
    """Select ``per_category`` of each pool file and write the split to ``out_dir``.

    Left out beforehand: the later one of two candidates nearer than 0.85, and candidates within
    0.9 of a reference prompt. The shares of ``MINIMA`` are kept where the pool has so many.
    Deterministic for the same pool, model and seed. Raises SplitError for a pool that is too
    small.
    """
    pools = read_pool(pool_dir)
    known = embed_samples(references, model=model) if references else None
    chosen: dict[str, list[Sample]] = {}
    reports = []
    for category, samples in pools.items():
        rows = embed_samples(samples, model=model, progress=progress)
        chosen[category], report = _one(
            category, samples, rows, known, per_category, seed, starts, progress
        )
        reports.append(report)
    made = {
        "selection": "greedy, then swaps (pytest_speedbench.splits.curation)",
        "embeddings": model,
        "per_category": per_category,
        "seed": seed,
        "starts": starts,
        "minimum_shares": {minimum.name: round(minimum.share, 4) for minimum in MINIMA},
        "candidates": {name: len(samples) for name, samples in pools.items()},
    }
    digest = write_split(out_dir, chosen, version=version, made=made)
    return CurationReport(version, digest, tuple(reports))


def _one(
    category: str,
    samples: Sequence[Sample],
    rows: Floats,
    references: Floats | None,
    k: int,
    seed: int,
    starts: int,
    progress: Progress | None,
) -> tuple[list[Sample], CategoryReport]:
    kept = distinct(rows, references)
    if len(kept) < k:
        raise SplitError(
            f"category {category!r}: {len(kept)} distinct candidates of {len(samples)}, "
            f"expected at least {k}; write more, or lower --per-category to {len(kept)}"
        )
    good, candidates = rows[kept], [samples[i] for i in kept]
    quotas = minimum_quotas(category, candidates, k)
    found = select(good, k, seed=seed, starts=starts, quotas=quotas, progress=progress)
    dropped = set(range(len(samples))) - set(kept)
    report = CategoryReport(
        category,
        len(samples),
        tuple(samples[i].id for i in sorted(dropped)),
        k,
        found.mean_similarity,
        found.greedy_similarity,
        random_similarity(good, k, seed),
        found.swaps,
    )
    return [candidates[i] for i in nested_order(found, good, candidates)], report


def distinct(rows: Floats, references: Floats | None = None) -> list[int]:
    """Return the rows that are near no earlier kept row (0.85) and no reference (0.9)."""
    kept: list[int] = []
    for index, row in enumerate(rows):
        if kept and float((rows[kept] @ row).max()) > PAIR_LIMIT:
            continue
        if references is not None and float((references @ row).max()) > REFERENCE_LIMIT:
            continue
        kept.append(index)
    return kept


def minimum_quotas(
    category: str, samples: Sequence[Sample], k: int, minima: Sequence[Minimum] = MINIMA
) -> list[Quota]:
    """Return the minima that concern the category as quotas that a selection of ``k`` can meet.

    Each is lowered to what the pool has and to what those before it leave of ``k``.
    """
    quotas, left = [], k
    for minimum in minima:
        if minimum.category in (None, category):
            members = tuple(minimum.test(sample) for sample in samples)
            quota = Quota(members, min(math.ceil(minimum.share * k), sum(members), left))
            quotas.append(quota)
            left -= quota.at_least
    return quotas


def random_similarity(rows: Floats, k: int, seed: int) -> float:
    """Return the mean similarity of random draws of ``k`` rows, averaged over 200 draws."""
    import numpy as np

    rng = np.random.default_rng(seed)
    draws = [rng.choice(len(rows), size=k, replace=False) for _ in range(_RANDOM_DRAWS)]
    return float(np.mean([mean_similarity(rows[draw]) for draw in draws]))


def nested_order(found: Selection, rows: Floats, samples: Sequence[Sample]) -> list[int]:
    """Order the chosen so that every prefix is itself diverse and has its share of multi-turn.

    Single- and multi-turn samples are each put in greedy order, then merged in proportion.
    """
    groups = []
    for multi in (False, True):
        members = sorted(i for i in found.indices if samples[i].multiturn is multi)
        groups.append([members[j] for j in _greedy_order(rows[members])] if members else [])
    singles, multis = groups
    merged: list[int] = []
    for position in range(1, len(found.indices) + 1):
        due = round(position * len(multis) / len(found.indices))
        used = len(merged) - sum(1 for i in merged if not samples[i].multiturn)
        merged.append(multis[used] if used < due else singles[len(merged) - used])
    return merged


def _greedy_order(rows: Floats) -> list[int]:
    """Greedy order of all rows, beginning with the row that is farthest from all."""
    import numpy as np

    sums = rows @ rows.sum(axis=0)
    running, order = np.zeros(len(rows)), [int(sums.argmin())]
    while len(order) < len(rows):
        running += rows @ rows[order[-1]]
        running[order] = np.inf
        order.append(int(running.argmin()))
    return order
