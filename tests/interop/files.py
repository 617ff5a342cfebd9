"""Files of other tools, and what is read from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.interop.foreign import ForeignRun, ForeignTotals, Given
from pytest_speedbench.interop.imports import import_run
from pytest_speedbench.interop.recognise import read_foreign
from pytest_speedbench.interop.stated import Stated

DATA = Path(__file__).parent / "data"
PROMPTS = str(DATA / "prompts.jsonl")


def run_in(path: Path, given: Given = Given()) -> ForeignRun:  # noqa: B008
    found = read_foreign(path, given)
    assert isinstance(found, ForeignRun)
    return found


def totals_in(path: Path, given: Given = Given()) -> ForeignTotals:  # noqa: B008
    found = read_foreign(path, given)
    assert isinstance(found, ForeignTotals)
    return found


def records_of(path: Path, **case: Any) -> dict[str, Record]:
    stated = Stated(case.pop("split", PROMPTS), case)
    found = import_run(run_in(path, stated.given), path, stated)
    return {record.case.slice: record for record in found.records}


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def lines(path: Path, rows: list[Any]) -> Path:
    return written(path, "".join(json.dumps(row) + "\n" for row in rows))


def aiperf_lines() -> list[dict[str, Any]]:
    text = (DATA / "aiperf/profile_export.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]
