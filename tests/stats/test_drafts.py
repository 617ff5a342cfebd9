"""Steps without a draft, and how much is proposed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats import StepTrace, TotalTrace
from pytest_speedbench.stats.drafts import draftless_share, proposed_length

STEPS = st.lists(st.integers(0, 3), min_size=1, max_size=20)


def trace(sample: int, drafted: list[int]) -> StepTrace:
    ones = np.ones(len(drafted), dtype=np.int64)
    return StepTrace(str(sample), "math", 0, 1, ones, None, np.array(drafted), 0 * ones)


@given(st.lists(STEPS, min_size=1, max_size=9))
def test_both_are_ratios_of_sums_over_steps(requests: list[list[int]]) -> None:
    traces = [trace(n, drafted) for n, drafted in enumerate(requests)]
    steps = [size for drafted in requests for size in drafted]
    share, length = draftless_share(traces), proposed_length(traces, 3)
    assert share.value == pytest.approx(steps.count(0) / len(steps))
    assert length.value == pytest.approx(sum(steps) / len(steps))
    for found, most in ((share, 1), (length, 3)):
        if found.low is not None:
            assert 0 <= found.low <= found.value <= found.high <= most


def test_totals_have_a_length_and_no_share() -> None:
    totals = [TotalTrace("a", "math", 0, 1, 11, 5, 10, 5)]
    assert proposed_length(totals, 3).value == 2.0
    with pytest.raises(NoData, match="the share of steps without a draft needs"):
        draftless_share(totals)


def test_unknown_drafts_are_no_data() -> None:
    unknown = [StepTrace("a", "math", 0, 1, np.array([2, 1]))]
    with pytest.raises(NoData, match="which decoding steps had a draft"):
        draftless_share(unknown)
    with pytest.raises(NoData, match="how many tokens it drafted"):
        proposed_length(unknown, 3)
