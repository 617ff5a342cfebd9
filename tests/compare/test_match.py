"""Which saved record is the baseline: by what was measured, wherever its model and prompts are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import SavedRun, read_run
from pytest_speedbench.compare.match import Identity, find_baseline, identity_of, match_in

DATA = Path(__file__).parents[1] / "baselines" / "data"
ROWS = {"math-0": "aa" * 8, "math-1": "bb" * 8}


def saved(record: Record, **split: Any) -> SavedRun:
    """A saved run of one record, with other fields of its split."""
    changed = record.model_copy(update={"split": record.split.model_copy(update=split)})
    return replace(read_run(DATA / "schema_1.json"), records={record.case: changed}, twins=())


@pytest.fixture
def record() -> Record:
    """A record of a file, unnamed, of two rows with digests."""
    (found,) = read_run(DATA / "schema_1.json").records.values()
    case = found.case.model_copy(update={"split": found.split.digest[:12]})
    split = found.split.model_copy(update={"rows": ROWS})
    return found.model_copy(update={"case": case, "split": split})


def here(record: Record, digest: str, rows: dict[str, str], **case: Any) -> Identity:
    """A measurement on a split of this digest and these rows."""
    found = identity_of(record)
    return replace(
        found,
        case=found.case.model_copy(update={"split": digest[:12]} | case),
        split=found.split.model_copy(update={"digest": digest, "rows": rows}),
    )


def test_prompts_are_paired_by_content_and_called_by_their_new_ids(record: Record) -> None:
    new = here(record, "f" * 64, {"x": "bb" * 8, "y": "cc" * 8})
    match = match_in(saved(record), new)
    assert match.comparable
    assert match.record is not None
    assert {request.sample for request in match.record.requests} == {"x"}
    assert match.part == "1 of 2 rows are in both; removed: math-0; added: y"
    assert match.part in match.timing


def test_the_same_prompts_are_preferred_to_a_later_part_of_them(record: Record) -> None:
    whole, part = saved(record), saved(record, digest="e" * 64, rows={"math-0": "aa" * 8})
    new = identity_of(record)
    assert find_baseline(new, [whole, part]).run is whole
    assert find_baseline(new, [part]).run is part
    assert find_baseline(new, [part]).part


def test_ids_that_went_to_other_prompts_are_refused_by_name(record: Record) -> None:
    new = here(record, "f" * 64, {"math-0": "cc" * 8, "math-1": "dd" * 8})
    assert match_in(saved(record), new).record is None  # another split
    named = replace(new, case=record.case)
    match = match_in(saved(record), named)
    assert match.incomparable == ("split: 0 of 2 rows are in both; changed: math-0, math-1",)


@pytest.mark.parametrize(("weights", "found"), [("w1", True), ("w2", False), ("", False)])
def test_a_renamed_model_is_known_by_its_weights(record: Record, weights: str, found: bool) -> None:
    model = record.model.model_copy(update={"weights": "w1"})
    run = saved(record.model_copy(update={"model": model}))
    new = here(record, record.split.digest, ROWS, model="renamed")
    moved = model.model_copy(update={"name": "renamed", "weights": weights})
    assert match_in(run, replace(new, model=moved)).comparable is found
