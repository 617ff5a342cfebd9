"""Option values of any kind: read, or refused with what is expected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.errors import SpeedbenchError
from pytest_speedbench.plan.precedence import with_marker
from pytest_speedbench.plan.settings import Settings

from .mutations import refused, share

NAMES = sorted(Settings.options)
TEXTS = [
    *(*"=:,/%[]{}\"'. -+_@\x1b\ud800\x00١", "1", "0", "9" * 400, "1e999", "nan", "inf", "true"),
    *("math", "all", "acceptance_length", "ngram", "eagle3", "vllm", "random"),
]
pieces = st.lists(st.sampled_from(TEXTS) | st.text(max_size=4), max_size=6).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | pieces | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(pieces, inner, max_size=2)
        | st.tuples(inner, inner)
    ),
    max_leaves=4,
)


@share(50)
@given(st.sampled_from(NAMES), pieces | st.lists(pieces, max_size=3))
def test_text_of_the_command_line(name: str, text: Any) -> None:
    try:
        Settings.options[name].parse(text)
    except ValueError as error:
        refused(error)


@share(50)
@given(st.sampled_from(NAMES), values)
def test_values_of_a_marker(name: str, value: Any) -> None:
    try:
        with_marker(Settings(), {name: value})
    except SpeedbenchError as error:
        refused(error)


@pytest.mark.parametrize("name", NAMES)
def test_a_list_that_holds_itself_is_refused(name: str) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises((SpeedbenchError, ValueError)):
        with_marker(Settings(), {name: endless})
