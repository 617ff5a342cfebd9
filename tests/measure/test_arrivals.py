"""What can be timed where a stream comes in bursts, or holds its first tokens back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines import RequestTotals, Trace
from pytest_speedbench.errors import NoData
from pytest_speedbench.measure.arrivals import Span, decoding_span, first_token_shown, in_burst
from pytest_speedbench.measure.metrics import step_time, ttft, user_tps
from pytest_speedbench.measure.results import Turn


def trace(times: Sequence[float], chunks: Sequence[int] = (), **other: object) -> Trace:
    """Of a request that was sent at 0; one token an arrival unless ``chunks`` says more."""
    sizes = list(chunks) or [1] * len(times)
    return Trace("r", 5, 0.0, chunks=sizes, times=list(times), **other)


def turns(*traces: Trace) -> list[Turn]:
    return [Turn(f"s{number}", "math", 0, one) for number, one in enumerate(traces)]


STEADY = trace([0.1 + 0.01 * n for n in range(32)])
BUFFERED = trace([0.5 + 1e-5 * n for n in range(32)])


def test_a_steady_stream() -> None:
    assert decoding_span(STEADY) == Span(31, 31, pytest.approx(0.31))
    assert first_token_shown(STEADY)


@pytest.mark.parametrize(
    "late",
    [
        BUFFERED,
        trace([0.5] * 32),
        trace([5.0 + 3e-5 * n for n in range(2000)]),
        trace([0.5, 0.5 + 1e-4], [16, 16]),
        trace([0.5 + 7e-4 * n for n in range(32)]),  # read by a busy client
        trace([0.5 + 1e-5 * n for n in range(8)], [1] * 8, totals=RequestTotals(7)),
    ],
)
def test_a_burst_says_nothing_of_the_engine(late: Trace) -> None:
    assert in_burst(late)
    assert decoding_span(late) is None
    assert not first_token_shown(late)


@pytest.mark.parametrize(
    "quick",
    [
        trace([10.0 + 0.01 * n for n in range(8)]),  # a long prompt and a short answer
        trace([0.01 + 0.0005 * n for n in range(64)]),  # a tiny model
        trace([0.5]),
        trace([]),
    ],
)
def test_what_is_quick_is_no_burst(quick: Trace) -> None:
    assert not in_burst(quick)


def test_a_proxy_that_sends_every_half_second() -> None:
    """What came together at first is not counted over the time of the rest."""
    flushed = trace([0.5] * 16 + [1.0] * 16)
    assert decoding_span(flushed) == Span(16, 16, 0.5)
    totals = trace([0.5] * 16 + [1.0] * 17, totals=RequestTotals(16))
    assert decoding_span(totals) == Span(17, 8, 0.5)


def test_the_rate_is_tokens_over_time_and_not_a_mean_of_rates() -> None:
    slow = trace([0.1 + 0.1 * n for n in range(11)])
    quick = trace([0.1, 0.101])
    assert user_tps(turns(slow, quick)).value == pytest.approx(11 / 1.001)


def test_bursts_are_left_out_where_others_can_be_timed() -> None:
    mixed = turns(STEADY, BUFFERED)
    assert user_tps(mixed).value == pytest.approx(100.0)
    assert step_time(mixed).value == pytest.approx(0.01)
    assert ttft(mixed).value == pytest.approx(0.1)


@pytest.mark.parametrize("metric", [user_tps, ttft, step_time])
def test_bursts_alone_are_no_data(metric: object) -> None:
    with pytest.raises(NoData, match="came in bursts"):
        metric(turns(BUFFERED))


def test_hidden_tokens_leave_a_rate_but_no_ttft() -> None:
    hiding = trace([0.5 + 0.01 * n for n in range(8)], [25, *[1] * 7], hidden_tokens=24)
    hiding.totals = RequestTotals(31)
    assert user_tps(turns(hiding)).value == pytest.approx(100.0)
    for metric in (ttft, step_time):
        with pytest.raises(NoData, match="does not send its first tokens"):
            metric(turns(hiding))


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=50),
    st.floats(0.001, 10),
)
def test_no_rate_is_above_what_the_duration_allows(gaps: list[float], first: float) -> None:
    """Either there is none, or its time is a fair share of the request's, or it is a slow one."""
    times = [first]
    for gap in gaps:
        times.append(times[-1] + gap)
    span = decoding_span(trace(times))
    if span is not None:
        rate = span.tokens / span.seconds
        assert rate <= max(1000.0, 21 * len(times) / times[-1])
