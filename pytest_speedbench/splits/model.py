"""Sample and Split: what is sent to an engine, and the set it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Final, Literal, TypeAlias

from pytest_speedbench.errors import SplitError

from .errors import unknown
from .identity import ID_LENGTH, content_digest, occurrence_ids, split_digest

CATEGORIES: Final = (
    "coding",
    "humanities",
    "math",
    "multilingual",
    "qa",
    "rag",
    "reasoning",
    "roleplay",
    "stem",
    "summarization",
    "writing",
)
TIERS: Final = ("low_entropy", "mixed", "high_entropy")
BUCKETS: Final = {"1k": 1024, "2k": 2048, "8k": 8192, "16k": 16384, "32k": 32768}
ALL: Final = "all"
"""The slice that means the whole split; no sample may use it as its category."""

Axis: TypeAlias = Literal["category", "entropy"]
Message: TypeAlias = dict[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt of a split.

    Attributes:
        id: unique in its split.
        category: category or entropy tier.
        turns: the user's messages in order; the model's own answers go between them. Empty where
            there are ``token_ids``.
        system: system prompt, if there is one.
        sub_category: finer than ``category``; free text.
        difficulty: as the source states it; free text.
        language: as the source states it.
        source: where the prompt comes from.
        licence: licence of the prompt.
        token_ids: shape (prompt tokens,), a ready prompt that is sent instead of rendered text
            (``random``).
        row: set for a row without an id of its own: the stem of its file and its number there,
            which is what older versions called it.
    """

    id: str
    category: str
    turns: tuple[str, ...]
    system: str | None = None
    sub_category: str = ""
    difficulty: str = ""
    language: str = ""
    source: str = ""
    licence: str = ""
    token_ids: tuple[int, ...] | None = None
    row: tuple[str, int] | None = field(default=None, compare=False)

    @property
    def content(self) -> str:
        """Digest of turns, system prompt and token ids, 16 hexadecimal digits."""
        return content_digest(self.turns, self.system, self.token_ids)[:ID_LENGTH]

    @property
    def digest(self) -> str:
        """Digest of category and content, 16 hexadecimal digits: what records keep of a row."""
        return digest_of([self])[:ID_LENGTH]

    @property
    def multiturn(self) -> bool:
        """Whether there is more than one user turn."""
        return len(self.turns) > 1

    def messages(self) -> list[Message]:
        """Return system prompt (if any) and first user turn as chat messages."""
        head = [{"role": "system", "content": self.system}] if self.system is not None else []
        return [*head, *({"role": "user", "content": turn} for turn in self.turns[:1])]


@dataclass(frozen=True, slots=True)
class TargetTokenizer:
    """The target's way from text to token ids; given by an engine or made from a tokenizer.

    ``render`` applies the chat template (generation prompt included) and returns token ids;
    ``name`` is part of the cache key of what is built with it.
    """

    name: str
    render: Callable[[list[Message]], list[int]]
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    vocab_size: int | None = None
    special_ids: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Split:
    """A named, versioned set of samples in a fixed order.

    A split narrowed by ``:category`` or ``only`` keeps the name and digest of the whole, so that
    its cases stay comparable.

    Attributes:
        name: name of the split, or of its file.
        version: version of the split.
        digest: sha256 over what can change a measurement: category, turns, system prompt and token
            ids of every sample of the *whole* split, whatever their order and ids.
        samples: the samples, in order.
        licence: licence of the split.
        axis: what ``Sample.category`` means, category or entropy tier.
        whole: the samples of the whole split.
    """

    name: str
    version: str
    digest: str
    samples: tuple[Sample, ...]
    licence: str
    axis: Axis = "category"
    whole: tuple[Sample, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        """The whole of a split that was not narrowed is the split itself."""
        if not self.whole:
            object.__setattr__(self, "whole", self.samples)

    @property
    def slices(self) -> tuple[str, ...]:
        """Categories or tiers that have samples: the known ones in canonical order, then others."""
        return order_slices(sample.category for sample in self.samples)

    def select(self, category: str | None = None, n: int | None = None) -> tuple[Sample, ...]:
        """Return the first ``n`` samples of each selected slice, in the split's order.

        ``category`` None or ``"all"`` selects every slice; ``n`` None takes all. Draws are nested:
        a smaller ``n`` is a prefix, slice by slice, of a larger one. Raises SplitError for an
        unknown category, naming the ones there are, and for an ``n`` below 1.
        """
        if n is not None and n < 1:
            raise SplitError(f"split {self.name!r}: samples must be at least 1, got {n}")
        room = dict.fromkeys(self._wanted(category), n or len(self.samples))
        chosen = []
        for sample in self.samples:
            if room.get(sample.category, 0):
                room[sample.category] -= 1
                chosen.append(sample)
        return tuple(chosen)

    def interleaved(self, category: str | None = None, n: int | None = None) -> tuple[Sample, ...]:
        """Return ``select``'s samples in balanced order: one of each slice, round robin."""
        rows: dict[str, list[Sample]] = {name: [] for name in self._wanted(category)}
        for sample in self.select(category, n):
            rows[sample.category].append(sample)
        return tuple(s for rank in zip_longest(*rows.values()) for s in rank if s is not None)

    def only(self, category: str) -> Split:
        """Return the same split (name, digest) holding the samples of one slice."""
        return self._with(self.select(category))

    def _wanted(self, category: str | None) -> tuple[str, ...]:
        slices = self.slices
        if category is None or category == ALL:
            return slices
        if category not in slices:
            raise unknown("category", category, (*slices, ALL), where=f"split {self.name!r}")
        return (category,)

    def _with(self, samples: tuple[Sample, ...]) -> Split:
        return replace(self, samples=samples)


def order_slices(names: Iterable[str]) -> tuple[str, ...]:
    """Return distinct names: categories and tiers in canonical order, then the rest as given."""
    present = dict.fromkeys(names)
    known = [name for name in (*CATEGORIES, *TIERS) if name in present]
    return (*known, *(name for name in present if name not in known))


def make_split(
    name: str,
    samples: Iterable[Sample],
    *,
    version: str = "",
    licence: str = "",
    axis: Axis | None = None,
) -> Split:
    """Return a Split with its digest; the axis is ``entropy`` where every category is a tier.

    Raises SplitError for no samples and for duplicate ids.
    """
    kept = tuple(samples)
    if not kept:
        raise SplitError(f"split {name!r} has no samples")
    _refuse_duplicates(name, kept)
    if axis is None:
        axis = "entropy" if all(s.category in TIERS for s in kept) else "category"
    return Split(name, version, digest_of(kept), kept, licence, axis)


def _refuse_duplicates(name: str, samples: tuple[Sample, ...]) -> None:
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise SplitError(f"split {name!r}: duplicate id {sample.id!r}; ids must be unique")
        seen.add(sample.id)


def digest_of(samples: Iterable[Sample]) -> str:
    """Return the sha256 (hex) of a whole split: category and content of its samples, unordered."""
    return split_digest(
        (sample.category, content_digest(sample.turns, sample.system, sample.token_ids))
        for sample in samples
    )


def name_rows(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Return the samples, those of rows without an id named by their content."""
    kept = list(samples)
    unnamed = [index for index, sample in enumerate(kept) if sample.row is not None]
    ids = occurrence_ids([(kept[i].category, kept[i].content) for i in unnamed])
    for index, name in zip(unnamed, ids, strict=True):
        kept[index] = replace(kept[index], id=name)
    return tuple(kept)


def require_context(bucket: str, context_window: int, max_tokens: int) -> None:
    """Raise SplitError where prompt and answer of ``throughput_<bucket>`` do not fit the window.

    ``context_window`` and ``max_tokens`` are in tokens; names the largest bucket that fits.
    """
    length = bucket_length(bucket)
    if length + max_tokens <= context_window:
        return
    fitting = [name for name, size in BUCKETS.items() if size + max_tokens <= context_window]
    fix = f"use throughput_{fitting[-1]}" if fitting else "no bucket fits"
    raise SplitError(
        f"throughput_{bucket}: {length} prompt tokens + {max_tokens} output tokens do not fit the "
        f"context window of {context_window} tokens; {fix}, lower max_tokens, or use a model "
        "with a longer context"
    )


def bucket_length(bucket: str) -> int:
    """Return a bucket's length in tokens (``"1k"`` is 1,024); SplitError for an unknown one."""
    name = bucket.removeprefix("throughput_")
    if name not in BUCKETS:
        raise unknown("throughput bucket", bucket, BUCKETS)
    return BUCKETS[name]
