"""The published JSON Schema: as the code has it, and true of records of every version."""

from __future__ import annotations

import json
import lzma
import runpy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from pytest_speedbench.baselines.schema import EXTRA_KEY
from tests.compare.saved_runs import record

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "record.schema.json"
SAVED = sorted((ROOT / "benchmarks" / "results").glob("*/*.json.xz"))[:6]


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert jsonschema_rs.meta.is_valid(schema)
    return jsonschema_rs.validator_for(schema)


def test_the_published_schema_is_current() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "write_record_schema.py"))
    assert PUBLISHED.read_text(encoding="utf-8") == tool["text"](), (
        "run: python tools/write_record_schema.py"
    )


def test_a_fresh_record_is_valid(validator: Any) -> None:
    data = json.loads(record().model_dump_json(by_alias=True))
    assert not list(validator.iter_errors(data))
    damaged = {**data, "requests": [{**data["requests"][0], "tokens": "many"}]}
    (error,) = validator.iter_errors(damaged)
    assert error.instance_path == ["requests", 0, "tokens"]


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.name)
def test_saved_records_are_valid(path: Path, validator: Any) -> None:
    saved = json.loads(lzma.decompress(path.read_bytes()))
    for benchmark in saved["benchmarks"][:2]:
        assert not list(validator.iter_errors(benchmark["extra_info"][EXTRA_KEY]))
