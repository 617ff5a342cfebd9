"""Records are saved through pytest-benchmark's own options, one per case."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_speedbench.baselines.schema import SCHEMA

from .conftest import GIT, Project


def test_nothing_is_saved_unasked(project: Project) -> None:
    project.gate()
    result = project.run()
    assert project.saved == []
    result.stdout.fnmatch_lines(["not saved: --benchmark-autosave*"])


def test_autosave(project: Project) -> None:
    project.gate()
    result = project.run("--benchmark-autosave")
    (path,) = project.saved
    assert path.name.startswith("0001_")
    result.stdout.fnmatch_lines([f"saved: *{path.name}"])


def test_save_by_name(project: Project) -> None:
    project.gate()
    project.run("--benchmark-save=before")
    project.run("--benchmark-save=after")
    assert [path.name for path in project.saved] == ["0001_before.json", "0002_after.json"]


def test_json_file(project: Project) -> None:
    project.gate()
    project.run("--benchmark-json=out.json").assert_outcomes(passed=1)
    assert len(project.records(project.path / "out.json")) == 1
    assert project.saved == []


def test_storage_elsewhere(project: Project) -> None:
    project.gate()
    project.run("--benchmark-autosave", "--benchmark-storage=file://elsewhere")
    assert len(list((project.path / "elsewhere").rglob("0001_*.json"))) == 1
    result = project.run("--speed-compare", "--benchmark-storage=file://elsewhere")
    result.assert_outcomes(passed=1)
    assert "1 undecided (against 0001" in result.stdout.str()


def test_a_record_is_complete(project: Project) -> None:
    project.gate("category='math'", "assert speed.acceptance_length > 0")
    project.run("--benchmark-autosave", speed_rounds="1")
    (record,) = project.records()
    assert record.schema_ == SCHEMA
    assert str(record.case) == "simulated org/model eagle3 dl3 bs1 qualitative:math"
    assert record.engine.name == "simulated"
    assert record.machine.fingerprint
    assert len(record.split.digest) >= 12
    assert record.sampling.max_tokens == 16
    assert record.template == "words-1"
    assert len({r.sample for r in record.requests if r.category == "math"}) == 8
    assert record.reference_rounds
    assert {"acceptance_length", "speedup", "output_tps", "ttft"} <= set(record.metrics)


def test_the_commit_is_recorded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GIT.items():
        monkeypatch.setenv(name, value)
    project.gate()
    project._prepare({})
    subprocess.run(["git", "init", "-q", "-b", "main"], check=True)
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", "commit", "-qm", "one"], check=True)
    project.run("--benchmark-autosave")
    data = json.loads(project.saved[-1].read_text())
    assert data["commit_info"]["branch"] == "main"
    assert len(data["commit_info"]["id"]) == 40


def test_a_case_that_two_tests_look_at_is_saved_once(project: Project) -> None:
    project.file(
        "test_it.py",
        "def test_one(speed): assert speed.acceptance_length > 0\n"
        "def test_two(speed): assert speed.acceptance_rate > 0\n",
    )
    project.run("--benchmark-autosave").assert_outcomes(passed=2)
    assert len(json.loads(project.saved[-1].read_text())["benchmarks"]) == 1


def test_the_statistics_are_seconds_per_token_of_each_request(project: Project) -> None:
    project.gate()
    project.run("--benchmark-autosave", "--benchmark-save-data")
    (benchmark,) = json.loads(project.saved[-1].read_text())["benchmarks"]
    record = project.records()[0]
    wanted = [(r.last - r.sent) / r.tokens for r in record.requests]
    assert sorted(benchmark["stats"]["data"]) == pytest.approx(sorted(wanted))


def test_pytest_benchmark_compare_lists_our_cases(project: Project) -> None:
    project.gate("bs=[1, 2]")
    project.run("--benchmark-autosave")
    program = Path(sys.executable).with_name("pytest-benchmark")
    done = subprocess.run([program, "compare"], capture_output=True, text=True, check=True)
    assert "test_gate[math-bs1-dl3]" in done.stdout
    assert "test_gate[math-bs2-dl3]" in done.stdout


def test_ordinary_benchmarks_are_saved_beside_ours(project: Project) -> None:
    project.file("test_plain.py", "def test_add(benchmark): benchmark(lambda: 1 + 1)\n")
    project.gate()
    result = project.run("--benchmark-autosave", "--benchmark-max-time=0.01")
    result.assert_outcomes(passed=2)
    names = [b["name"] for b in json.loads(project.saved[-1].read_text())["benchmarks"]]
    assert sorted(names) == ["test_add", "test_gate[math-bs1-dl3]"]
    assert len(project.records()) == 1
    result.stdout.fnmatch_lines(["*test_add*"])  # pytest-benchmark's own table


def test_our_cases_stay_out_of_pytest_benchmarks_table(project: Project) -> None:
    project.gate()
    result = project.run()
    result.stdout.no_fnmatch_line("*Legend:*")


def test_failed_cases_are_saved_too(project: Project) -> None:
    project.gate("", "assert speed.acceptance_length >= 3.9")
    project.run("--benchmark-autosave").assert_outcomes(failed=1)
    assert len(project.records()) == 1


def test_without_pytest_benchmark_the_numbers_are_still_shown(project: Project) -> None:
    project.gate()
    result = project.run("-p", "no:benchmark")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*pytest-benchmark is switched off*"])


def test_two_splits_with_the_same_file_name_do_not_overwrite_each_other(project: Project) -> None:
    for folder in ("a", "b"):
        (project.path / folder).mkdir()
        project.split(f"{folder}/s.jsonl", 8, words=folder)
    project.gate("split=['a/s.jsonl', 'b/s.jsonl']")
    project.run("--benchmark-autosave", "-v").assert_outcomes(passed=2)
    assert len(json.loads(project.saved[-1].read_text())["benchmarks"]) == 2


def test_two_sampling_settings_do_not_overwrite_each_other(project: Project) -> None:
    project.gate("max_tokens=[8, 16]")
    project.run("--benchmark-autosave").assert_outcomes(passed=2)
    assert len(json.loads(project.saved[-1].read_text())["benchmarks"]) == 2
