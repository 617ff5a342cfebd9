"""A session that names a saved run fails where nothing of it was compared."""

from __future__ import annotations

import pytest

from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.session.summary import nothing_compared
from tests.report.conftest import record, result


@pytest.mark.parametrize(
    ("outcome", "beside_all", "why"),
    [
        (Outcome.UNDECIDED, False, ""),
        (Outcome.NOT_GATED, True, ""),  # too few samples of a category: it was compared
        (Outcome.NOT_GATED, False, "because"),
    ],
)
def test_a_category_without_a_verdict_of_its_own_was_compared(
    outcome: Outcome, beside_all: bool, why: str
) -> None:
    gate = {"alpha": 0.01, "cases": 2, "reach": 0.12, "beside_all": beside_all}
    assert nothing_compared([result(record("math", gate=gate), outcome)]) == why


def test_without_any_verdict() -> None:
    assert nothing_compared([result(record())]) == "no case has a saved record"
