"""Exports: each format is read back by what it is for, or by a parser of its own."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from typer.testing import CliRunner

from pytest_speedbench.baselines.records import metric_record
from pytest_speedbench.baselines.rows import rows
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.cli import app
from pytest_speedbench.errors import UsageError
from pytest_speedbench.interop.exports import export
from pytest_speedbench.stats import Estimate
from tests.compare.saved_runs import record, save


def measured(slice_name: str = "math", **changes: Any) -> Record:
    found = record(slice_name, samples=range(6), **changes)
    metrics = {
        "acceptance_length": metric_record(Estimate(2.5, 2.4, 2.6, 6, unit="tokens/step")),
        "step_time": metric_record(Estimate(0.01, None, None, 6, unit="s")),
    }
    return found.model_copy(update={"metrics": metrics})


def test_a_request_has_its_own_acceptance_length() -> None:
    found = measured()
    table = rows([found], "request")
    assert len(table) == 6
    for row, request in zip(table, found.requests, strict=True):
        sizes = [int(size) for size in request.steps.split()]
        assert row["steps"] == len(sizes)
        assert row["acceptance_length"] == pytest.approx(sum(sizes) / len(sizes))
        assert row["ttft"] == pytest.approx(0.1)


def test_steps_follow_one_another() -> None:
    found = measured()
    table = [row for row in rows([found], "step") if row["sample"] == "s0"]
    assert [row["step"] for row in table] == list(range(len(table)))
    tokens = [int(str(row["tokens"])) for row in table]
    assert [row["position"] for row in table] == [1 + sum(tokens[:k]) for k in range(len(tokens))]


def test_a_case_has_its_metrics_with_limits() -> None:
    (row,) = rows([measured()], "case")
    names = ("acceptance_length", "acceptance_length_low", "acceptance_length_high")
    assert [row[name] for name in names] == [2.5, 2.4, 2.6]
    assert row["step_time_low"] is None
    assert (row["slice"], row["dl"], row["target_weights"]) == ("math", 3, "w1")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UsageError, match=r"level='steps': .*did you mean 'step'"):
        rows([measured()], "steps")


def test_a_record_becomes_a_data_frame() -> None:
    pytest.importorskip("pandas")
    frame = measured().to_pandas()
    assert len(frame) == 6
    assert frame["acceptance_length"].between(1, 4).all()
    assert measured().to_pandas("case").loc[0, "acceptance_length"] == 2.5


@pytest.mark.parametrize("level", ["case", "request", "step"])
def test_tables_hold_the_same_rows(level: str) -> None:
    records = [measured("math"), measured("qa")]
    expected = rows(records, level)
    assert json.loads(export(records, "json", level)) == expected
    lines = export(records, "jsonl", level).decode().splitlines()
    assert [json.loads(line) for line in lines] == expected
    read = list(csv.DictReader(io.StringIO(export(records, "csv", level).decode())))
    assert [row["slice"] for row in read] == [row["slice"] for row in expected]
    pq = pytest.importorskip("pyarrow.parquet")
    assert pq.read_table(io.BytesIO(export(records, "parquet", level))).to_pylist() == expected


def test_openmetrics_is_read_by_its_own_parser() -> None:
    case = measured()
    odd = case.model_copy(update={"case": case.case.model_copy(update={"model": 'a"b\\c\nd'})})
    text = export([odd], "openmetrics").decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["speedbench_acceptance_length"].samples
    assert {sample.labels.get("bound"): sample.value for sample in samples} == {
        None: 2.5,
        "low": 2.4,
        "high": 2.6,
    }
    assert samples[0].labels["model"] == 'a"b\\c\nd'


def test_bencher_and_github_take_values_with_limits() -> None:
    bencher = json.loads(export([measured()], "bencher"))
    (measures,) = bencher.values()
    assert measures["acceptance_length"] == {"value": 2.5, "lower_value": 2.4, "upper_value": 2.6}
    assert measures["step_time"] == {"value": 0.01}
    entries = json.loads(export([measured()], "github-benchmark"))
    # Bigger is better there, so a time is not among them.
    assert [entry["unit"] for entry in entries] == ["tokens/step"]
    assert entries[0]["range"] == "2.4 - 2.6"


def test_golden_files_hold_speculative_cases_alone() -> None:
    records = [measured(), measured("all", method="none")]
    golden = yaml.safe_load(export(records, "golden"))
    assert list(golden.values()) == [{"acceptance_length": 2.5, "n": 6, "low": 2.4, "high": 2.6}]
    reference = export(records, "trtllm-reference")
    assert list(yaml.safe_load(reference).values()) == [{"ref_al": 2.5, "min_al": 2.4}]
    assert b"# n = 6, 95 % interval 2.400 to 2.600" in reference


def test_the_command_writes_a_file_or_standard_output(tmp_path: Path) -> None:
    run = save(tmp_path / "0001_a.json", [measured()])
    done = CliRunner().invoke(app, ["export", str(run), "--format", "csv", "--per", "request"])
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 7
    file = tmp_path / "a.parquet"
    done = CliRunner().invoke(app, ["export", str(run), "--format", "parquet", "-o", str(file)])
    assert done.exit_code == 0
    assert file.read_bytes()[:4] == b"PAR1"
    wrong = CliRunner().invoke(app, ["export", str(run), "-o", str(tmp_path / "no" / "a.csv")])
    assert wrong.exit_code == 2
    assert "cannot write" in wrong.stderr
