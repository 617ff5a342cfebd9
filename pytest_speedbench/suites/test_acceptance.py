"""Gates any model without a line of test code.

Everything comes from options: engine, model, method, drafter, BS, DL, split. Each category is one
case, and so is the whole split, which has the most samples and is decided first.
"""

from __future__ import annotations

import pytest

from pytest_speedbench import SpeedResult


@pytest.mark.speed
def test_gate(speed: SpeedResult) -> None:
    """A category, or the whole split, against its baseline."""
    speed.assert_no_regression()
