"""Coordinates of the page's drawings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.report.plots import (
    STYLES,
    Axis,
    Point,
    RangeBar,
    length_axis,
    range_bar,
    scatter,
)


def test_an_axis_maps_its_ends_and_keeps_outliers_inside() -> None:
    axis = Axis(1.0, 4.0)
    assert [axis.at(v) for v in (1.0, 2.5, 4.0, 0.0, 9.0)] == [0.0, 50.0, 100.0, 0.0, 100.0]


def test_ticks_are_round_numbers() -> None:
    assert Axis(0.0, 200.0).ticks() == [
        (0.0, "0"),
        (25.0, "50"),
        (50.0, "100"),
        (75.0, "150"),
        (100.0, "200"),
    ]
    assert [label for _, label in Axis(0.0, 0.3).ticks()] == ["0", "0.1", "0.2", "0.3"]


def test_a_bar_without_an_interval_has_only_its_value() -> None:
    axis = Axis(1.0, 3.0)
    assert range_bar(axis, 2.0, None, None) == RangeBar(50.0, None, None)
    assert range_bar(axis, 2.0, 1.5, 2.5) == RangeBar(50.0, 25.0, 75.0)


@pytest.mark.parametrize(("highest", "end"), [([], 2), ([1.2], 2), ([2.0], 2), ([2.1, 1.0], 3)])
def test_lengths_share_an_axis_from_one(highest: list[float], end: int) -> None:
    axis = length_axis(highest)
    assert (axis.low, axis.high) == (1, end)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.floats(1e-3, 1e6), st.floats(1e-3, 1e6)),
        min_size=2,
        max_size=20,
    )
)
def test_marks_stay_inside_the_drawing(values: list[tuple[str, float, float]]) -> None:
    drawing = scatter([(name, Point(x, y, "BS 1")) for name, x, y in values])
    marks = [mark for series in drawing.series for mark in series.marks]
    assert len(marks) == len(values)
    for mark in marks:
        assert drawing.x.start <= mark.x <= drawing.x.end
        assert drawing.y.end <= mark.y <= drawing.y.start
    assert {series.style for series in drawing.series} <= set(range(STYLES))
    assert 2 <= len(drawing.x.ticks()) <= 8
