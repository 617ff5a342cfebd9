"""Records: every schema version ever written is read, and what is packed comes back."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.packing import (
    MOST_NUMBER,
    pack_ids,
    pack_numbers,
    unpack_ids,
    unpack_numbers,
)
from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import SCHEMA, parse_record
from pytest_speedbench.baselines.storage import Store, read_run
from pytest_speedbench.errors import BaselineError, RecordError
from pytest_speedbench.stats.data import steps_of
from tests.compare.saved_runs import record

DATA = Path(__file__).parent / "data"


@pytest.fixture
def raw() -> dict[str, Any]:
    data = json.loads((DATA / "schema_1.json").read_text())
    record: dict[str, Any] = data["benchmarks"][0]["extra_info"]["speedbench"]
    return record


@pytest.mark.parametrize("version", range(1, SCHEMA + 1))
def test_every_version_ever_written_is_read(version: int) -> None:
    (record,) = read_run(DATA / f"schema_{version}.json").records.values()
    assert str(record.case).startswith("simulated org/m")
    assert record.case.slice == "math"
    length = record.metric("acceptance_length")
    assert length is not None
    traces = traces_of(record)
    tokens = sum(t.decode_tokens for t in traces)
    assert tokens / sum(map(steps_of, traces)) == pytest.approx(length.value)


def test_what_was_read_is_written_alike(raw: dict[str, Any]) -> None:
    """What is new since then has its default."""
    record = parse_record(raw)
    assert record.model_dump(mode="json", by_alias=True, exclude_unset=True) == raw


def test_a_key_without_the_later_axes_has_their_defaults(raw: dict[str, Any]) -> None:
    case = parse_record(raw).case
    assert (case.prefix_caching, case.prompt_form, case.drafter) == (False, "chat", "")
    assert (case.temperature, case.seed) == (0.0, 0)
    assert str(case) == "simulated org/m eagle3 dl3 bs8 s.jsonl:math"


def test_a_key_without_sampling_gets_it_from_the_record(raw: dict[str, Any]) -> None:
    raw["sampling"] |= {"temperature": 0.7, "seed": 5}
    case = parse_record(raw).case
    assert (case.temperature, case.seed, case.top_p) == (0.7, 5, 1.0)
    assert str(case) == "simulated org/m eagle3 dl3 bs8 t0.7 seed=5 s.jsonl:math"


def test_fields_of_a_later_minor_version_are_kept(raw: dict[str, Any]) -> None:
    raw["news"] = {"a": 1}
    assert parse_record(raw).model_dump(mode="json", by_alias=True)["news"] == {"a": 1}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": SCHEMA + 1}, "pip install --upgrade pytest-speedbench"),
        ({"schema": "1"}, "not a record"),
        ({"schema": 0}, "not a record"),
        ({"schema": True}, "not a record"),
        ({"case": {}}, "damaged at 'case.engine'"),
        ({"requests": [{}]}, "damaged at 'requests.0.sample'"),
        ({"metrics": {"x": {"value": "much"}}}, "damaged at 'metrics.x"),
    ],
)
def test_what_is_no_readable_record_is_refused(
    raw: dict[str, Any], change: dict[str, Any], told: str
) -> None:
    with pytest.raises(RecordError, match=told):
        parse_record({**raw, **change})


@pytest.mark.parametrize("data", [None, [], "text", {}, 3])
def test_what_is_no_record_at_all(data: object) -> None:
    with pytest.raises(RecordError, match="not a record of pytest-speedbench"):
        parse_record(data)


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_token_ids_come_back(ids: list[int]) -> None:
    assert unpack_ids(pack_ids(ids)).tolist() == ids


@pytest.mark.parametrize(("count", "most"), [(1, 0), (5, 4), (1 << 20, 8)])
def test_no_more_ids_are_inflated_than_there_are_tokens(count: int, most: int) -> None:
    packed = pack_ids([7] * count)
    assert len(unpack_ids(packed, count)) == count
    with pytest.raises(RecordError, match=f"more than {most}"):
        unpack_ids(packed, most)


def test_ids_that_are_cut_off_are_damaged() -> None:
    cut = base64.b64encode(base64.b64decode(pack_ids([1, 2, 3]))[:-3]).decode()
    with pytest.raises(RecordError, match="cut off"):
        unpack_ids(cut)


@given(st.lists(st.integers(0, MOST_NUMBER) | st.integers(0, 12)) | st.lists(st.integers(0, 9)))
@example([12, 3]).via("as long as three numbers of one digit")
def test_numbers_come_back(numbers: list[int]) -> None:
    assert unpack_numbers(pack_numbers(numbers)).tolist() == numbers


@pytest.mark.parametrize("text", ["12  3", " 3 12", "12 3 ", "3  1"])
def test_blanks_between_numbers_are_no_digits(text: str) -> None:
    assert unpack_numbers(text).tolist() == [int(number) for number in text.split()]


@given(st.text(max_size=40))
def test_damaged_ids_are_refused_or_read_as_ids(text: str) -> None:
    with suppress(RecordError):
        assert unpack_ids(text).dtype == np.int64


@given(st.text(max_size=20))
def test_damaged_numbers_are_refused_or_read_as_numbers(text: str) -> None:
    with suppress(ValueError):
        assert unpack_numbers(text).dtype == np.int64


def test_keys_are_equal_by_content() -> None:
    key = CaseKey(engine="e", model="m", method="ngram", dl=1, bs=2, split="s", slice="all")
    same = CaseKey.model_validate({**key.model_dump(), "a_later_field": 1})
    assert {key: 1}.get(CaseKey(**key.model_dump())) == 1
    assert hash(key) == hash(same)
    assert key == same


def write(folder: Path, name: str, **fields: Any) -> Path:
    data = json.loads((DATA / "schema_1.json").read_text()) | fields
    path = folder / name
    path.write_text(json.dumps(data))
    return path


def test_runs_come_oldest_first_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "0002_late.json", datetime="2026-02-01T00:00:00")
    write(tmp_path, "0003_early.json", datetime="2026-01-01T00:00:00")
    write(tmp_path, "0004_foreign.json", benchmarks=[{"name": "theirs", "extra_info": {}}])
    store = Store(tmp_path)
    assert [run.name for run in store.runs()] == ["0003_early", "0002_late"]
    assert store.problems == []


@pytest.mark.parametrize(
    "fields",
    [
        {"commit_info": None},
        {"commit_info": "text"},
        {"datetime": None},
        {"benchmarks": [None, 3, {"extra_info": None}]},
    ],
)
def test_odd_but_harmless_files_are_read(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert read_run(write(tmp_path, "0001.json", **fields)).commit in ("", "0" * 40)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"cannot read .*gone\.json: No such file"):
        read_run(tmp_path / "gone.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "latin.json").write_bytes(b'{"\xff": 1}')
    store = Store(tmp_path)
    assert store.runs() == []
    assert len(store.problems) == 2


@pytest.mark.parametrize(
    "text", ["-3 0", "x", f"{1 << 40}", f"{1 << 90}", "1.5 2", "+1", "1_0", "1\n2", "٣"]
)
def test_numbers_that_no_step_has_are_damage(text: str) -> None:
    with pytest.raises(RecordError, match="numbers are damaged"):
        unpack_numbers(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_damage(value: float) -> None:
    data = record().model_dump(mode="json", by_alias=True)
    data["metrics"] = {
        "acceptance_length": {
            "value": value,
            "low": None,
            "high": None,
            "n": 20,
            "level": 0.95,
            "unit": "tokens/step",
        }
    }
    with pytest.raises(RecordError, match=r"damaged at 'metrics.acceptance_length.*finite"):
        parse_record(data)
