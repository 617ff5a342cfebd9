"""``speedbench history``: rows, filters, formats, the page, and the search for a commit."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.analysis.trends import matches
from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.cli.history import parse_moment
from pytest_speedbench.cli.history_output import FIELDS, sparkline

from .conftest import Speedbench
from .pipelines import run_session

FIRST_NIGHT = datetime(2024, 10, 1, 2, 10, tzinfo=UTC)
Change = Callable[[int, dict[str, Any]], None]


@pytest.fixture(autouse=True)
def _here(project: Path) -> None:
    """Every test runs in the project."""


@pytest.fixture
def nights(saved: Path) -> Callable[..., Path]:
    """Makes a storage of many nights from the run ``base``; ``change`` edits each record.

    The values of every night differ by 0.3 % (standard deviation), at fixed seeds.
    """
    base = json.loads((saved / "0001_base.json").read_text())
    for benchmark in base["benchmarks"]:
        record = benchmark["extra_info"]["speedbench"]
        record["requests"] = record["requests"][:1]
    text = json.dumps(base)

    def make(count: int, change: Change | None = None) -> Path:
        folder = saved.parent.parent / "nights"
        folder.mkdir()
        noise = random.Random(7)
        for night in range(count):
            data = json.loads(text)
            data["datetime"] = (FIRST_NIGHT + timedelta(days=night)).isoformat()
            data["commit_info"] |= {"id": f"{night + 1:040x}", "dirty": False}
            for benchmark in data["benchmarks"]:
                record = benchmark["extra_info"]["speedbench"]
                scale(record, 1 + noise.gauss(0, 0.003))
                if change is not None:
                    change(night, record)
            (folder / f"{night + 1:04d}_night.json").write_text(json.dumps(data))
        return folder

    return make


def scale(record: dict[str, Any], factor: float) -> None:
    metric = record["metrics"]["acceptance_length"]
    for name in ("value", "low", "high"):
        metric[name] *= factor


def verdict(record: dict[str, Any], outcome: str) -> None:
    """A verdict of AL, and one of another metric before it."""
    record["verdicts"] = [
        {"metric": "speedup", "outcome": "not gated"},
        {
            "metric": "acceptance_length",
            "outcome": outcome,
            "ratio": 0.9,
            "low": 0.89,
            "high": 0.91,
            "alpha": 0.01,
            "margin": 0.02,
            "baseline": "0001 of 2024-10-01 02:10",
            "reason": "lost",
        },
    ]


def loss_from(first: int) -> Change:
    def change(night: int, record: dict[str, Any]) -> None:
        if night >= first:
            scale(record, 0.93)

    return change


def _runs(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.strip().startswith("000")]


# -- the table ------------------------------------------------------------------------------


def test_one_row_a_run_oldest_first(speedbench: Speedbench) -> None:
    result = speedbench("history", "alpha dl3")
    assert (result.code, result.err) == (0, "")
    assert re.search(r"simulated sim eagle3 dl3 bs1 \S+:alpha", result.out)
    assert "acceptance_length (tokens/step)  ██▁" in result.out
    assert _runs(result.out) == ["0001", "0002", "0003"]
    row = next(line for line in result.out.splitlines() if "0001" in line).split()
    assert len(row[3]) == 7  # the commit
    assert float(row[4]) > 1
    assert row[6] == "40"


def test_up_to_three_cases_have_a_table_each(speedbench: Speedbench) -> None:
    result = speedbench("history", "dl5")
    assert _runs(result.out) == ["0004"] * 3
    assert _runs(speedbench("history", "dl3 all").out) == ["0001", "0002", "0003"]


def test_more_cases_have_a_row_each(speedbench: Speedbench) -> None:
    result = speedbench("history")
    assert _runs(result.out) == []
    assert result.out.startswith("6 cases: simulated sim eagle3 bs1 ")
    (row,) = re.findall(r"^  dl3 alpha +3 .*", result.out, re.M)
    latest, change, course = row.split()[3:6]
    assert float(latest) > 1
    assert change.startswith("-")
    assert course == "██▁"
    assert len(re.findall(r"^  dl5 (?:alpha|beta|all) +1 .* –", result.out, re.M)) == 3


def test_the_overview_names_the_command_for_one_case(speedbench: Speedbench) -> None:
    result = speedbench("history", "--metric", "acceptance_rate")
    command = result.out.splitlines()[-1].partition("every run: speedbench ")[2]
    assert command.endswith(" --metric acceptance_rate")
    assert _runs(speedbench(*shlex.split(command)).out) == ["0001", "0002", "0003"]


def test_a_case_that_is_named_whole_is_no_other_one_with_more_axes(
    speedbench: Speedbench, nights: Callable[..., Path]
) -> None:
    def change(night: int, record: dict[str, Any]) -> None:
        record["case"]["environment"] = ("", "numa0", "numa1", "numa2")[night]

    folder = nights(4, change)
    overview = speedbench("history", "--storage", folder)
    command = shlex.split(overview.out.splitlines()[-1].partition("every run: speedbench ")[2])
    assert _runs(speedbench(*command).out) == ["0001"]
    assert "4 cases" in speedbench("history", "all", "--storage", folder).out


def test_of_many_cases_steady_categories_are_left_out(
    speedbench: Speedbench, nights: Callable[..., Path]
) -> None:
    folder = nights(8)
    for path in folder.iterdir():
        data = json.loads(path.read_text())
        benchmark = data["benchmarks"][0]
        data["benchmarks"] = []
        for bs in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            for name in ("alpha", "beta", "all"):
                case = copy.deepcopy(benchmark)
                record = case["extra_info"]["speedbench"]
                record["case"] |= {"bs": bs, "slice": name}
                if bs == 8 and name == "beta" and path.name.startswith("0008"):
                    verdict(record, "fail")
                data["benchmarks"].append(case)
        path.write_text(json.dumps(data))
    result = speedbench("history", "--storage", folder)
    assert "27 cases: " in result.out
    assert len(re.findall(r"^  bs\d+ all ", result.out, re.M)) == 9
    assert len(re.findall(r"^  bs8 beta .* fail$", result.out, re.M)) == 1
    assert "and 17 cases of one category that neither changed nor failed" in result.out


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
        benchmark["extra_info"]["speedbench"].update(change, verdicts=[])
    path.write_text(json.dumps(data))
    result = speedbench("history", "dl3")
    rows = [line for line in result.out.splitlines() if "0002" in line]
    assert all("+ " in row for row in rows)
    assert "partial" in result.out
    assert "speculation off" in result.out


def test_stored_verdicts_and_changes_of_level(
    speedbench: Speedbench, nights: Callable[..., Path]
) -> None:
    def change(night: int, record: dict[str, Any]) -> None:
        loss_from(20)(night, record)
        verdict(record, "fail" if night >= 20 else "pass")

    result = speedbench("history", "alpha", "--storage", nights(30, change))
    rows = [line for line in result.out.splitlines() if line.strip().startswith("00")]
    outcomes = [next(w for w in ("pass", "fail") if w in row) for row in rows]
    assert outcomes == ["pass"] * 20 + ["fail"] * 10
    assert re.search(r" fail, ▼ -(6\.[5-9]|7\.[0-5])% *$", rows[20])
    assert "1 change of level (▲ ▼) in 1 case" in result.words
    assert "at most 1% of cases with a steady level show one." in result.words
    assert "Too few runs" not in result.words


def test_too_few_runs_for_a_change_of_level(
    speedbench: Speedbench, nights: Callable[..., Path]
) -> None:
    result = speedbench("history", "alpha", "--storage", nights(5, loss_from(3)))
    assert "Too few runs to find one, fewer than 6: 1 case." in result.words


def test_rows_fit_into_80_columns(
    speedbench: Speedbench, nights: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(night: int, record: dict[str, Any]) -> None:
        loss_from(20)(night, record)
        record["speculation_off"] = "no drafts"
        record["sampling"] |= {"seed": night, "max_tokens": 48 + night // 25}

    monkeypatch.setenv("COLUMNS", "80")
    folder = nights(30, change)
    for metric in ("acceptance_length", "output_tps"):
        result = speedbench("history", "--metric", metric, "--storage", folder)
        rows = [line for line in result.out.splitlines() if line.strip().startswith("00")]
        assert max(map(len, rows)) <= 80
        assert all("speculation" in row for row in rows)
        assert result.words.count("other") == result.out.count("0026")


def test_another_split_is_no_change_of_level(
    speedbench: Speedbench, nights: Callable[..., Path]
) -> None:
    def change(night: int, record: dict[str, Any]) -> None:
        loss_from(20)(night, record)
        record["model"]["weights"] = f"{night // 20:064x}"

    result = speedbench("history", "alpha", "--storage", nights(30, change))
    assert "0 changes of level" in result.out
    assert result.out.count("other model") == 1


# -- filters --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        (("--since", "2024-10-28"), ["0028", "0029", "0030"]),
        (("--since", "2024-10-28T12:00"), ["0029", "0030"]),
        (("--until", "2024-10-02"), ["0001", "0002"]),
        (("--since", "2024-10-03", "--until", "2024-10-04T02:00"), ["0003"]),
    ],
)
def test_dates(
    speedbench: Speedbench, nights: Callable[..., Path], options: tuple[str, ...], runs: list[str]
) -> None:
    result = speedbench("history", "--case", "alpha", "--storage", nights(30), *options)
    assert _runs(result.out.replace(" 00", " 000")) == [f"0{run}" for run in runs]


def test_an_age_is_counted_from_now() -> None:
    assert parse_moment("36h", now=FIRST_NIGHT) == FIRST_NIGHT - timedelta(hours=36)
    assert parse_moment("2w", now=FIRST_NIGHT) == FIRST_NIGHT - timedelta(days=14)
    assert parse_moment("2024-10-01T04:10+02:00") == FIRST_NIGHT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gamma",), "no saved case matches 'gamma'; saved: simulated, eagle3, dl5, bs1,"),
        (("--metric", "beauty"), "--metric beauty: not in any saved run; saved: acceptance_length"),
        (("--storage", "nowhere"), "no saved runs in nowhere"),
        (("--since", "2999-01-01"), "none of the 4 saved runs is of that time; the first is of 20"),
        (("--since", "yesterday"), "expected a date such as 2026-11-01, or an age such as 14d"),
        (("--until", "9999999999w"), "--until: cannot read '9999999999w'"),
        (("--script", "b.py"), "--script has no effect without --bisect CASE"),
    ],
)
def test_nothing_to_show(speedbench: Speedbench, arguments: tuple[str, ...], message: str) -> None:
    result = speedbench("history", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


@pytest.mark.parametrize("storage", ["missing", "empty"])
def test_empty_storage_names_the_option_that_saves(
    speedbench: Speedbench, tmp_path: Path, storage: str
) -> None:
    folder = tmp_path / storage
    if storage == "empty":
        folder.mkdir()
    result = speedbench("history", "--storage", folder)
    assert result.code == 2
    assert f"no saved runs in {folder}" in result.err
    assert "--benchmark-autosave" in result.err


def test_unreadable_files_are_named_and_left_out(speedbench: Speedbench, saved: Path) -> None:
    (saved / "0003_worse.json").write_text("{")
    result = speedbench("history", "alpha dl3")
    assert result.code == 0
    assert "skipped: " in result.err
    assert "0003_worse.json is not JSON" in result.err
    assert _runs(result.out) == ["0001", "0002"]


# -- formats --------------------------------------------------------------------------------


def test_csv(speedbench: Speedbench, nights: Callable[..., Path]) -> None:
    def change(night: int, record: dict[str, Any]) -> None:
        loss_from(20)(night, record)
        verdict(record, "fail" if night == 29 else "pass")

    result = speedbench("history", "alpha", "--format", "csv", "--storage", nights(30, change))
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert tuple(rows[0]) == FIELDS
    assert [row["run"] for row in rows] == [f"{night:04d}" for night in range(1, 31)]
    assert rows[29]["outcome"] == "fail"
    assert float(rows[29]["ratio"]) == 0.9
    assert [bool(row["change"]) for row in rows].index(True) == 20
    assert rows[0]["commit"] == f"{1:040x}"
    assert (rows[0]["slice"], rows[0]["dl"], rows[0]["unit"]) == ("alpha", "3", "tokens/step")


def test_json(speedbench: Speedbench, nights: Callable[..., Path]) -> None:
    result = speedbench("history", "--format", "json", "--storage", nights(30, loss_from(20)))
    data = json.loads(result.out)
    assert data["false_alarms"] == 0.01
    assert {case["key"]["slice"] for case in data["cases"]} == {"alpha", "beta", "all"}
    for case in data["cases"]:
        assert len(case["points"]) == 30
        (change,) = case["changes"]
        assert (change["run"], change["loss"]) == ("0021", True)
        assert change["after"] / change["before"] == pytest.approx(0.93, abs=0.005)


def test_the_page_stands_alone(speedbench: Speedbench, nights: Callable[..., Path]) -> None:
    pytest.importorskip("matplotlib")

    def change(night: int, record: dict[str, Any]) -> None:
        loss_from(20)(night, record)
        record["case"]["model"] = "<script>alert(1)</script>$x$"
        verdict(record, "fail" if night >= 20 else "pass")

    page = Path("page.html")
    folder = nights(30, change)
    assert speedbench("history", "--html", page, "--storage", folder).out == "written: page.html\n"
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    assert "url(http" not in text
    assert text.count("<svg ") == 3
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert not re.findall(r"#0[1-8]0[1-8]0[1-8]", text)  # every colour is the page's own
    assert "Fell by 7." in text or "Fell by 6." in text
    assert "-7." in text or "-6." in text
    assert "prefers-color-scheme: dark" in text


def test_a_page_of_one_run_without_intervals(
    speedbench: Speedbench, nights: Callable[..., Path]
) -> None:
    pytest.importorskip("matplotlib")

    def change(night: int, record: dict[str, Any]) -> None:
        record["metrics"]["acceptance_length"] |= {"low": None, "high": None}

    result = speedbench("history", "--html", "page.html", "--storage", nights(1, change))
    assert result.code == 0
    assert "1 run, latest first" in Path("page.html").read_text()


def test_a_page_that_cannot_be_written(speedbench: Speedbench) -> None:
    pytest.importorskip("matplotlib")
    Path("taken").touch()
    result = speedbench("history", "--html", "taken/page.html")
    assert result.code == 2
    assert f"--html taken/page.html: {Path('taken').absolute()} is a file" in result.err


# -- bisect ---------------------------------------------------------------------------------


def test_bisect_by_verdict(speedbench: Speedbench, nights: Callable[..., Path]) -> None:
    outcomes = ["pass"] * 5 + ["undecided", "fail", "undecided", "fail"]

    def change(night: int, record: dict[str, Any]) -> None:
        verdict(record, outcomes[night])

    result = speedbench("history", "--bisect", "alpha", "--storage", nights(9, change))
    assert result.code == 0
    assert "evidence   the verdict of run 0007: fail" in result.out
    assert f"git bisect start {7:040x} {5:040x}\n" in result.out
    assert "git bisect run python SCRIPT" in result.out


def test_bisect_by_change_of_level(speedbench: Speedbench, nights: Callable[..., Path]) -> None:
    folder = nights(30, loss_from(20))
    result = speedbench("history", "--bisect", "alpha", "--storage", folder)
    assert "evidence   a change of level at run 0021" in result.out
    assert f"git bisect start {21:040x} {20:040x}\n" in result.out
    assert "this repository lacks one of the two commits" in result.words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "nothing to bisect: no verdict is saved, and no loss of acceptance_length"),
        (
            lambda night, record: verdict(record, "pass"),
            "nothing to bisect: its latest verdict is pass",
        ),
    ],
)
def test_nothing_to_bisect(
    speedbench: Speedbench, nights: Callable[..., Path], change: Change | None, message: str
) -> None:
    result = speedbench("history", "--bisect", "alpha", "--storage", nights(12, change))
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_bisect_wants_one_case(speedbench: Speedbench, nights: Callable[..., Path]) -> None:
    result = speedbench("history", "--bisect", "bs1", "--storage", nights(3))
    assert result.code == 2
    assert "--bisect: 3 cases match, expected one: " in result.err


def test_bisect_of_one_commit(speedbench: Speedbench, nights: Callable[..., Path]) -> None:
    folder = nights(30, loss_from(20))
    for path in folder.glob("*.json"):
        data = json.loads(path.read_text())
        data["commit_info"]["id"] = "a" * 40
        path.write_text(json.dumps(data))
    result = speedbench("history", "--bisect", "alpha", "--storage", folder)
    assert result.code == 2
    assert "are both of commit aaaaaaaaaaaa, so the cause is not in this repository" in result.err


def test_bisect_without_clean_commits(speedbench: Speedbench, nights: Callable[..., Path]) -> None:
    folder = nights(30, loss_from(20))
    for path in folder.glob("*.json"):
        data = json.loads(path.read_text())
        data["commit_info"]["dirty"] = True
        path.write_text(json.dumps(data))
    result = speedbench("history", "--bisect", "alpha", "--storage", folder)
    assert result.code == 2
    assert "no clean commit is known on both sides" in result.err


TEST = """
import pytest

@pytest.mark.speed(category=["alpha", "all"], samples="all")
def test_gate(speed):
    pass
"""
INI = """
[pytest]
speed_engine = simulated
speed_model = sim
speed_method = eagle3
speed_split = prompts.jsonl
speed_max_tokens = 48
speed_engine_arg = acceptance={acceptance}
"""


def _git(*arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *arguments], check=True, capture_output=True, text=True, env=_environment()
    )
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def test_git_bisect_finds_the_commit(
    speedbench: Speedbench, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five commits, of which the first and the last were measured; the third loses."""
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "prompts.jsonl").write_bytes((project / "prompts.jsonl").read_bytes())
    (repository / "test_speed.py").write_text(TEST)
    (repository / ".gitignore").write_text(".benchmarks\n__pycache__\n.pytest_cache\n")
    monkeypatch.chdir(repository)
    _git("init", "-q", "-b", "main")
    commits = []
    for number in range(5):
        Path("pytest.ini").write_text(INI.format(acceptance=0.75 if number < 2 else 0.6))
        Path("change.txt").write_text(str(number))
        _git("add", "-A")
        _git("commit", "-q", "-m", f"change {number}")
        commits.append(_git("rev-parse", "HEAD"))
        if number in (0, 4):
            compared = ("--speed-compare=night0",) if number else ()
            saving = f"--benchmark-save=night{number}"
            run_session(repository, "--speed-rounds=0", saving, *compared)
    result = speedbench("history", "--bisect", "alpha", "--script", "search.py")
    assert result.code == 0
    assert "the verdict of run 0002: fail" in result.out
    assert "the engine's arguments differ between the two runs" in result.words
    assert 'split="prompts.jsonl",' in Path("search.py").read_text()
    commands = [line.split() for line in result.out.splitlines() if line.startswith("git ")]
    assert commands[0] == ["git", "bisect", "start", commits[4], commits[0]]
    for command in commands[:2]:
        found = _git(*command[1:])
    assert f"{commits[2]} is the first bad commit" in found
    result = speedbench("history", "--bisect", "alpha", "--script", "search.py")
    assert "--script search.py: already there" in result.err


# -- patterns and bars ----------------------------------------------------------------------

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
        ("qualitative:math", True),
        (str(KEY), True),
    ],
)
def test_patterns(pattern: str, found: bool) -> None:
    assert matches(KEY, pattern) is found


def test_sparkline() -> None:
    assert sparkline([]) == sparkline([1.0]) == ""
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert sparkline([1.0, 2.0, 8.0]) == "▁▂█"
