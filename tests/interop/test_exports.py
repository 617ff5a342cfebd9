"""Exports: each format is read back by what it is for, or by a parser of its own."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from typer.testing import CliRunner

from pytest_speedbench.baselines.records import metric_record
from pytest_speedbench.baselines.requests import TotalsRecord
from pytest_speedbench.baselines.rows import rows
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.cli import app
from pytest_speedbench.errors import UsageError
from pytest_speedbench.interop.exports import export_entries, export_rows
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
        assert (row["drafted"], row["accepted"]) == (None, None)  # not reported


def test_a_request_has_its_draft_tokens() -> None:
    found = measured()
    steps = {"steps": "3 1 2", "drafted": "3 3 3", "accepted": "2 0 1"}
    totals = {"totals": TotalsRecord(steps=3, draft_tokens=9, accepted_tokens=3)}
    for known in (steps, totals):
        requests = [request.model_copy(update=known) for request in found.requests]
        (row, *_) = rows([found.model_copy(update={"requests": requests})], "request")
        assert (row["steps"], row["drafted"], row["accepted"]) == (3, 9, 3)


def test_steps_follow_one_another() -> None:
    found = measured()
    table = [row for row in rows([found], "step") if row["sample"] == "s0"]
    assert [row["step"] for row in table] == list(range(len(table)))
    tokens = [int(str(row["tokens"])) for row in table]
    assert [row["position"] for row in table] == [1 + sum(tokens[:k]) for k in range(len(tokens))]


@pytest.mark.parametrize("level", ["request", "step"])
def test_a_request_of_a_category_and_of_all_is_one_row(level: str) -> None:
    """An average over the rows would count it twice, and a category without a case of its own
    once."""
    alone = rows([measured("all")], level)
    assert rows([measured("math"), measured("all")], level) == alone
    assert "slice" not in alone[0]
    other = measured("all", dl=5)
    assert rows([measured("all"), other], level) == alone + rows([other], level)


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
    records = [measured("math"), measured("qa", dl=5)]
    expected = [{"run": "0001_a", **row} for row in rows(records, level)]
    runs = [({"run": "0001_a"}, records)]
    assert json.loads(export_rows(runs, "json", level)) == expected
    lines = export_rows(runs, "jsonl", level).decode().splitlines()
    assert [json.loads(line) for line in lines] == expected
    read = list(csv.DictReader(io.StringIO(export_rows(runs, "csv", level).decode())))
    assert [row["dl"] for row in read] == [str(row["dl"]) for row in expected]
    pq = pytest.importorskip("pyarrow.parquet")
    assert pq.read_table(io.BytesIO(export_rows(runs, "parquet", level))).to_pylist() == expected


def test_openmetrics_is_read_by_its_own_parser() -> None:
    case = measured()
    odd = case.model_copy(update={"case": case.case.model_copy(update={"model": 'a"b\\c\nd'})})
    text = export_entries([odd], "openmetrics").decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["speedbench_acceptance_length"].samples
    assert {sample.labels.get("bound"): sample.value for sample in samples} == {
        None: 2.5,
        "low": 2.4,
        "high": 2.6,
    }
    assert samples[0].labels["model"] == 'a"b\\c\nd'


def test_openmetrics_labels_hold_what_varies_in_the_grid() -> None:
    found = measured()
    grid = [
        found.model_copy(
            update={
                "case": found.case.model_copy(update={"temperature": t, "prefix_caching": caching})
            }
        )
        for t in (0.0, 0.7)
        for caching in (False, True)
    ]
    text = export_entries(grid, "openmetrics").decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    values = [
        (sample.labels.get("temperature"), sample.labels.get("prefix_caching"))
        for sample in families["speedbench_acceptance_length"].samples
        if "bound" not in sample.labels
    ]
    assert values == [(None, None), (None, "true"), ("0.7", None), ("0.7", "true")]


def test_cases_of_one_key_are_named_by_the_settings_that_differ() -> None:
    short, long = (
        measured(sampling={"max_tokens": n, "temperature": 0.0, "seed": 0}) for n in (16, 32)
    )
    names = list(json.loads(export_entries([short, long], "bencher")))
    assert names == [f"{short.case} max_tokens=16", f"{long.case} max_tokens=32"]
    text = export_entries([short, long], "openmetrics").decode()
    assert list(text_string_to_metric_families(text))
    assert 'max_tokens="32"' in text
    with pytest.raises(UsageError, match=r"measured 2 times in this run"):
        export_entries([short, short], "golden")


def test_bencher_and_github_take_values_with_limits() -> None:
    bencher = json.loads(export_entries([measured()], "bencher"))
    (measures,) = bencher.values()
    assert measures["acceptance_length"] == {"value": 2.5, "lower_value": 2.4, "upper_value": 2.6}
    assert measures["step_time"] == {"value": 0.01}
    entries = json.loads(export_entries([measured()], "github-benchmark"))
    # Bigger is better there, so a time is not among them.
    assert [entry["unit"] for entry in entries] == ["tokens/step"]
    assert entries[0]["range"] == "2.4 - 2.6"


def test_golden_files_hold_speculative_cases_alone() -> None:
    records = [measured(), measured("all", method="none")]
    golden = yaml.safe_load(export_entries(records, "golden"))
    assert list(golden.values()) == [{"acceptance_length": 2.5, "n": 6, "low": 2.4, "high": 2.6}]
    reference = export_entries(records, "trtllm-reference")
    assert list(yaml.safe_load(reference).values()) == [{"ref_al": 2.5, "min_al": 2.4}]
    assert b"# pytest-speedbench: n = 6, 95% interval 2.4000 to 2.6000" in reference


def test_the_command_writes_a_file_or_standard_output(tmp_path: Path) -> None:
    run = save(tmp_path / "0001_a.json", [measured()])
    done = CliRunner().invoke(app, ["export", str(run), "--format", "csv", "--per", "request"])
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 7
    file = tmp_path / "a.parquet"
    done = CliRunner().invoke(app, ["export", str(run), "--format", "parquet", "-o", str(file)])
    assert done.exit_code == 0
    assert file.read_bytes()[:4] == b"PAR1"


def exported(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_rows_of_several_runs_name_their_run(tmp_path: Path) -> None:
    runs = [save(tmp_path / f"000{k}_a.json", [measured()]) for k in (1, 2)]
    for level in ("case", "request", "step"):
        read = list(csv.DictReader(io.StringIO(exported(*runs, "--per", level).stdout)))
        assert next(iter(read[0])) == "run"
        assert list(dict.fromkeys(row["run"] for row in read)) == ["0001_a", "0002_a"]


def test_rows_of_cases_say_when_and_of_what_the_run_is(tmp_path: Path) -> None:
    run = save(tmp_path / "0001_a.json", [measured()], id="abc1234")
    (row,) = csv.DictReader(io.StringIO(exported(run).stdout))
    assert (row["commit"], row["dirty"]) == ("abc1234", "False")
    assert datetime.fromisoformat(row["time"])


@pytest.mark.parametrize("form", ["golden", "trtllm-reference"])
def test_a_table_of_reference_values_is_not_empty(form: str, tmp_path: Path) -> None:
    plain = save(tmp_path / "0001_a.json", [measured(method="none", dl=0)])
    done = exported(plain, "--format", form)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no case with speculative decoding" in done.stderr


@pytest.mark.parametrize(
    "form", ["golden", "trtllm-reference", "bencher", "github-benchmark", "openmetrics"]
)
def test_formats_without_a_run_refuse_several(form: str, tmp_path: Path) -> None:
    run = save(tmp_path / "0001_a.json", [measured()])
    assert exported(run, "--format", form).exit_code == 0
    done = exported(run, run, "--format", form)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"--format {form} holds one run, got 2" in done.stderr


@pytest.mark.parametrize("level", ["request", "step"])
def test_totals_have_no_rows_of_requests(level: str, tmp_path: Path) -> None:
    run = save(tmp_path / "0001_a.json", [measured().model_copy(update={"requests": []})])
    file = tmp_path / "rows.csv"
    done = exported(run, "--per", level, "-o", file)
    assert done.exit_code == 2
    assert f"0001_a: it has no rows per {level}" in done.stderr
    assert "--per case" in done.stderr
    assert not file.exists()
    assert exported(run).exit_code == 0


@pytest.mark.parametrize(
    ("name", "form", "hint"),
    [
        ("w.json", "csv", "--format json or bencher or github-benchmark"),
        ("w.CSV", "golden", "--format csv"),
        ("w.yaml", "parquet", "--format golden or trtllm-reference"),
        ("w.parquet", "jsonl", "--format parquet"),
    ],
)
def test_an_ending_of_another_format_is_refused(
    name: str, form: str, hint: str, tmp_path: Path
) -> None:
    run = save(tmp_path / "0001_a.json", [measured()])
    done = exported(run, "--format", form, "-o", tmp_path / name)
    assert done.exit_code == 2
    assert hint in done.stderr
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(("name", "form"), [("w.json", "bencher"), ("w.prom", "openmetrics")])
def test_an_ending_of_the_format_or_of_none_is_written(
    name: str, form: str, tmp_path: Path
) -> None:
    run = save(tmp_path / "0001_a.json", [measured()])
    assert exported(run, "--format", form, "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / name).stat().st_size
