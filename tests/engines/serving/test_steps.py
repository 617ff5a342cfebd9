"""Chunks taken apart into steps: the truth must always be among the ways, alone where it can."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines.serving.steps import Arrangement, arrange

DL = 3


def test_chunks_that_are_steps_are_taken_as_they_are() -> None:
    assert arrange([1, 3, 1, 4], [2, 0, 3], every_step_drafts=True) == Arrangement([1, 3, 1, 4], 3)


def test_a_cut_last_step_is_a_step() -> None:
    assert arrange([1, 3, 2], [2, 3], every_step_drafts=True) == Arrangement([1, 3, 2], 2)


def test_merged_steps_that_all_draft_are_separated() -> None:
    assert arrange([1, 5, 3], [2, 1, 3], every_step_drafts=True) == Arrangement([1, 3, 2, 3], 3)


def test_the_prefills_token_may_lie_in_the_first_steps_chunk() -> None:
    assert arrange([4, 2], [2, 1], every_step_drafts=True) == Arrangement([1, 3, 2], 2)


def test_single_steps_of_a_lookup_lie_between() -> None:
    assert arrange([1, 1, 3, 1], [2], every_step_drafts=False) == Arrangement([1, 1, 3, 1], 3)


def test_if_the_order_is_ambiguous_the_number_of_steps_may_be_known() -> None:
    """One of four tokens and two single ones in a chunk of six; the last step accepted nothing."""
    assert arrange([1, 6, 1], [3, 0], every_step_drafts=False) == Arrangement(None, 4)


def test_if_the_last_step_may_be_cut_even_the_number_is_ambiguous() -> None:
    """Three tokens more at the end: a cut step of three, or two and a single one, ..."""
    assert arrange([1, 1, 3], [3], every_step_drafts=False) == Arrangement([1, 1, 3], 2)
    assert arrange([1, 4], [3], every_step_drafts=False) == Arrangement([1, 4], 1)
    assert arrange([2, 3], [3], every_step_drafts=False) == Arrangement(None, None)


@pytest.mark.parametrize(
    ("chunks", "accepted", "every"),
    [([1, 5], [2], True), ([1, 2], [2, 2], True), ([1, 2, 1], [2, 0], False), ([], [1], True)],
)
def test_what_cannot_be_is_none(chunks: list[int], accepted: list[int], every: bool) -> None:
    assert arrange(chunks, accepted, every_step_drafts=every) is None


def test_an_absurd_number_of_accepted_drafts_is_no_loop_over_it() -> None:
    assert arrange([4], [2**31], every_step_drafts=True) == Arrangement([1, 3], 1)
    assert arrange([1, 5, 3], [2**31] * 9, every_step_drafts=False) is None


def test_no_tokens_are_no_steps() -> None:
    assert arrange([], [], every_step_drafts=True) == Arrangement([], 0)


steps = st.lists(st.one_of(st.none(), st.integers(0, DL)), max_size=7)  # None: no draft


@given(steps, st.integers(0, DL), st.lists(st.booleans(), min_size=8, max_size=8))
def test_the_truth_is_among_the_ways(
    per_step: list[int | None], cut: int, merged: list[bool]
) -> None:
    sizes = [1, *(1 if accepted is None else accepted + 1 for accepted in per_step)]
    if per_step and per_step[-1] is not None:
        sizes[-1] = max(1, sizes[-1] - cut)
    chunks: list[int] = []
    for size, merge in zip(sizes, merged, strict=False):
        if merge and chunks:
            chunks[-1] += size
        else:
            chunks.append(size)
    accepted = [a for a in per_step if a is not None]
    found = arrange(chunks, accepted, every_step_drafts=None not in per_step)
    assert found is not None
    if found.sizes == chunks:
        return  # they could be steps as they are, and are taken as such
    assert found.steps in (None, len(per_step))
    if found.sizes is not None:
        assert set(accumulate(chunks)) <= set(accumulate(found.sizes))
        if None not in per_step:
            assert found.sizes == sizes
