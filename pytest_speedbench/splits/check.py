"""What ``speedbench splits check`` finds, as plain numbers; nothing is rendered here."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pytest_speedbench.errors import SplitError

from .curate import PAIR_LIMIT, REFERENCE_LIMIT
from .curation import mean_similarity
from .embedding import Embedder
from .languages import language_detector, language_mix, undeclared
from .model import ALL, Sample, Split
from .scripts import main_script

if TYPE_CHECKING:
    from .curation import Floats

NEAREST_IN_SPEC_BENCH: Final[Mapping[str, str]] = {"multilingual": "translation"}
"""Our categories whose counterpart in Spec-Bench has another name."""


@dataclass(frozen=True, slots=True)
class LengthStats:
    """Words of the user's text per sample (all turns), and turns, over one slice."""

    slice: str
    samples: int
    multiturn: int
    shortest: int
    median: float
    mean: float
    p90: float
    longest: int

    @property
    def multiturn_share(self) -> float:
        """Share of samples with more than one user turn, in [0, 1]."""
        return self.multiturn / self.samples


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two samples whose first turns are alike: cosine similarity in [-1, 1]."""

    left: str
    right: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Similarity:
    """Mean pairwise cosine similarity of the first turns within one slice; lower is more diverse.

    ``other`` is the figure of the same slice in the split compared with (Spec-Bench's translation
    for multilingual), None where it has none.
    """

    slice: str
    mean: float
    other: float | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All that ``check`` finds. Lists are empty where nothing was found.

    ``detected`` is how many samples declare no language, so that it was detected from their text
    (0 without a detector). ``near`` are pairs above 0.85 within the split, ``close_to_other`` pairs
    of a sample and one of the split compared with above 0.9, ``nearest_other`` the highest such
    similarity. The four embedding figures are None where no embeddings were asked for.
    """

    name: str
    digest: str
    lengths: tuple[LengthStats, ...]
    duplicates: tuple[tuple[str, ...], ...]
    languages: tuple[tuple[str, int], ...]
    scripts: tuple[tuple[str, int], ...]
    detected: int = 0
    near: tuple[NearPair, ...] | None = None
    similarity: tuple[Similarity, ...] | None = None
    close_to_other: tuple[NearPair, ...] | None = None
    nearest_other: NearPair | None = None


def check_split(
    split: Split,
    other: Split | None = None,
    *,
    embedder: Embedder | None = None,
) -> CheckReport:
    """Return the statistics of a split and, with an ``embedder``, its diversity and likeness.

    Raises SplitError for a split of token ids, and without sentence-transformers where an
    ``embedder`` is given.
    """
    _need_text(split)
    detect = language_detector()
    plain = CheckReport(
        split.name,
        split.digest,
        length_stats(split),
        duplicates(split.samples),
        language_mix(split.samples, detect),
        script_mix(split.samples),
        undeclared(split.samples) if detect else 0,
    )
    return plain if embedder is None else _with_embeddings(plain, split, other, embedder)


def partner_of(name: str, others: Container[str]) -> str:
    """Return the slice of another split that ``name`` is compared with, ``""`` for none."""
    if name in others:
        return name
    nearest = NEAREST_IN_SPEC_BENCH.get(name, "")
    return nearest if nearest in others else ""


def _need_text(split: Split) -> None:
    if any(not sample.turns for sample in split.samples):
        raise SplitError(f"split {split.name!r} holds token ids; there is no text to check")


def _with_embeddings(
    plain: CheckReport, split: Split, other: Split | None, embedder: Embedder
) -> CheckReport:
    rows = embedder.rows(split)
    other_rows = embedder.rows(other) if other else None
    near = nearest_pairs(split.samples, rows, above=PAIR_LIMIT)
    close: tuple[NearPair, ...] = ()
    nearest: NearPair | None = None
    if other is not None and other_rows is not None:
        pairs = nearest_to(split.samples, rows, other.samples, other_rows)
        close = tuple(pair for pair in pairs if pair.similarity > REFERENCE_LIMIT)
        nearest = pairs[0]
    theirs = slice_similarity(other, other_rows) if other and other_rows is not None else {}
    similarity = tuple(
        Similarity(name, mean, theirs.get(partner_of(name, theirs)))
        for name, mean in slice_similarity(split, rows).items()
    )
    return replace(
        plain,
        near=near,
        similarity=similarity,
        close_to_other=close if other else None,
        nearest_other=nearest,
    )


def length_stats(split: Split) -> tuple[LengthStats, ...]:
    """Return one line per slice, and one for ``all``."""
    groups = [(name, split.select(name)) for name in split.slices]
    return tuple(_lengths(name, samples) for name, samples in [*groups, (ALL, split.samples)])


def _lengths(name: str, samples: Sequence[Sample]) -> LengthStats:
    words = sorted(sum(len(turn.split()) for turn in sample.turns) for sample in samples)
    p90 = words[min(len(words) - 1, round(0.9 * (len(words) - 1)))]
    return LengthStats(
        name,
        len(samples),
        sum(sample.multiturn for sample in samples),
        words[0],
        statistics.median(words),
        statistics.fmean(words),
        p90,
        words[-1],
    )


def duplicates(samples: Sequence[Sample]) -> tuple[tuple[str, ...], ...]:
    """Return groups of ids whose turns are the same but for case and white space."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for sample in samples:
        groups[tuple(" ".join(turn.casefold().split()) for turn in sample.turns)].append(sample.id)
    return tuple(tuple(ids) for ids in groups.values() if len(ids) > 1)


def script_mix(samples: Sequence[Sample]) -> tuple[tuple[str, int], ...]:
    """Return the main script of each sample's letters (LATIN, CYRILLIC, CJK, …), counted."""
    counts = Counter(main_script("\n".join(sample.turns)) for sample in samples)
    return tuple(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def slice_similarity(split: Split, rows: Floats) -> dict[str, float]:
    """Return each slice's mean pairwise similarity; ``rows`` (N by D) are the split's samples."""
    where = defaultdict(list)
    for index, sample in enumerate(split.samples):
        where[sample.category].append(index)
    return {name: mean_similarity(rows[where[name]]) for name in split.slices}


def nearest_pairs(samples: Sequence[Sample], rows: Floats, *, above: float) -> tuple[NearPair, ...]:
    """Return all pairs of samples above a similarity, the nearest first."""
    found = [
        NearPair(samples[i].id, samples[j].id, value) for i, j, value in _pairs_above(rows, above)
    ]
    return tuple(sorted(found, key=lambda pair: -pair.similarity))


def _pairs_above(rows: Floats, above: float) -> Iterator[tuple[int, int, float]]:
    """Row by row, so that a large file needs no N by N matrix."""
    import numpy as np

    for i in range(len(rows) - 1):
        values = rows[i + 1 :] @ rows[i]
        for j in np.flatnonzero(values > above):
            yield i, i + 1 + int(j), float(values[j])


def nearest_to(
    samples: Sequence[Sample], rows: Floats, others: Sequence[Sample], other_rows: Floats
) -> tuple[NearPair, ...]:
    """Return each sample's nearest one in another split, the nearest pair first."""
    found = []
    for sample, row in zip(samples, rows, strict=True):
        values = other_rows @ row
        best = int(values.argmax())
        found.append(NearPair(sample.id, others[best].id, float(values[best])))
    return tuple(sorted(found, key=lambda pair: -pair.similarity))
