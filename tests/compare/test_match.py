"""Which saved record is the baseline: by what was measured, wherever its model and prompts are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.baselines.provenance import ModelRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import SavedRun, read_run
from pytest_speedbench.compare.match import Identity, find_baseline, identity_of, match_in
from pytest_speedbench.splits import legacy_digest, load_split

DATA = Path(__file__).parents[1] / "baselines" / "data"
ROWS = {"math-0": "aa" * 8, "math-1": "bb" * 8}


Saver = Callable[..., SavedRun]


@pytest.fixture
def saved(tmp_path: Path) -> Saver:
    """Save a run of one record, with other fields of its split."""

    def save(record: Record, **split: Any) -> SavedRun:
        changed = record.model_copy(update={"split": record.split.model_copy(update=split)})
        data = json.loads((DATA / "schema_1.json").read_text())
        (benchmark,) = data["benchmarks"]
        benchmark["extra_info"]["speedbench"] = changed.model_dump(mode="json", by_alias=True)
        path = tmp_path / f"{len(list(tmp_path.iterdir())):04d}_run.json"
        path.write_text(json.dumps(data))
        return read_run(path)

    return save


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


def test_prompts_are_paired_by_content_and_called_by_their_new_ids(
    record: Record, saved: Saver
) -> None:
    new = here(record, "f" * 64, {"x": "bb" * 8, "y": "cc" * 8})
    match = match_in(saved(record), new)
    assert match.comparable
    assert match.record is not None
    assert {request.sample for request in match.record.requests} == {"x"}
    assert match.part == "1 of 2 rows are in both; removed: math-0; added: y"
    assert match.part in match.timing


def test_the_same_prompts_are_preferred_to_a_later_part_of_them(
    record: Record, saved: Saver
) -> None:
    whole, part = saved(record), saved(record, digest="e" * 64, rows={"math-0": "aa" * 8})
    new = identity_of(record)
    assert find_baseline(new, [whole, part]).run is whole
    assert find_baseline(new, [part]).run is part
    assert find_baseline(new, [part]).part


def test_ids_that_went_to_other_prompts_are_refused_by_name(record: Record, saved: Saver) -> None:
    new = here(record, "f" * 64, {"math-0": "cc" * 8, "math-1": "dd" * 8})
    assert match_in(saved(record), new).record is None  # another split
    named = replace(new, case=record.case)
    match = match_in(saved(record), named)
    assert match.incomparable == ("split: 0 of 2 rows are in both; changed: math-0, math-1",)


def test_an_earlier_record_of_a_bundled_split_is_known_without_a_session(
    record: Record, saved: Saver
) -> None:
    bundled = load_split("qualitative")
    present = {"name": "qualitative", "digest": bundled.digest, "rows": None}
    now = record.model_copy(
        update={
            "split": record.split.model_copy(update=present),
            "case": record.case.model_copy(update={"split": "qualitative"}),
        }
    )
    new = replace(identity_of(now), split=now.split.model_copy(update={"rows": ROWS}))
    match = match_in(saved(now, digest=legacy_digest(bundled)), new)
    assert match.comparable
    assert not match.part


@pytest.mark.parametrize(
    ("named_there", "drafter_there", "named_here", "found"),
    [
        ("", "a", "a", True),  # the grid has got a second drafter
        ("", "b", "a", False),
        ("a", "a", "", True),  # and has lost it again
        ("b", "b", "", False),
        ("b", "b", "a", False),
    ],
)
def test_a_key_that_names_a_drafter_is_that_of_its_record(
    record: Record, saved: Saver, named_there: str, drafter_there: str, named_here: str, found: bool
) -> None:
    spec = record.spec.model_copy(update={"drafter": ModelRecord(name=drafter_there)})
    case = record.case.model_copy(update={"drafter": named_there})
    run = saved(record.model_copy(update={"spec": spec, "case": case}))
    new = replace(
        identity_of(record),
        case=record.case.model_copy(update={"drafter": named_here}),
        drafter="a",
    )
    assert (match_in(run, new).record is not None) is found


def test_another_temperature_is_another_case(record: Record, saved: Saver) -> None:
    new = replace(identity_of(record), case=record.case.model_copy(update={"temperature": 0.7}))
    match = match_in(saved(record), new)
    assert match.record is None
    assert "temperature 0.0 (here 0.7)" in match.nearest


def test_what_the_nearest_case_lacks_is_a_dash(record: Record, saved: Saver) -> None:
    case = record.case.model_copy(update={"environment": "numa"})
    match = find_baseline(identity_of(record.model_copy(update={"case": case})), [saved(record)])
    assert "environment – (here numa)" in match.nearest


@pytest.mark.parametrize(("here", "nearest"), [(48, "bs 32"), (6, "bs 8"), (2, "bs 1")])
def test_of_several_batch_sizes_the_nearest_is_named(
    record: Record, saved: Saver, here: int, nearest: str
) -> None:
    def at(bs: int) -> Record:
        return record.model_copy(update={"case": record.case.model_copy(update={"bs": bs})})

    runs = [saved(at(bs)) for bs in (32, 8, 1)]
    match = find_baseline(identity_of(at(here)), runs)
    assert f"{nearest} (here {here})" in match.nearest


@pytest.mark.parametrize(("weights", "found"), [("w1", True), ("w2", False), ("", False)])
def test_a_renamed_model_is_known_by_its_weights(
    record: Record, saved: Saver, weights: str, found: bool
) -> None:
    model = record.model.model_copy(update={"weights": "w1"})
    run = saved(record.model_copy(update={"model": model}))
    new = here(record, record.split.digest, ROWS, model="renamed")
    moved = model.model_copy(update={"name": "renamed", "weights": weights})
    assert match_in(run, replace(new, model=moved)).comparable is found
