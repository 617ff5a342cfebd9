"""The draft vocabulary of a drafter: which of the target's tokens it can propose.

An EAGLE-3 head may draft from a part of the target's vocabulary. Its row i then stands for the
target's token ``i + d2t[i]``: ``d2t`` holds offsets, in vLLM, SGLang and TensorRT-LLM alike.
``t2d`` marks the same tokens in the target's vocabulary; trainers use it, engines do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_speedbench.engines.checkpoints import Checkpoint
from pytest_speedbench.errors import EngineError, count_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

D2T, T2D, LM_HEAD = "d2t", "t2d", "lm_head.weight"
_INTEGERS = ("I64", "I32", "I16")
_SHOWN = 3


@dataclass(frozen=True, slots=True, eq=False)
class DraftVocabulary:
    """The tokens that a drafter can propose.

    Attributes:
        token_ids: shape (draft vocabulary,), the target's id of each draft id.
        target_size: size of the target's vocabulary.
    """

    token_ids: NDArray[np.int64]
    target_size: int

    @property
    def size(self) -> int:
        """Number of tokens that can be drafted."""
        return len(self.token_ids)

    @property
    def whole(self) -> bool:
        """Whether every token of the target can be drafted."""
        return self.size == self.target_size


def is_cut(drafter: Checkpoint) -> bool:
    """Whether the configuration names a smaller vocabulary than the target's."""
    cut = drafter.number("draft_vocab_size")
    return cut is not None and cut != drafter.number("vocab_size")


def draft_vocabulary(drafter: Checkpoint) -> DraftVocabulary:
    """The tokens that ``drafter`` can propose.

    Raises:
        EngineError: its configuration names no vocabulary, or its map is missing or wrong.
    """
    import numpy as np

    whole = drafter.number("vocab_size")
    if whole is None:
        raise EngineError(f"the drafter {drafter.name} has no vocab_size in its config.json")
    refuse_wrong_map(drafter)
    if not is_cut(drafter):
        return DraftVocabulary(np.arange(whole), whole)
    return DraftVocabulary(_target_ids(drafter), whole)


def refuse_wrong_map(drafter: Checkpoint) -> None:
    """Refuses a cut vocabulary whose map to the target's ids is missing or wrong.

    Raises:
        EngineError: engines would load such a head without an error and draft wrong tokens.
    """
    for problem in map_problems(drafter):
        raise EngineError(f"the drafter {drafter.name} {problem}")


def map_problems(drafter: Checkpoint) -> Iterator[str]:
    """What is wrong with the map of a cut vocabulary, each as the end of a sentence."""
    whole, cut = drafter.number("vocab_size"), drafter.number("draft_vocab_size")
    if not drafter.tensors or whole is None or cut is None or cut == whole:
        return
    if cut > whole:
        yield f"has a draft_vocab_size of {cut}, more than its vocab_size of {whole}"
        return
    if D2T not in drafter.tensors:
        yield (
            f"has a vocabulary of {cut} of {whole} tokens and no 'd2t' map to the target's ids: it "
            "would load without an error and draft wrong tokens; save the head with its map"
        )
        return
    rows = drafter.shapes.get(LM_HEAD)
    if rows is not None and rows[0] != cut:
        yield f"has {rows[0]} rows in {LM_HEAD}, and a draft_vocab_size of {cut}"
    header = drafter.tensors[D2T]
    if header.shape != (cut,) or header.dtype not in _INTEGERS:
        shape = "x".join(map(str, header.shape))
        yield f"has a 'd2t' of {shape} {header.dtype}: expected {cut} integers (int64)"
        return
    yield from _id_problems(drafter, whole)


def _id_problems(drafter: Checkpoint, whole: int) -> Iterator[str]:
    import numpy as np

    ids = _target_ids(drafter)
    outside = np.flatnonzero((ids < 0) | (ids >= whole))
    if len(outside):
        offsets = drafter.array(D2T)
        as_ids = 0 <= offsets.min() <= offsets.max() < whole and _distinct(offsets)
        hint = (
            "; it seems to hold the target's ids, and engines expect offsets: save d2t - arange"
            if as_ids
            else ""
        )
        yield (
            f"has a 'd2t' that leads out of the target's vocabulary of {whole} tokens in "
            f"{count_of(len(outside), 'place')}, such as {_examples(outside, ids)}{hint}"
        )
    elif not _distinct(ids):
        _, first, counts = np.unique(ids, return_index=True, return_counts=True)
        repeated = first[counts > 1]
        yield (
            f"has a 'd2t' that leads to {count_of(len(repeated), 'token')} more than once, such as "
            f"{_examples(repeated, ids)}"
        )


def mark_problems(drafter: Checkpoint) -> Iterator[str]:
    """Where ``t2d`` disagrees with ``d2t``; no engine reads ``t2d``, trainers do."""
    import numpy as np

    header, whole = drafter.tensors.get(T2D), drafter.number("vocab_size")
    if header is None or not is_cut(drafter) or any(map_problems(drafter)):
        return
    if header.shape != (whole,):
        shape = "x".join(map(str, header.shape))
        yield f"has a 't2d' of {shape} entries: expected {whole}, one a token of the target"
        return
    marked, ids = np.flatnonzero(drafter.array(T2D)), _target_ids(drafter)
    for name, found in (
        ("'d2t' leads to and 't2d' does not mark", np.setdiff1d(ids, marked)),
        ("'t2d' marks and 'd2t' does not lead to", np.setdiff1d(marked, ids)),
    ):
        if len(found):
            shown = ", ".join(map(str, found[:_SHOWN]))
            yield f"has {count_of(len(found), 'token')} that {name}, such as {shown}"


def _target_ids(drafter: Checkpoint) -> NDArray[np.int64]:
    import numpy as np

    offsets = drafter.array(D2T).astype(np.int64)
    ids: NDArray[np.int64] = np.arange(len(offsets)) + offsets
    return ids


def _distinct(values: NDArray[Any]) -> bool:
    import numpy as np

    return len(np.unique(values)) == len(values)


def _examples(places: NDArray[Any], ids: NDArray[Any]) -> str:
    return ", ".join(f"{place} → {ids[place]}" for place in places[:_SHOWN])
