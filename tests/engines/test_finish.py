"""Every engine's reasons for the end of an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines.finish import Finish, read_finish


@pytest.mark.parametrize("word", ["stop", "STOP", "eos", "tool_calls", "function_call", "end_turn"])
def test_a_natural_end_is_complete(word: str) -> None:
    assert read_finish(word) == Finish("stop")


@pytest.mark.parametrize("word", ["length", "Length", "limit", "max_tokens"])
def test_a_limit_of_length_is_a_cut(word: str) -> None:
    assert read_finish(word) == Finish("length")


@pytest.mark.parametrize(
    "word", ["abort", "error", "content_filter", "ABORT", "timeout", "cancelled", "repetition"]
)
def test_what_else_ends_an_answer_has_broken_it_off(word: str) -> None:
    assert read_finish(word) == Finish("abort", word)


@pytest.mark.parametrize("going_on", [None, ""])
def test_an_answer_that_goes_on_has_no_reason(going_on: object) -> None:
    assert read_finish(going_on) is None


@given(st.one_of(st.integers(), st.booleans(), st.floats(), st.lists(st.text()), st.text()))
def test_an_unknown_reason_is_never_taken_for_an_end(found: object) -> None:
    finish = read_finish(found)
    if finish is not None and finish.reason != "abort":
        assert isinstance(found, str)
        assert not finish.failure
    elif finish is not None:
        assert len(finish.failure) <= 201
