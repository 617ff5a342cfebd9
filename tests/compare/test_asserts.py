"""Estimates against numbers, without an engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.compare.asserts import Judgement, Measured
from pytest_speedbench.stats import Estimate


def measured(
    low: float | None,
    value: float,
    high: float | None,
    says: bool = True,
    name: str = "acceptance_length",
) -> Measured:
    """A metric whose interval is the same at every level."""
    undecided.clear()

    def note(text: str) -> bool:
        undecided.append(text)
        return says

    return Measured(
        name,
        lambda level: Estimate(value, low, high, 9, level, "tokens/step"),
        Judgement(lambda comparison: 0.01, note),
    )


undecided: list[str] = []


@pytest.mark.parametrize(
    ("number", "at_least", "at_most"),
    [
        (1.5, True, False),
        (3.5, False, True),
        (2.0, True, None),
        (3.0, None, True),
        (2.5, None, None),
    ],
)
def test_the_interval_decides(number: float, at_least: bool | None, at_most: bool | None) -> None:
    length = measured(2.0, 2.5, 3.0)
    for wanted, compare in ((at_least, length.__ge__), (at_most, length.__le__)):
        undecided.clear()
        result = compare(number)
        assert result is (True if wanted is None else wanted)
        assert bool(undecided) is (wanted is None)


@given(st.floats(1, 9), st.floats(1, 9), st.floats(1, 9), st.floats(0, 10), st.booleans())
def test_a_number_is_never_both_below_and_above(
    a: float, b: float, c: float, number: float, says: bool
) -> None:
    low, value, high = sorted((a, b, c))
    length = measured(low, value, high, says)
    above, below = length >= number, length <= number
    if low < number < high:
        assert above is below is says
    elif low != number != high:
        assert above is not below


def test_without_an_interval_nothing_is_decided() -> None:
    length = measured(None, 2.5, None, says=False)
    assert not length >= 1.0
    assert not length <= 9.0
    assert len(undecided) == 2


@pytest.mark.parametrize(
    ("name", "unit"), [("acceptance_length", "samples"), ("speedup", "rounds")]
)
def test_what_is_undecided_says_by_what_and_how_much_more_would_do(name: str, unit: str) -> None:
    assert measured(2.0, 2.5, 3.0, name=name) >= 2.4
    (text,) = undecided
    assert text.startswith(f"{name} >= 2.4: 2.500 tokens/step [2.000, 3.000] (n 9), ")
    assert "at this assert's α = 0.01 it lies in [2.000, 3.000]; " in text
    assert text.endswith(f"about 220 more {unit} like these would settle it")


def test_samples_missing_grow_with_the_square_of_the_gap() -> None:
    length = measured(2.0, 2.5, 3.0)
    near, far = length.samples_missing(">=", 2.45), length.samples_missing(">=", 2.2)
    assert near is not None
    assert far is not None
    assert near > 10 * far
    assert length.samples_missing(">=", 1.0) is None
    assert length.samples_missing(">=", 2.5) is None


@pytest.mark.parametrize("other", ["2", None, [2], float("nan")])
def test_what_is_no_number_is_refused(other: object) -> None:
    with pytest.raises(TypeError, match="give a number"):
        measured(2.0, 2.5, 3.0) >= other  # type: ignore[operator]  # noqa: B015


def test_numbers_of_numpy_are_numbers() -> None:
    import numpy as np

    assert measured(2.0, 2.5, 3.0) >= np.float32(1.5)
    assert measured(2.0, 2.5, 3.0) >= np.int64(1)
    assert np.float64(1.5) <= measured(2.0, 2.5, 3.0)
    assert not np.float64(3.5) <= measured(2.0, 2.5, 3.0)


def test_an_estimate_cannot_be_hashed_or_equal() -> None:
    length = measured(2.0, 2.5, 3.0)
    with pytest.raises(TypeError):
        hash(length)
    with pytest.raises(TypeError, match="equals no number exactly"):
        length == 2.5  # noqa: B015


def test_an_estimate_in_a_truth_test_is_refused() -> None:
    """``assert speed.acceptance_length`` would always pass."""
    with pytest.raises(TypeError, match="compare it with a number"):
        bool(measured(2.0, 2.5, 3.0))
