"""Ticks and labels of the drawings of ``speedbench history --html``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pytest_speedbench.report.history_charts import label_lines, time_labels

START = datetime(2026, 11, 28, 8, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("gap", "labels", "day"),
    [
        (timedelta(days=1), ["28 Nov", "29 Nov", "30 Nov"], ""),
        (timedelta(minutes=47), ["08:03", "08:50", "09:37"], "28 Nov 2026"),
        (timedelta(seconds=13), ["08:03:00", "08:03:13", "08:03:26"], "28 Nov 2026"),
        (timedelta(hours=15), ["28 Nov\n08:03", "28 Nov\n23:03", "29 Nov\n14:03"], ""),
        (timedelta(days=365), ["28 Nov 2026", "28 Nov 2027", "27 Nov 2028"], ""),
        (timedelta(0), [], ""),
    ],
)
def test_labels_of_time_are_as_short_as_tells_them_apart(
    gap: timedelta, labels: list[str], day: str
) -> None:
    assert time_labels([START + n * gap for n in range(3)]) == (labels, day)


def test_without_a_time_there_are_no_labels() -> None:
    assert time_labels([START, None]) == ([], "")
    assert time_labels([]) == ([], "")


def test_sizes_of_changes_that_are_close_stand_above_each_other() -> None:
    assert label_lines([0, 20, 40], 10) == [0, 0, 0]
    assert label_lines([0, 4, 8, 12], 10) == [0, 1, 2, 0]
