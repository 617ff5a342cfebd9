"""Answers that the engine broke off: counted, left out, and too many of them refused."""

from __future__ import annotations

import pytest

from pytest_speedbench.engines import Speculation, Trace
from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.failures import (
    count_failed,
    describe_failed,
    refuse_failed,
    too_many_failed,
)
from pytest_speedbench.measure.results import ArmResult, Pass, Turn


def turn(number: int, failure: str | None = None) -> Turn:
    trace = Trace("r", 1, 0.0, chunks=[1], times=[0.1])
    if failure is not None:
        trace.finish_reason, trace.failure = "abort", failure
    return Turn(f"s{number}", "math", 0, trace)


def test_failures_are_counted_by_the_engines_own_word() -> None:
    turns = [turn(1), turn(2, "error"), turn(3, "error"), turn(4, "")]
    failed = count_failed(turn.trace for turn in turns)
    assert failed == {"error": 2, "abort": 1}
    found = describe_failed(failed, 4)
    assert found == "3 of 4 answers were broken off ('error': 2, 'abort': 1)"


def test_the_most_common_reasons_are_shown() -> None:
    found = describe_failed({f"request {n} failed": 1 for n in range(7)} | {"abort": 2}, 20)
    assert found.startswith("9 of 20 answers were broken off ('abort': 2, 'request 0 failed': 1, ")
    assert found.endswith(", other reasons: 3)")


@pytest.mark.parametrize(
    ("word", "fix"),
    [("HTTP 429: slow down", "lower --speed-bs"), ("HTTP 500", "see the engine's own log")],
)
def test_the_fix_fits_the_reason(word: str, fix: str) -> None:
    assert fix in str(too_many_failed({word: 3}, 4, 0.01))


def test_the_share_is_that_of_all_passes() -> None:
    arm = ArmResult(Speculation("eagle3", 3))
    for failed in ({"error": 1}, {}, {"error": 1, "abort": 1}):
        arm.take(Pass([turn(n) for n in range(9)], failed=failed), first=True)
    assert (arm.answers, arm.failed) == (30, {"error": 2, "abort": 1})
    refuse_failed(arm, 0.1)
    with pytest.raises(EngineError, match=r"3 of 30 answers .* at most 9.0%.*--speed-max-failed"):
        refuse_failed(arm, 0.09)
