"""Rounds: which samples each sends."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.measure.rounds import plan_rounds
from pytest_speedbench.splits import Sample


def samples(count: int) -> list[Sample]:
    return [Sample(f"s{i}", "math", ("hello",)) for i in range(count)]


@given(st.integers(1, 60), st.integers(1, 16), st.integers(0, 6))
def test_every_sample_is_sent(count: int, batch: int, rounds: int) -> None:
    sent = samples(count)
    plan = plan_rounds(sent, batch, rounds)
    assert len(plan) == max(1, rounds)
    assert {s.id for block in plan for s in block} == {s.id for s in sent}


@given(st.integers(1, 60), st.integers(1, 16), st.integers(2, 6))
def test_samples_are_dealt_out_once_or_sent_whole_in_every_round(
    count: int, batch: int, rounds: int
) -> None:
    sent = samples(count)
    plan = plan_rounds(sent, batch, rounds)
    if sum(map(len, plan)) == count:
        assert all(len(block) >= 2 * batch for block in plan)
    else:
        assert all(block[:count] == tuple(sent) for block in plan)


@given(st.integers(1, 7), st.integers(0, 6), st.integers(2, 6))
def test_every_round_has_its_share_of_every_category(kinds: int, more: int, rounds: int) -> None:
    """The samples of a split come interleaved."""
    each = 2 * rounds + more
    sent = [Sample(f"s{i}", f"kind {i % kinds}", ("hello",)) for i in range(kinds * each)]
    plan = plan_rounds(sent, 1, rounds)
    for block in plan:
        counts = Counter(sample.category for sample in block)
        assert all(
            each // rounds <= counts[f"kind {k}"] <= -(-each // rounds) for k in range(kinds)
        )
        assert [s.id for s in block] == [s.id for s in sent if s in block]


@given(st.integers(1, 60), st.integers(2, 16), st.integers(1, 6))
def test_samples_that_fill_the_batch_are_repeated_until_they_hold_it(
    count: int, batch: int, rounds: int
) -> None:
    for block in plan_rounds(samples(count), batch, rounds):
        if count < batch:  # copies of one prompt side by side are nobody's load
            assert len(block) == count
        elif len(block) > count:
            assert len(block) == 4 * batch
            times = Counter(s.id for s in block).values()
            assert max(times) - min(times) <= 1


@pytest.mark.parametrize(("batch", "rounds"), [(1, 3), (8, 0)])
def test_nothing_is_repeated_at_batch_size_1_or_where_nothing_is_timed(
    batch: int, rounds: int
) -> None:
    assert all(len(block) == 2 for block in plan_rounds(samples(2), batch, rounds))
