"""Saved records from Python: the run by any of its names, the case by parts of its key."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench import read_record, read_records
from pytest_speedbench.errors import BaselineError, UsageError

DATA = Path(__file__).parent / "data" / "schema_2.json"
CASES: list[dict[str, Any]] = [
    {"slice": "math", "dl": 3},
    {"slice": "qa", "dl": 3},
    {"slice": "math", "dl": 5},
]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """One saved run of three cases."""
    data = json.loads(DATA.read_text())
    (benchmark,) = data["benchmarks"]
    data["benchmarks"] = []
    for case in CASES:
        one = copy.deepcopy(benchmark)
        one["extra_info"]["speedbench"]["case"] |= case
        data["benchmarks"].append(one)
    folder = tmp_path / "machine"
    folder.mkdir()
    (folder / "0001_base.json").write_text(json.dumps(data))
    return tmp_path


@pytest.mark.parametrize("reference", ["1", "0001", "base", "0001_base"])
def test_all_records_of_a_run_by_its_name(storage: Path, reference: str) -> None:
    found = [(r.case.slice, r.case.dl) for r in read_records(reference, storage)]
    assert found == [("math", 3), ("qa", 3), ("math", 5)]


def test_a_run_by_its_file(storage: Path) -> None:
    path = storage / "machine" / "0001_base.json"
    assert read_records(path) == read_records(str(path)) == read_records("1", storage)


@pytest.mark.parametrize("case", [{"slice": "math", "dl": 5}, {"dl": "5"}])
def test_one_record_by_parts_of_its_key(storage: Path, case: dict[str, Any]) -> None:
    assert read_record("1", storage, **case).case.dl == 5


def test_several_records_are_listed(storage: Path) -> None:
    with pytest.raises(BaselineError) as caught:
        read_record("1", storage, slice="math")
    first, *cases = str(caught.value).splitlines()
    assert first == "1: expected one record with slice='math', found 2. They are:"
    assert cases == [f"  simulated org/m eagle3 dl{dl} bs8 s.jsonl:math" for dl in (3, 5)]


def test_no_record_lists_what_the_run_has(storage: Path) -> None:
    with pytest.raises(BaselineError, match=r"found 0\. The run has:") as caught:
        read_record("1", storage, slice="coding")
    assert len(str(caught.value).splitlines()) == 1 + len(CASES)


def test_a_misspelt_part_of_the_key_is_named(storage: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown part of a case 'draft_length'; known: engine,"):
        read_record("1", storage, draft_length=3)


def test_an_unknown_run_lists_what_is_saved(storage: Path) -> None:
    with pytest.raises(BaselineError, match=r"^7: no file, .* Saved: 0001_base"):
        read_records("7", storage)


@pytest.mark.parametrize("odd", ["~nobody-of-this-name/x", "a" * 300, "a\0b", "/" * 5000])
def test_what_no_path_can_be_is_an_unknown_run(storage: Path, odd: str) -> None:
    with pytest.raises(BaselineError, match="no file, no run number or name"):
        read_records(odd, storage)


def test_a_storage_of_nobody_is_empty(storage: Path) -> None:
    with pytest.raises(BaselineError, match="Nothing is saved there yet"):
        read_records("1", "~nobody-of-this-name/x")
