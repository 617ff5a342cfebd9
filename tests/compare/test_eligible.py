"""What was judged bad is no reference for later runs, unless somebody names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.baselines.outcome import VerdictRecord
from pytest_speedbench.baselines.promoted import (
    DEFAULT,
    NAME,
    demote,
    promote,
    promoted_run,
    promotions,
)
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.compare.eligible import Eligibility
from pytest_speedbench.compare.match import find_baseline, identity_of
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.errors import BaselineError
from pytest_speedbench.session.baselines import Baselines

from .saved_runs import record, save

NEW = record()


def judged(*outcomes: Outcome, metric: str = "acceptance_length", **changes: Any) -> Record:
    verdicts = [VerdictRecord(metric=metric, outcome=outcome) for outcome in outcomes]
    return record(verdicts=verdicts, **changes)


def night(folder: Path, number: int, measured: Record, **commit: Any) -> Path:
    return save(folder / "m" / f"{number:04}_night.json", [measured], **commit)


def chosen(folder: Path, reference: str | None = "", **rule: Any) -> str:
    """The number of the run that a new measurement is compared with; empty for none."""
    baselines = Baselines(Store(folder), folder, reference)
    baselines.__dict__["eligibility"] = Eligibility(**rule)
    match = baselines.match(identity_of(NEW))
    return match.run.number if match.run is not None else ""


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.SPECULATION_OFF])
@pytest.mark.parametrize("metric", ["acceptance_length", "speedup", "assert", "lossless"])
def test_a_failed_run_is_passed_over(tmp_path: Path, outcome: Outcome, metric: str) -> None:
    night(tmp_path, 1, judged(Outcome.PASS))
    for number in (2, 3):
        night(tmp_path, number, judged(Outcome.PASS, outcome, metric=metric))
    assert chosen(tmp_path) == "0001"


@pytest.mark.parametrize(
    "outcome",
    [o for o in Outcome if o not in (Outcome.FAIL, Outcome.SPECULATION_OFF, Outcome.DEGENERATE)],
)
def test_other_outcomes_start_or_go_on_with_a_line(tmp_path: Path, outcome: Outcome) -> None:
    night(tmp_path, 1, judged(Outcome.PASS))
    night(tmp_path, 2, judged(outcome))
    assert chosen(tmp_path) == "0002"


def test_eligibility_is_by_case(tmp_path: Path) -> None:
    night(tmp_path, 1, record())
    bad, good = judged(Outcome.FAIL), judged(Outcome.PASS, slice_name="qa")
    save(tmp_path / "m" / "0002_night.json", [bad, good])
    assert chosen(tmp_path) == "0001"
    match = find_baseline(identity_of(good), Store(tmp_path).runs())
    assert match.run is not None
    assert match.run.number == "0002"


@pytest.mark.parametrize(
    "open_", [Outcome.NOT_GATED, Outcome.UNDECIDED, Outcome.NO_BASELINE, Outcome.INCOMPARABLE]
)
def test_a_category_that_did_not_pass_follows_the_verdict_of_all(
    tmp_path: Path, open_: Outcome
) -> None:
    night(tmp_path, 1, record())
    whole, beside = judged(Outcome.FAIL, slice_name="all"), judged(open_)
    save(tmp_path / "m" / "0002_night.json", [whole, beside])
    assert chosen(tmp_path) == "0001"
    run = Store(tmp_path).runs()[1]
    reason = "the verdict of all, beside it, was acceptance_length: fail"
    assert Eligibility().objection(run.records[beside.case], run) == reason


def test_a_category_that_passed_beside_a_failed_all_is_a_reference(tmp_path: Path) -> None:
    night(tmp_path, 1, record())
    whole, beside = judged(Outcome.FAIL, slice_name="all"), judged(Outcome.PASS)
    save(tmp_path / "m" / "0002_night.json", [whole, beside])
    assert chosen(tmp_path) == "0002"


def test_an_unfinished_run_is_passed_over(tmp_path: Path) -> None:
    night(tmp_path, 1, record())
    night(tmp_path, 2, record(partial=True))
    assert chosen(tmp_path) == "0001"


def test_a_dirty_tree_is_passed_over_by_a_clean_one_only(tmp_path: Path) -> None:
    night(tmp_path, 1, record())
    night(tmp_path, 2, record(), dirty=True)
    assert chosen(tmp_path, clean=True) == "0001"
    assert chosen(tmp_path, clean=False) == "0002"


def test_a_run_that_is_named_is_used_and_said_to_be_bad(tmp_path: Path) -> None:
    night(tmp_path, 1, judged(Outcome.FAIL))
    baselines = Baselines(Store(tmp_path), tmp_path, "1")
    match = baselines.match(identity_of(NEW))
    assert match.comparable
    assert match.remark == "its verdict was acceptance_length: fail"


# -- promoted -------------------------------------------------------------------------------


def test_the_promoted_run_is_the_reference_and_the_latest_stands_beside(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        night(tmp_path, number, record())
    store = Store(tmp_path)
    promote(store, store.find("1", tmp_path), reason="agreed level")
    match = Baselines(Store(tmp_path), tmp_path, "").match(identity_of(NEW))
    assert match.run is not None
    assert match.beside is not None
    assert (match.run.number, match.beside.number) == ("0001", "0003")
    assert promotions(store)[DEFAULT].reason == "agreed level"
    demote(store)
    assert chosen(tmp_path) == "0003"


def test_a_case_that_the_promoted_run_lacks_falls_back_on_the_latest(tmp_path: Path) -> None:
    night(tmp_path, 1, record(slice_name="qa"))
    night(tmp_path, 2, record())
    store = Store(tmp_path)
    promote(store, store.find("1", tmp_path))
    assert chosen(tmp_path) == "0002"


def test_a_promoted_run_has_a_name_that_can_be_given(tmp_path: Path) -> None:
    night(tmp_path, 1, record())
    night(tmp_path, 2, record())
    store = Store(tmp_path)
    promote(store, store.find("1", tmp_path), "release")
    assert chosen(tmp_path, "release") == "0001"
    assert chosen(tmp_path) == "0002"


def test_a_promoted_run_that_was_deleted_is_reported_once(tmp_path: Path) -> None:
    gone = night(tmp_path, 1, record())
    night(tmp_path, 2, record())
    store = Store(tmp_path)
    promote(store, store.find("1", tmp_path))
    gone.unlink()
    baselines = Baselines(Store(tmp_path), tmp_path, "")
    match = baselines.match(identity_of(NEW))
    baselines.match(identity_of(NEW))
    assert match.run is not None
    assert match.run.number == "0002"
    (problem,) = baselines.problems
    assert "which is gone from" in problem
    assert "speedbench baseline promote REF --name default" in problem


@pytest.mark.parametrize("text", ["", "[]", '{"default": 3}', '{"default": {"run": 7}}', "\x00"])
def test_damaged_pointers_are_one_clear_error(tmp_path: Path, text: str) -> None:
    night(tmp_path, 1, record())
    (tmp_path / NAME).write_text(text)
    with pytest.raises(BaselineError, match="is damaged, so the promoted baselines are unknown"):
        promoted_run(Store(tmp_path))


def test_the_file_of_pointers_is_no_saved_run(tmp_path: Path) -> None:
    night(tmp_path, 1, record())
    store = Store(tmp_path)
    promote(store, store.find("1", tmp_path))
    assert [run.number for run in Store(tmp_path).runs()] == ["0001"]
    assert store.problems == []


def test_demoting_what_is_not_promoted_names_what_is(tmp_path: Path) -> None:
    night(tmp_path, 1, record())
    store = Store(tmp_path)
    with pytest.raises(BaselineError, match="no promoted baseline 'x'; nothing is promoted"):
        demote(store, "x")
    promote(store, store.find("1", tmp_path), "release")
    with pytest.raises(BaselineError, match="promoted: release"):
        demote(store, "x")


@pytest.mark.parametrize(
    ("measured", "rule", "why"),
    [
        (judged(Outcome.PASS), {"skip_commit": "c" * 40}, "it is of the current commit"),
        (judged(Outcome.FAIL), {}, "its verdict was acceptance_length: fail"),
        (record(partial=True), {}, "its run was not finished"),
    ],
)
def test_the_reason_says_why_the_latest_record_is_no_baseline(
    tmp_path: Path, measured: Record, rule: dict[str, str], why: str
) -> None:
    night(tmp_path, 1, judged(Outcome.FAIL))
    night(tmp_path, 2, measured)
    match = find_baseline(identity_of(NEW), Store(tmp_path).runs(), Eligibility(**rule))
    assert match.nearest == f"no record of this case can be a baseline; run 0002: {why}"
