"""``pytest_speedbench.compare`` takes names, files and records, and checks its input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench import Comparison, Outcome, Record, compare, read_records
from pytest_speedbench.errors import BaselineError, UsageError

from .saved_runs import record, save

MARGINS = {"acceptance_length": 0.05}
OLD = [record("math"), record("qa")]
WORSE = [record("math", accept=0.3), record("qa")]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Two saved runs; the second has lost AL in mathematics."""
    save(tmp_path / "machine" / "0001_base.json", OLD)
    save(tmp_path / "machine" / "0002_worse.json", WORSE)
    return tmp_path


def outcomes(comparison: Comparison) -> dict[str, Outcome]:
    return {verdict.case.rpartition(":")[2]: verdict.outcome for verdict in comparison.verdicts}


def test_the_case_that_fell_fails_and_the_other_does_not(storage: Path) -> None:
    comparison = compare("base", "2", MARGINS, storage=storage)
    assert outcomes(comparison)["math"] is Outcome.FAIL
    assert outcomes(comparison)["qa"] is not Outcome.FAIL
    assert comparison.fails()


def test_names_files_and_records_are_the_same_run(storage: Path) -> None:
    def verdicts(old: Any, new: Any) -> list[Any]:
        found = compare(old, new, MARGINS, storage=storage).verdicts
        return [(v.case, v.outcome, v.ratio, v.low, v.high, v.alpha) for v in found]

    folder = storage / "machine"
    by_name = verdicts("0001", "worse")
    assert by_name == verdicts(folder / "0001_base.json", str(folder / "0002_worse.json"))
    assert by_name == verdicts(read_records("1", storage), iter(read_records("2", storage)))
    assert by_name == verdicts("0001", WORSE)


def test_one_record_is_a_run_of_one_case() -> None:
    (verdict,) = compare(OLD[0], WORSE[0], {"acceptance_length": "5%"}).verdicts
    assert verdict.outcome is Outcome.FAIL
    assert verdict.margin == 0.05


def test_the_margin_of_a_category_is_its_own() -> None:
    comparison = compare(OLD, WORSE, {"acceptance_length": 0.05, "acceptance_length/math": 0.9})
    assert not comparison.fails()


def test_alpha_and_reach_are_those_of_the_session_or_given() -> None:
    by_default, given = compare(OLD, OLD), compare(OLD, OLD, alpha=0.2, reach=0.5)
    assert given.judge.family.alpha == 0.2
    assert given.judge.reach == 0.5
    assert by_default.judge.family.alpha == 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margins": {"acceptance": 0.1}}, "margins: .*acceptance.*acceptance_length"),
        ({"margins": {"acceptance_length": 2}}, "margins: .* a share above 0 and below 100%"),
        ({"margins": {"acceptance_length": "much"}}, "margins: .*expected a share"),
        ({"alpha": 0}, "alpha: cannot read 0: expected a share"),
        ({"reach": -1}, "reach: cannot read -1: expected a share"),
    ],
)
def test_what_is_no_share_or_no_metric_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare(OLD, OLD, **arguments)


def nothing() -> Iterator[Record]:
    yield from ()


@pytest.mark.parametrize("run", [[], nothing(), ["0001"], [None], 3])
def test_what_is_no_run_is_refused(run: Any) -> None:
    with pytest.raises(UsageError, match=r"expected .*Record"):
        compare(OLD, run)


def test_an_unknown_run_is_named(storage: Path) -> None:
    with pytest.raises(BaselineError, match="0009"):
        compare("0009", "0001", storage=storage)
