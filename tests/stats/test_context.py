"""Acceptance by position in the context."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats import StepTrace, micro_al
from pytest_speedbench.stats.context import SMALLEST_DEPTH, al_by_depth

STEPS = st.lists(st.integers(1, 4), max_size=30)


def trace(sample: int, steps: list[int]) -> StepTrace:
    return StepTrace(str(sample), "math", 0, 1, np.array(steps, dtype=np.int64))


@given(st.lists(st.tuples(STEPS, st.integers(1, 5000)), min_size=1, max_size=8))
def test_buckets_hold_every_step_once(requests: list[tuple[list[int], int]]) -> None:
    traces = [trace(n, steps) for n, (steps, _) in enumerate(requests)]
    prompts = [prompt for _, prompt in requests]
    expected: dict[int, list[int]] = {}
    for steps, prompt in requests:
        position = prompt + 1
        for size in steps:
            end = SMALLEST_DEPTH
            while position >= end:
                end *= 2
            expected.setdefault(end, []).append(size)
            position += size
    if not expected:
        with pytest.raises(NoData):
            al_by_depth(traces, prompts)
        return
    found = al_by_depth(traces, prompts)
    assert [bucket.end for bucket in found] == sorted(expected)
    for bucket in found:
        sizes = expected[bucket.end]
        assert bucket.acceptance_length.value == pytest.approx(sum(sizes) / len(sizes))
        assert bucket.start == (bucket.end // 2 if bucket.end > SMALLEST_DEPTH else 0)


def test_one_bucket_is_the_whole() -> None:
    traces = [trace(n, [1 + n % 3, 2, 4, 1]) for n in range(9)]
    (bucket,) = al_by_depth(traces, [100] * 9)
    assert bucket.acceptance_length == micro_al(traces)


def test_a_drafter_that_fades_with_depth_shows() -> None:
    traces = [trace(n, [4] * 200 + [1] * 400) for n in range(6)]
    shallow, deep = al_by_depth(traces, [223] * 6)
    assert shallow.acceptance_length.value > 3.9
    assert deep.acceptance_length.value == 1.0
