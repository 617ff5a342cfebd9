"""Measuring without pytest: the same results, saved and compared as those of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench import Measurement, SpeedResult, compare, measure, read_records
from pytest_speedbench.errors import EngineError, UsageError

COMMON: dict[str, Any] = {
    "engine": "simulated",
    "model": "org/model",
    "method": "eagle3",
    "samples": 8,
    "max_tokens": 24,
    "category": ["math", "all"],
}


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return measure(**COMMON, dl=[1, 3], bs=4, rounds=2)


def test_every_point_of_the_grid_has_a_result(measured: Measurement) -> None:
    keys = [(record.case.dl, record.case.slice) for record in measured.records]
    assert keys == [(1, "math"), (1, "all"), (3, "math"), (3, "all")]
    assert all(isinstance(result, SpeedResult) for result in measured)
    one = measured.select(dl=3, slice="all")
    assert one.acceptance_length > 1
    assert one.speedup.value > 0
    assert "math" in one.by_category
    assert one.acceptance_length.value > measured.select(dl=1, slice="all").acceptance_length.value


def test_several_points_have_no_whole(measured: Measurement) -> None:
    with pytest.raises(UsageError, match="expected one case with slice='all', found 2"):
        _ = measured.whole
    assert measure(**{**COMMON, "category": "math"}, rounds=0).whole.acceptance_length > 1


def test_a_category_that_was_not_measured_names_those_that_were(measured: Measurement) -> None:
    found = measured.select(dl=3, slice="all").by_category
    with pytest.raises(KeyError, match=r"no category 'maths'; did you mean 'math'\?; measured: "):
        found["maths"]
    assert "maths" not in found


def test_a_measurement_prints_as_a_table(measured: Measurement) -> None:
    head, *rows = repr(measured).splitlines()
    assert head.split() == ["case", "requests", "AL", "speedup", "tokens/s"]
    assert len(rows) == len(measured)
    assert "<td>simulated org/model eagle3 dl3 bs4 qualitative:math</td>" in measured._repr_html_()


def test_results_records_and_comparisons_are_tables_in_a_notebook(measured: Measurement) -> None:
    result, record = measured.select(dl=3, slice="all"), measured.records[-1]
    shown = f"<td>acceptance_length</td><td>{result.acceptance_length.value:.4g}</td>"
    assert shown in result._repr_html_()
    assert shown in record._repr_html_()
    assert "<td>speedup</td>" in result._repr_html_()
    assert "<td>speedup</td>" not in result.by_category["math"]._repr_html_()
    compared = compare(measured.records, measured.records)
    found = compared._repr_html_()
    assert found.count("<tr>") == 1 + len(measured.records)
    assert "<td>+0.00%</td>" in found
    head, *rows = repr(compared).splitlines()
    assert head.split() == ["case", "metric", "change", "verdict", "reason"]
    assert len(rows) == len(measured.records)
    assert all("+0.00%" in row for row in rows)
    length = f"AL {result.acceptance_length.value:.4g}"
    assert repr(record) == f"<Record simulated org/model eagle3 dl3 bs4 qualitative:all, {length}>"
    assert str(record) == repr(record)
    assert repr(result) == "<SpeedResult all>"
    assert repr(compared.old) == f"<SavedRun {compared.old}>"


def test_saved_records_are_compared_by_name(measured: Measurement, tmp_path: Path) -> None:
    place = measured.save("first", tmp_path)
    assert Path(place).name == "0001_first.json"
    assert [r.case for r in read_records("first", tmp_path)] == [r.case for r in measured.records]
    worse = measure(**COMMON, dl=3, bs=4, rounds=0, engine_arg={"acceptance": 0.1})
    found = compare("first", worse.records, {"acceptance_length": "20%"}, storage=tmp_path)
    assert {str(verdict.outcome) for verdict in found.verdicts} >= {"fail"}


def test_progress_is_shown_to_the_caller() -> None:
    lines: list[str] = []
    measure(**COMMON, rounds=0, show=lines.append)
    assert any("starting simulated" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 4}, "unknown argument 'batch'"),
        ({"bs": 0}, "bs=0: "),
        ({"engine": "vlm"}, "did you mean 'vllm'"),
        ({"compare": "main"}, "compare belongs to a pytest session"),
        ({"early": True, "rounds": 3}, "leave one of them out"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure(**{**COMMON, **options})


def test_an_engine_that_fails_is_closed() -> None:
    with pytest.raises(EngineError):
        measure(**COMMON, rounds=0, engine_arg={"fail_at": 3})


def test_an_error_leaves_the_cases_that_were_measured_before(tmp_path: Path) -> None:
    kept: list[Measurement] = []

    def interrupted(text: str) -> None:
        if "dl3" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(**COMMON, dl=[1, 3], rounds=0, show=interrupted, unfinished=kept.append)
    (found,) = kept
    assert [(record.case.dl, record.case.slice) for record in found.records] == [
        (1, "math"),
        (1, "all"),
    ]
    assert len(read_records(found.save("unfinished", tmp_path))) == 2
