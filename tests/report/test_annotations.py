"""Annotations of GitHub Actions: one for each reason, with the cases that it holds for."""

from __future__ import annotations

from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.report.annotations import annotation_lines
from tests.report.conftest import record, result


def test_the_points_of_a_grid_share_one_annotation() -> None:
    cases = [
        result(record("all", dl), Outcome.FAIL, reason=f"AL changed by -{dl}%") for dl in (1, 3, 5)
    ]
    cases.append(result(record("all", 7), Outcome.UNDECIDED, reason="too few samples"))
    errors, warnings = annotation_lines(SessionResults(cases))
    assert errors.startswith("::error title=acceptance_length%3A fail%3A 3 cases")
    assert errors.count("AL changed by") == 1
    assert all(f"vllm m eagle3 dl{dl} bs1" in errors for dl in (1, 3, 5))
    assert warnings.startswith("::warning title=acceptance_length%3A undecided%3A vllm m eagle3")
    assert warnings.count("too few samples") == 1
