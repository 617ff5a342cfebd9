"""What a cut draft vocabulary costs: tokens that cannot be drafted, and the AL that this allows.

A decoding step drafts at most DL tokens and emits the accepted ones and one more, which the target
chooses itself. A token outside of the draft vocabulary can only be that last one: it ends its step.
So cut an output's decoded tokens y[n₀+1 … N] behind each token outside; a segment of L tokens takes
at least ⌈L / (DL + 1)⌉ steps. With D* = Σ ⌈L / (DL + 1)⌉ over the segments of an output,

    ceiling of AL = Σ (N - n₀) / Σ D*   over requests (micro, as AL itself)

No drafter with this vocabulary exceeds it on these outputs, a tree of depth DL included: the place
that j steps can reach never lies behind the one that j steps of full length reach, since a later
start of a step never brings its end forward.

A measured drafter is far from the ceiling; :mod:`~.pruned_acceptance` estimates what is left of
*its* AL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.errors import NoData
from pytest_speedbench.splits import ALL
from pytest_speedbench.splits.model import order_slices

Ints: TypeAlias = NDArray[np.integer[Any]]
Bools: TypeAlias = NDArray[np.bool_]
Axis = Literal["all", "category", "language"]


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One output of the target.

    Attributes:
        sample: id of the sample.
        category: category or entropy tier.
        language: ISO 639 code; empty where it is not known.
        token_ids: shape (N,), the output's tokens.
        prefill_tokens: n₀, tokens that the prefill emitted without a draft.
        steps: shape (decoding steps,), tokens that each emitted; None where they are not known.
    """

    sample: str
    category: str
    language: str
    token_ids: Ints
    prefill_tokens: int = 1
    steps: Ints | None = None

    @property
    def decoded(self) -> Ints:
        """The tokens that decoding steps emit, shape (N - n₀,)."""
        return self.token_ids[self.prefill_tokens :]


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The largest AL at one draft length: with the cut vocabulary, and with the ``whole`` one."""

    draft_length: int
    acceptance_length: float
    whole: float

    @property
    def loss(self) -> float:
        """Share of the whole vocabulary's ceiling that the cut takes away."""
        return 1 - self.acceptance_length / self.whole


@dataclass(frozen=True, slots=True)
class SliceCoverage:
    """The outputs of one category or language, or of ``all``.

    Attributes:
        axis: what ``name`` is.
        name: category, language or ``all``.
        samples: samples with an output.
        tokens: decoded tokens of their outputs.
        outside: of those the tokens outside of the vocabulary.
        ceilings: one for each draft length asked for.
    """

    axis: Axis
    name: str
    samples: int
    tokens: int
    outside: int
    ceilings: tuple[Ceiling, ...]

    @property
    def share_outside(self) -> float:
        """Share of the tokens that cannot be drafted."""
        return self.outside / self.tokens


@dataclass(frozen=True, slots=True)
class LostToken:
    """A token outside of a vocabulary.

    Attributes:
        token_id: the target's id.
        count: how often the target emits it.
        steps: decoding steps that the ceiling would be spared with it in the vocabulary.
    """

    token_id: int
    count: int
    steps: int


def measure_coverage(
    outputs: Sequence[Output], vocabulary: Ints, draft_lengths: Sequence[int]
) -> tuple[SliceCoverage, ...]:
    """What ``vocabulary`` costs on ``outputs``: of all, of each category and of each language.

    Languages are left out where only one is known. ``vocabulary`` has shape (draft vocabulary,),
    the target's ids.

    Raises:
        NoData: no output has a decoded token.
    """
    kept = [output for output in outputs if len(output.decoded)]
    if not kept:
        raise NoData("no output has a decoded token")
    inside = membership(kept, vocabulary)
    outside = [~inside[output.decoded] for output in kept]
    return tuple(
        _slice(axis, name, [(kept[i], outside[i]) for i in places], draft_lengths)
        for axis, name, places in slices_of(kept)
    )


def costliest_tokens(
    outputs: Sequence[Output], vocabulary: Ints, draft_length: int
) -> list[LostToken]:
    """Every token outside of ``vocabulary``, those that cost most decoding steps first."""
    inside = membership(outputs, vocabulary)
    counts, steps = Counter[int](), Counter[int]()
    for output in outputs:
        ids = output.decoded
        outside = ~inside[ids]
        if not outside.any():
            continue
        own, times = np.unique(ids[outside], return_counts=True)
        fewest = fewest_steps(outside, draft_length)
        for token, count in zip(own.tolist(), times.tolist(), strict=True):
            counts[token] += count
            steps[token] += fewest - fewest_steps(outside & (ids != token), draft_length)
    found = [LostToken(token, count, steps[token]) for token, count in counts.items()]
    return sorted(found, key=lambda lost: (-lost.steps, -lost.count, lost.token_id))


def fewest_steps(outside: Bools, draft_length: int) -> int:
    """Decoding steps that an output takes at least: D* of this module's formula.

    ``outside`` has shape (decoded tokens,), True for a token that cannot be drafted.
    """
    ends = np.flatnonzero(outside) + 1
    bounds = np.unique(np.concatenate([[0], ends, [len(outside)]]))
    segments = np.diff(bounds)
    return int((-(-segments // (draft_length + 1))).sum())


def rank_tokens(outputs: Iterable[Output], target_size: int, first: Sequence[int] = ()) -> Ints:
    """All tokens of the target, the most frequent ones of ``outputs`` first; shape (target_size,).

    Tokens ``first`` come before all others. Ties, and tokens that do not occur, stand in the order
    of their ids, which in a BPE vocabulary is that of their merges: the more frequent ones first.

    Raises:
        NoData: there is no output token.
    """
    counts = np.zeros(target_size, dtype=np.int64)
    for output in outputs:
        counts += np.bincount(output.token_ids, minlength=target_size)
    if not counts.any():
        raise NoData("no output has a token")
    counts[list(first)] = counts.max() + 1
    return np.argsort(-counts, kind="stable")


def membership(outputs: Iterable[Output], vocabulary: Ints) -> Bools:
    """True for every id of ``vocabulary``; long enough for every id of ``outputs``."""
    largest = max((int(o.token_ids.max()) for o in outputs if len(o.token_ids)), default=0)
    inside = np.zeros(max(largest, int(vocabulary.max())) + 1, dtype=np.bool_)
    inside[vocabulary] = True
    return inside


def slices_of(outputs: Sequence[Output]) -> Iterable[tuple[Axis, str, list[int]]]:
    """Axis, name and the places of its outputs: all, the categories, the languages."""
    yield "all", ALL, list(range(len(outputs)))
    for name in order_slices(output.category for output in outputs):
        yield "category", name, [i for i, o in enumerate(outputs) if o.category == name]
    tokens = Counter[str]()
    for output in outputs:
        tokens[output.language] += len(output.decoded)
    languages = [name for name, _ in tokens.most_common() if name]
    for name in languages if len(languages) > 1 else ():
        yield "language", name, [i for i, o in enumerate(outputs) if o.language == name]


def _slice(
    axis: Axis,
    name: str,
    outputs: Sequence[tuple[Output, Bools]],
    draft_lengths: Sequence[int],
) -> SliceCoverage:
    tokens = sum(len(outside) for _, outside in outputs)
    ceilings = []
    for dl in draft_lengths:
        steps = sum(fewest_steps(outside, dl) for _, outside in outputs)
        whole = sum(-(-len(outside) // (dl + 1)) for _, outside in outputs)
        ceilings.append(Ceiling(dl, tokens / steps, tokens / whole))
    return SliceCoverage(
        axis,
        name,
        len({output.sample for output, _ in outputs}),
        tokens,
        sum(int(outside.sum()) for _, outside in outputs),
        tuple(ceilings),
    )
