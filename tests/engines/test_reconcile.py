"""Chunks are steps only where the engine's own number of steps proves it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines.protocol import RequestTotals
from pytest_speedbench.engines.reconcile import Reconciled, reconcile

DL = 3


def reported(steps: int, accepted: int) -> RequestTotals:
    return RequestTotals(steps, DL * steps, accepted)


def test_as_many_chunks_as_steps_are_steps() -> None:
    assert reconcile([1, 4, 1, 3], reported(3, 5), DL) == Reconciled([3, 3, 3], [3, 0, 2])


def test_the_cut_of_the_last_step_is_what_the_engine_accepted_and_did_not_emit() -> None:
    assert reconcile([1, 4, 2], reported(2, 6), DL) == Reconciled([3, 3], [3, 3])


def test_merged_chunks_leave_the_totals() -> None:
    assert reconcile([1, 8], reported(3, 5), DL) == Reconciled(totals=reported(3, 5))
    assert reconcile([5, 3], reported(2, 5), DL) == Reconciled(totals=reported(2, 5))


def test_a_merged_prefill_is_not_a_step_trace_even_if_the_counts_agree() -> None:
    """One plain pass too many and one merge too many cancel out."""
    assert reconcile([2, 4], reported(1, 3), DL).totals == reported(1, 3)


def test_more_chunks_than_steps_leave_their_number_unknown() -> None:
    found = reconcile([1, 4, 1, 1], reported(2, 3), DL)
    assert found == Reconciled(totals=RequestTotals(None, 6, 3))


def test_steps_without_usable_draft_counts_are_steps_all_the_same() -> None:
    assert reconcile([1, 2, 2], RequestTotals(2, None, 2), DL) == Reconciled()
    assert reconcile([1, 2, 2], RequestTotals(2, 6, None), DL) == Reconciled()
    assert reconcile([1, 2, 2], RequestTotals(2, 5, 2), DL) == Reconciled()  # a step drafted less
    assert reconcile([1, 2, 2], RequestTotals(2, 6, 6), DL) == Reconciled()  # more than a cut


def test_only_the_count_of_the_engine_proves_steps() -> None:
    assert reconcile([1, 2, 2], RequestTotals(2, None, 2), DL).steps_proven
    assert not reconcile([1, 3], RequestTotals(2, None, 2), DL).steps_proven


def test_nothing_reported_is_nothing_known() -> None:
    assert reconcile([1, 3], RequestTotals(), DL) == Reconciled(totals=RequestTotals())


@pytest.mark.parametrize("chunks", [[1], []])
def test_a_request_without_a_decoding_step(chunks: list[int]) -> None:
    expected = Reconciled([], []) if chunks else Reconciled(totals=RequestTotals(0, 0, 0))
    assert reconcile(chunks, RequestTotals(0, 0, 0), DL) == expected


@given(st.lists(st.integers(0, DL), min_size=1, max_size=30), st.integers(0, DL))
def test_whatever_was_accepted_is_found_again(accepted: list[int], cut: int) -> None:
    steps = [count + 1 for count in accepted]
    steps[-1] -= min(cut, accepted[-1])
    found = reconcile([1, *steps], reported(len(steps), sum(accepted)), DL)
    assert found == Reconciled([DL] * len(steps), accepted)
