"""The types of the protocol, and the former names of its modules."""

from __future__ import annotations

from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_speedbench
from pytest_speedbench.engines import Counters, Trace, spread_tokens


@given(st.integers(0, 500), st.integers(1, 60))
def test_tokens_are_spread_evenly_and_none_is_lost(tokens: int, arrivals: int) -> None:
    spread = spread_tokens(tokens, arrivals)
    assert (len(spread), sum(spread)) == (arrivals, tokens)
    assert max(spread) - min(spread) <= 1


def test_tokens_without_an_arrival_are_refused() -> None:
    assert spread_tokens(0, 0) == []
    with pytest.raises(ValueError, match="3 output tokens, but no arrival"):
        spread_tokens(3, 0)


def test_a_text_answer_has_the_tokens_that_were_counted() -> None:
    trace = Trace("r", 1, 0.0, chunks=spread_tokens(7, 3), times=[0.1, 0.2, 0.3], text="hello")
    assert trace.tokens == 7


@pytest.mark.parametrize(("before", "grown"), [(5, 7), (None, None)])
def test_output_tokens_of_counters_are_known_or_not(before: int | None, grown: int | None) -> None:
    assert (Counters(1, 3, 2, 12) - Counters(0, 0, 0, before)).output_tokens == grown
    assert (Counters(1, 3, 2, 12) + Counters()).output_tokens is None


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("pytest_speedbench.engines.host", "open_child"),
        ("pytest_speedbench.engines.backend", "StepOutput"),
    ],
)
def test_adapters_written_for_the_former_modules_still_load(module: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"import {name} from pytest_speedbench: "):
        found = getattr(import_module(module), name)
    assert found is getattr(pytest_speedbench, name)
    assert not hasattr(import_module(module), "anything_else")
