"""``speedbench import``: files of other tools become runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pytest_speedbench.baselines.schema import parse_record
from pytest_speedbench.baselines.storage import read_run
from pytest_speedbench.cli import app
from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop.foreign import Given
from pytest_speedbench.interop.imports import document
from pytest_speedbench.interop.recognise import read_foreign
from tests.interop.files import (
    DATA,
    PROMPTS,
    TRTLLM,
    records_of,
    written,
)


def test_the_command_writes_a_run_that_names_its_origin(tmp_path: Path) -> None:
    out = tmp_path / "base.json"
    arguments = ["import", str(DATA / "aiperf"), "--split", PROMPTS, "-o", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "1.95  1.52–2.37" in done.output
    assert "not verified: engine, model, method" in " ".join(done.output.split())
    run = read_run(out)
    assert {key.slice for key in run.keys} == {"coding", "math", "qa", "all"}
    assert all(record.imported for record in run.measured)
    shown = CliRunner().invoke(app, ["show", str(out)])
    assert shown.exit_code == 0, shown.output
    assert "note: measured by AIPerf, imported from aiperf; not verified" in shown.output


@pytest.mark.parametrize(("name", "written_as"), [("run.json", "file"), ("runs.zip", "archive")])
def test_runs_of_our_own_need_no_conversion(name: str, written_as: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(document(list(records_of(DATA / "aiperf").values())))
    with pytest.raises(ForeignFileError, match=f"{written_as} .*speedbench baseline import"):
        read_foreign(path, Given())


@pytest.mark.parametrize(
    ("source", "options", "given"),
    [
        ("vllm_bench.json", ("--bs", "3"), "--bs"),
        ("acceptance_length.yaml", ("--dl", "3", "--split", "x"), "--split, --dl"),
    ],
)
def test_averages_depend_on_little_that_can_be_stated(
    source: str, options: tuple[str, ...], given: str, tmp_path: Path
) -> None:
    written(tmp_path / "acceptance_length.yaml", yaml.safe_dump(TRTLLM))
    path = DATA / source if (DATA / source).exists() else tmp_path / source
    done = CliRunner().invoke(app, ["import", str(path), *options])
    assert done.exit_code == 2
    assert f"{given} ha" in done.output
    assert "which holds averages" in done.output


def test_the_command_shows_thresholds_and_what_they_cannot_do(tmp_path: Path) -> None:
    path = written(tmp_path / "acceptance_length.yaml", yaml.safe_dump(TRTLLM))
    out = tmp_path / "thresholds.yaml"
    done = CliRunner().invoke(app, ["import", str(path), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "uncertainty unknown" in done.output
    assert "As a threshold in a test:\n  assert speed.acceptance_length >= 1.92" in done.output
    assert yaml.safe_load(out.read_text())["TestQwen3_4B::test_eagle3"]["least"] == 1.927


@pytest.mark.parametrize(
    ("entries", "name", "value"),
    [
        ({"a": 2.9, "m eagle3 dl3 qualitative:all": 2.5, "m:qa": 2.1}, "qualitative:all", "2.50"),
        ({"b:all": 2.5, "a:all": 2.4, "a:qa": 2.1}, "a:all", "2.40"),
        ({"m:all max_tokens=16": 2.5, "m:qa": 2.1}, "m:all max_tokens=16", "2.50"),
        ({"a": 2.9, "b": 2.1, "overall": 2.6}, "b", "2.10"),
    ],
)
def test_the_suggested_threshold_is_that_of_all_or_the_smallest(
    entries: dict[str, float], name: str, value: str, tmp_path: Path
) -> None:
    data = {key: {"ref_al": 3.0, "min_al": least} for key, least in entries.items()}
    path = written(tmp_path / "acceptance_length.yaml", yaml.safe_dump(data, sort_keys=False))
    shown = " ".join(CliRunner().invoke(app, ["import", str(path)]).output.split())
    assert f"{name}: assert speed.acceptance_length >= {value}" in shown


@pytest.mark.parametrize(
    ("source", "output", "problem"),
    [
        ("gone.json", None, "gone.json does not exist"),
        ("aiperf", "base.yaml", "give a name that ends in .json"),
        ("vllm_bench.json", "base.json", "give a name that ends in .yaml"),
    ],
)
def test_the_command_ends_with_2_and_one_line(
    source: str, output: str | None, problem: str, tmp_path: Path
) -> None:
    options = ["-o", str(tmp_path / output)] if output else []
    done = CliRunner().invoke(app, ["import", str(DATA / source), *options])
    assert done.exit_code == 2
    assert problem in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [("--engine", "vlm", "did you mean 'vllm'"), ("--method", "eagle-3", "did you mean 'eagle3'")],
)
def test_misspelled_names_name_the_closest(option: str, value: str, hint: str) -> None:
    done = CliRunner().invoke(app, ["import", str(DATA / "aiperf"), option, value])
    assert done.exit_code == 2
    assert hint in done.output


def test_an_imported_record_is_written_whole() -> None:
    records = list(records_of(DATA / "aiperf").values())
    saved = json.loads(document(records))["benchmarks"]
    read = [parse_record(entry["extra_info"]["speedbench"]) for entry in saved]
    assert read == records
