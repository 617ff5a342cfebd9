"""Records damaged anywhere: read, compared and shown, or refused in one line."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench import compare
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import parse_run
from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.errors import SpeedbenchError
from pytest_speedbench.report.html.page import render_html
from pytest_speedbench.report.markdown import render_markdown
from pytest_speedbench.report.terminal import summary_lines
from tests.compare.saved_runs import record

from .mutations import damaged, encoded, refused, share

pytestmark = pytest.mark.usefixtures("plain_figures")

WHOLE = record(samples=range(6), rounds=2)
FILE: dict[str, Any] = {
    "commit_info": {"id": "c" * 40, "dirty": False, "branch": "main"},
    "datetime": "2026-01-02T03:04:05",
    "benchmarks": [
        {
            "name": "test_gate",
            "fullname": "test_it.py::test_gate",
            "extra_info": {"speedbench": WHOLE.model_dump(mode="json", by_alias=True)},
        }
    ],
}
MARGINS = {"acceptance_length": "2%", "speedup": "5%", "output_tps": "5%"}


def read(content: bytes) -> list[Record]:
    return list(parse_run(lambda: content, "0001_damaged.json").records.values())


def use(content: bytes) -> None:
    """What a session and the commands do with a saved run."""
    run = parse_run(lambda: content, "0001_damaged.json")
    results = SessionResults.of_saved_run(run)
    for line in summary_lines(results, 80):
        assert isinstance(line.text, str)
    assert render_markdown(results).encode(errors="strict")
    assert render_html(results).encode(errors="strict")
    records = list(run.records.values())
    if records:
        compare([WHOLE], records, MARGINS)
        compare(records, [WHOLE], MARGINS)


def survives(content: bytes) -> None:
    try:
        use(content)
    except SpeedbenchError as error:
        refused(error)


def test_the_whole_file_is_read() -> None:
    assert read(encoded(FILE)) == [WHOLE]
    use(encoded(FILE))


@share(12)
@given(damaged(FILE))
def test_a_damaged_record_is_refused_or_used(data: Any) -> None:
    survives(encoded(data))


@share(20)
@given(st.data())
def test_a_file_that_was_cut_off_is_refused(data: st.DataObject) -> None:
    content = encoded(FILE)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(SpeedbenchError):
        read(content[:length])


@share(20)
@given(st.binary(max_size=64))
def test_bytes_that_are_no_file_are_refused(content: bytes) -> None:
    with pytest.raises(SpeedbenchError):
        read(content)


def test_deep_nesting_is_refused() -> None:
    deep = json.dumps(FILE).replace('"samples": 0', '"samples": ' + "[" * 100_000)
    with pytest.raises(SpeedbenchError):
        read(deep.encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [("acceptance_length", 0.0), ("step_time", -1.0), ("tokens", 0), ("seconds", float("nan"))],
)
def test_a_round_that_cannot_be(field: str, value: float) -> None:
    """Found by the test of damaged records: a traceback of the attribution."""
    data = copy.deepcopy(FILE)
    rounds = data["benchmarks"][0]["extra_info"]["speedbench"]["rounds"]
    rounds[0][field] = value
    survives(encoded(data))


@pytest.mark.parametrize(
    ("field", "value"),
    [("prompt_tokens", 0), ("prompt_tokens", -1), ("turn", -1), ("events", 10**9), ("steps", "9")],
)
def test_a_request_that_cannot_be(field: str, value: int | str) -> None:
    """Found by the test of damaged records: a prompt without a token has no logarithm."""
    data = copy.deepcopy(FILE)
    data["benchmarks"][0]["extra_info"]["speedbench"]["requests"][0][field] = value
    survives(encoded(data))
