"""The line of progress: how far the whole session is, and what is done now."""

from __future__ import annotations

from pytest_speedbench.measure.load import Meter
from pytest_speedbench.session.progress import Overall, _first_parts


def overall(requests: int, planned: int | None, seconds: float = 10.0) -> str:
    times = iter([100.0, 100.0 + seconds])
    meter = Meter(requests, 50 * requests)
    return str(Overall(meter, 12, lambda: planned, lambda: next(times), finished=3))


def test_before_the_first_request_the_cases_alone() -> None:
    assert overall(0, 40) == "3/12 cases"


def test_rates_and_the_time_that_is_left() -> None:
    assert overall(20, 80) == "3/12 cases · 20/80 requests · 100 tokens/s · 30 s left"


def test_no_promise_while_most_of_the_time_was_the_start_of_an_engine() -> None:
    assert overall(39, 800, 90) == "3/12 cases · 39/800 requests · 22 tokens/s"
    assert overall(40, 800, 90).endswith(" · 28.5 min left")


def test_no_promise_where_the_number_of_requests_is_unknown_or_exceeded() -> None:
    assert overall(20, None) == "3/12 cases · 20 requests · 100 tokens/s"
    assert overall(90, 80) == "3/12 cases · 90 requests · 450 tokens/s"


def test_a_line_on_the_screen_ends_with_a_whole_part() -> None:
    line = "  3/12 cases · 20/80 requests · vllm bs1 · no SD"
    assert _first_parts(line, 80) == line
    assert _first_parts(line, 35) == "  3/12 cases · 20/80 requests"
    assert _first_parts(line, 5) == "  3/1"
