"""The window of a round in which all slots are busy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.measure.window import steady_round, steady_window


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
def test_no_more_requests_are_decoded_at_once_than_slots(load: tuple[list[Trace], int]) -> None:
    traces, batch = load
    busy = [
        sum(t.times[0] <= moment <= t.times[-1] for t in traces)
        for moment in {t.times[0] for t in traces}
    ]
    assert steady_round(traces, batch).at_once == max(busy)
    assert max(busy) <= batch


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
    from pytest_speedbench.errors import EngineError

    with pytest.raises(EngineError, match="no request of the round gave any output"):
        steady_round([], 2)
    with pytest.raises(EngineError, match="no request of the round gave any output"):
        steady_round([Trace("a", 1, 0.0)], 1)
