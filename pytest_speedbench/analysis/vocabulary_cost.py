"""What candidate vocabularies cost on the same outputs: everything that is shown of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_speedbench.analysis.coverage import (
    Ints,
    LostToken,
    Output,
    SliceCoverage,
    costliest_tokens,
    measure_coverage,
)
from pytest_speedbench.analysis.pruned_acceptance import ExpectedAcceptance, expect_by_slice


@dataclass(frozen=True, slots=True)
class VocabularyCost:
    """What one vocabulary costs.

    Attributes:
        name: what the user calls it.
        size: tokens that can be drafted.
        target_size: tokens of the target.
        slices: all outputs, then the categories and languages.
        expected: shape of ``slices``; empty where the outputs are not those of a drafter.
        lost: the tokens outside, those that cost most steps first.
    """

    name: str
    size: int
    target_size: int
    slices: tuple[SliceCoverage, ...]
    expected: tuple[ExpectedAcceptance, ...]
    lost: tuple[LostToken, ...]


@dataclass(frozen=True, slots=True)
class VocabularyCosts:
    """Several vocabularies on the same outputs.

    ``draft_length`` is the one that expected AL and lost steps are about, in tokens.
    """

    costs: tuple[VocabularyCost, ...]
    draft_length: int


def vocabulary_cost(
    name: str,
    token_ids: Ints,
    target_size: int,
    outputs: Sequence[Output],
    draft_lengths: Sequence[int],
    *,
    drafted_at: int = 0,
    most_lost: int = 12,
) -> VocabularyCost:
    """What the vocabulary ``token_ids``, shape (draft vocabulary,), costs on ``outputs``.

    Args:
        name: what the user calls it.
        token_ids: the target's ids.
        target_size: tokens of the target.
        outputs: the target's own.
        draft_lengths: those to give the ceiling of AL for, in tokens.
        drafted_at: draft length of the run with a drafter that the outputs are of; 0 for others.
        most_lost: how many tokens to list.

    Raises:
        NoData: no output has a decoded token, or steps are missing that ``drafted_at`` promises.
    """
    wanted = sorted({*draft_lengths, drafted_at} - {0})
    lost = costliest_tokens(outputs, token_ids, drafted_at or max(wanted))
    return VocabularyCost(
        name,
        len(token_ids),
        target_size,
        measure_coverage(outputs, token_ids, wanted),
        tuple(expect_by_slice(outputs, token_ids, drafted_at)) if drafted_at else (),
        tuple(lost[:most_lost]),
    )
