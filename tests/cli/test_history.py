"""``speedbench history``: rows, pattern, metric, and what cannot be shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_speedbench.baselines.schema import CaseKey
from pytest_speedbench.cli.history import matches, sparkline

from .conftest import Speedbench


@pytest.fixture(autouse=True)
def _here(project: Path) -> None:
    """Every test runs in the project."""


def _runs(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.strip().startswith("000")]


def test_one_row_a_run_oldest_first(speedbench: Speedbench) -> None:
    result = speedbench("history", "alpha dl3")
    assert (result.code, result.err) == (0, "")
    assert "simulated sim eagle3 dl3 bs1 prompts.jsonl:alpha" in result.out
    assert "acceptance_length (tokens/step)  ██▁" in result.out
    assert _runs(result.out) == ["0001", "0002", "0003"]
    row = next(line for line in result.out.splitlines() if "0001" in line).split()
    assert len(row[3]) == 9  # the commit
    assert float(row[4]) > 1
    assert row[-1] == "40"


def test_every_case_without_a_pattern(speedbench: Speedbench) -> None:
    result = speedbench("history")
    assert _runs(result.out).count("0004") == 3
    assert _runs(result.out).count("0002") == 2


def test_speedup_stands_once_a_run(speedbench: Speedbench) -> None:
    result = speedbench("history", "bs1", "--metric", "speedup")
    assert "speedup (x)" in result.out
    assert _runs(result.out) == ["0001", "0002", "0003", "0004"]
    assert ":alpha" not in result.out


def test_dirty_partial_and_switched_off_runs_are_marked(
    speedbench: Speedbench, saved: Path
) -> None:
    path = saved / "0002_same.json"
    data = json.loads(path.read_text())
    data["commit_info"]["dirty"] = True
    for benchmark, change in zip(
        data["benchmarks"], ({"partial": True}, {"speculation_off": "no drafts"}), strict=True
    ):
        benchmark["extra_info"]["speedbench"].update(change)
    path.write_text(json.dumps(data))
    rows = [line for line in speedbench("history").out.splitlines() if "0002" in line]
    assert sorted(row.split()[-1] for row in rows) == ["off", "partial"]
    assert all("+ " in row for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gamma",), "no saved case matches 'gamma'; saved: simulated, eagle3, dl5, bs1,"),
        (("--metric", "beauty"), "--metric beauty: not in any saved run; saved: acceptance_length"),
        (
            ("--storage", "nowhere"),
            "no saved runs in nowhere: run pytest with --benchmark-autosave",
        ),
    ],
)
def test_nothing_to_show(speedbench: Speedbench, arguments: tuple[str, ...], message: str) -> None:
    result = speedbench("history", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_unreadable_files_are_named_and_left_out(speedbench: Speedbench, saved: Path) -> None:
    (saved / "0003_worse.json").write_text("{")
    result = speedbench("history", "alpha dl3")
    assert result.code == 0
    assert "left out: " in result.err
    assert "0003_worse.json is not JSON" in result.err
    assert _runs(result.out) == ["0001", "0002"]


KEY = CaseKey(
    engine="vllm",
    model="Meta/Llama-3",
    method="eagle3",
    dl=3,
    bs=16,
    split="qualitative",
    slice="math",
)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", True),
        ("math", True),
        ("MATH llama", True),
        ("bs16 and dl3", True),
        ("bs1", False),
        ("dl32", False),
        ("meta/*", True),
        ("llama*", False),
        ("math qa", False),
    ],
)
def test_patterns(pattern: str, found: bool) -> None:
    assert matches(KEY, pattern) is found


def test_sparkline() -> None:
    assert sparkline([]) == sparkline([1.0]) == ""
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert sparkline([1.0, 2.0, 8.0]) == "▁▂█"
