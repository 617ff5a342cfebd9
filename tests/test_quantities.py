"""Changes read alike everywhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.quantities import about, change_of, exact, rate, span_of


@pytest.mark.parametrize(
    ("value", "text"), [(0.8, "0.8"), (1.0, "1"), (0, "0"), (1_000_000, "1000000"), (1e9, "1e+09")]
)
def test_a_setting(value: float, text: str) -> None:
    assert exact(value) == text


@given(st.integers(0, 2**63 - 1) | st.floats(0, 1e9))
def test_different_settings_differ(value: float) -> None:
    assert float(exact(value)) == float(value)
    assert not isinstance(value, int) or int(exact(value)) == value


@pytest.mark.parametrize(
    ("ratio", "digits", "text"),
    [(0.98, 2, "-2.00%"), (1.1, 1, "+10.0%"), (0.99999, 2, "+0.00%"), (0.75, 0, "-25%")],
)
def test_a_change(ratio: float, digits: int, text: str) -> None:
    assert change_of(ratio, digits) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(0.04, "0.0"), (592.26, "592.3"), (999.96, "1,000"), (13205.5, "13,206")],
)
def test_a_rate(per_second: float, text: str) -> None:
    assert rate(per_second) == text


@given(st.floats(0, 10), st.integers(0, 3))
def test_every_change_has_its_sign_and_none_is_minus_nothing(ratio: float, digits: int) -> None:
    text = change_of(ratio, digits)
    assert re.fullmatch(r"[+-]\d+(\.\d+)?%", text)
    assert float(text[:-1]) != 0 or text.startswith("+")


@given(st.integers(0, 10**12))
def test_an_estimated_count_has_two_digits_and_is_not_too_small(count: int) -> None:
    shown = about(count)
    assert count <= shown <= 1.1 * count + 1
    assert not str(shown)[2:].strip("0")


def test_limits_that_say_nothing_are_left_out() -> None:
    assert span_of(0.868, 0.884, 1) == "[-13.2%, -11.6%]"
    assert span_of(1.00001, 1.00002, 1) == ""
    assert span_of(None, 1.0) == ""
