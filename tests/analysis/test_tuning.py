"""``speedbench tune``: the grid, the schedule, and the property of a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_speedbench import measure
from pytest_speedbench.analysis.tuning import Tuning, tuning
from pytest_speedbench.cli import app
from pytest_speedbench.cli.arguments import numbers
from pytest_speedbench.errors import CliError, GateFailure, NoData

COMMON = {
    "engine": "simulated",
    "model": "org/model",
    "method": "eagle3",
    "samples": 2,
    "max_tokens": 48,
    "category": "all",
}


@pytest.fixture(scope="module")
def tuned() -> Tuning:
    # A draft token costs 2 ms of a 10 ms step, and a request more at a large batch.
    costs = {"draft_ms": 2, "batch_ms": 0.5}
    return tuning(measure(**COMMON, bs=[1, 8], dl=[1, 3, 6], rounds=3, engine_arg=costs).records)


def test_every_point_is_measured_and_predicted(tuned: Tuning) -> None:
    points = [(row["bs"], row["dl"]) for row in tuned.table.rows]
    assert points == [(bs, dl) for bs in (1, 8) for dl in (1, 3, 6)]
    assert [row["predicted"] is None for row in tuned.table.rows] == [False, False, True] * 2
    assert tuned.error is not None
    assert tuned.error < 0.15


def test_another_best_draft_length_fails(tuned: Tuning) -> None:
    best = tuned.best[8]
    tuned.assert_best(best.value, 8)
    with pytest.raises(GateFailure, match=r"BS 8: the fastest is .*; expected DL 7"):
        tuned.assert_best(7, 8)
    with pytest.raises(NoData, match="BS 2 was not measured; measured: 1, 8"):
        tuned.assert_best(3, 2)


def test_the_schedule_covers_every_batch_size_once(tuned: Tuning) -> None:
    schedule = tuned.schedule()
    assert schedule[0][0] == 1
    assert schedule[-1][1] == 8
    starts = [start for start, _, _ in schedule[1:]]
    assert starts == [end + 1 for _, end, _ in schedule[:-1]]
    assert json.loads(tuned.vllm_schedule()) == [list(entry) for entry in schedule]
    tiers = json.loads(tuned.sglang_schedule())
    assert {int(bs): tier["candidate_steps"] for bs, tier in tiers.items()} == {
        start: [dl] for start, _, dl in schedule
    }


def test_the_command_measures_saves_and_reads_again(tmp_path: Path) -> None:
    arguments = [
        "tune",
        "--engine",
        "simulated",
        "--model",
        "org/model",
        "--method",
        "eagle3",
        "--samples",
        "1",
    ]
    arguments += ["--bs", "1", "--dl", "1,3", "--rounds", "3", "--max-tokens", "16"]
    place = ["--storage", str(tmp_path / "store")]
    done = CliRunner().invoke(app, [*arguments, "--save", "grid", *place])
    assert done.exit_code == 0, done.output
    assert "Speedup of eagle3" in done.stdout
    files = ["--plot", str(tmp_path / "a.svg"), "--json", str(tmp_path / "a.json")]
    again = CliRunner().invoke(
        app, ["tune", "--from", "grid", "--schedule", "vllm", *files, *place]
    )
    assert again.exit_code == 0, again.output
    assert "num_speculative_tokens_per_batch_size: [[1, 1, " in again.stdout
    assert json.loads((tmp_path / "a.json").read_text())["analysis"] == "tune"
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_lists_and_ranges() -> None:
    assert numbers("--dl", "1, 3..5,4") == [1, 3, 4, 5]
    for wrong in ("", "0", "5..3", "a", "1..5000"):
        with pytest.raises(CliError, match=r"--dl: cannot read .*: expected integers >= 1"):
            numbers("--dl", wrong)


def test_a_test_asks_for_the_best_draft_length() -> None:
    found = measure(**COMMON, bs=4, dl=[1, 4], rounds=3, engine_arg={"draft_ms": 0.1})
    assert all(4 in result.best_draft_length for result in found)
    alone = measure(**COMMON, bs=4, dl=2, rounds=1)
    assert alone.whole.best_draft_length.candidates == (0, 2)
