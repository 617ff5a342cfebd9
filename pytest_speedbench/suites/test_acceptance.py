"""Gates any model without a line of test code.

Everything comes from options: engine, model, method, drafter, BS, DL, split. Each category is one
test. The whole split is another: it has the most samples, so it is the first to be decided.
"""

from __future__ import annotations

import pytest

from pytest_speedbench import SpeedResult


@pytest.mark.speed
def test_category(speed: SpeedResult) -> None:
    """One category against its baseline."""
    speed.assert_no_regression()


@pytest.mark.speed(category="all")
def test_all(speed: SpeedResult) -> None:
    """All categories together against their baseline."""
    speed.assert_no_regression()
