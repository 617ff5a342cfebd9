"""Rounds: which samples each sends, and the window in which all slots are busy."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.measure.rounds import plan_rounds, steady_round, steady_window
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


@st.composite
def loads(draw: st.DrawFn) -> tuple[list[Trace], int]:
    """A closed loop: each slot sends its next request when the one before has ended."""
    batch = draw(st.integers(1, 6))
    waiting = draw(st.lists(st.integers(1, 8), min_size=1, max_size=20))
    pace = draw(st.lists(st.integers(1, 5), min_size=batch, max_size=batch))
    free = [0.0] * batch
    traces = []
    for number, steps in enumerate(waiting):
        slot = free.index(min(free))
        start = free[slot]
        times = [start + pace[slot] * (i + 1) for i in range(steps)]
        free[slot] = times[-1]
        traces.append(Trace(str(number), 1, start, [0] * steps * 2, [2] * steps, times))
    return traces, batch


@given(loads())
def test_a_round_counts_no_token_twice_and_takes_time(load: tuple[list[Trace], int]) -> None:
    traces, batch = load
    measured = steady_round(traces, batch)
    total = sum(trace.tokens for trace in traces)
    assert 0 < measured.tokens <= total
    assert measured.seconds > 0
    assert measured.requests == len(traces)
    if not measured.steady:
        assert measured.tokens == total


@given(loads())
def test_with_one_slot_nothing_is_left_out(load: tuple[list[Trace], int]) -> None:
    traces, batch = load
    if batch == 1:
        measured = steady_round(traces, 1)
        assert measured.tokens == sum(trace.tokens for trace in traces)
        assert measured.steady


@given(loads())
def test_every_slot_is_busy_inside_the_window(load: tuple[list[Trace], int]) -> None:
    traces, batch = load
    start, end = steady_window(traces, batch)
    if not steady_round(traces, batch).steady:
        return
    middle = (start + end) / 2
    busy = sum(t.submitted <= middle <= t.times[-1] for t in traces)
    assert busy >= batch


def test_ramp_and_drain_are_left_out() -> None:
    """Two slots; the second begins late, the first drains alone."""
    traces = [
        Trace("a", 1, 0.0, [0] * 9, [1] * 9, [float(i) for i in range(1, 10)]),
        Trace("b", 1, 1.0, [0] * 7, [1] * 7, [float(i) for i in range(2, 9)]),
    ]
    measured = steady_round(traces, 2)
    assert (measured.tokens, measured.seconds, measured.steady) == (12, 6.0, True)


def test_slots_that_empty_in_the_same_step_are_drain() -> None:
    """Three end at once, one is left to send: from there on two slots stay empty."""
    traces = [Trace(str(i), 1, 0.0, [0] * 4, [1] * 4, [1.0, 2.0, 3.0, 4.0]) for i in range(3)]
    traces.append(Trace("late", 1, 4.0, [0] * 4, [1] * 4, [5.0, 6.0, 7.0, 8.0]))
    assert steady_window(traces, 3) == (1.0, 4.0)


def test_fewer_requests_than_slots_are_never_steady() -> None:
    traces = [Trace("a", 1, 0.0, [0] * 4, [1] * 4, [1.0, 2.0, 3.0, 4.0])]
    measured = steady_round(traces, 2)
    assert (measured.tokens, measured.seconds, measured.steady) == (4, 4.0, False)


def test_a_round_without_any_output_says_so() -> None:
    from pytest_speedbench.engines.protocol import EngineError

    with pytest.raises(EngineError, match="no request of the round gave any output"):
        steady_round([], 2)
    with pytest.raises(EngineError, match="no request of the round gave any output"):
        steady_round([Trace("a", 1, 0.0)], 1)
