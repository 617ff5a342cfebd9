"""Commands on saved runs of engines that tell less than steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Speedbench

Change = Callable[[dict[str, Any]], None]
Edited = Callable[[str, Change], Path]
AL = ("acceptance_length", "acceptance_length_macro", "acceptance_rate")


def to_totals(record: dict[str, Any]) -> None:
    """The record that the same engine would have left if it told totals."""
    record["schema"] = 2
    record["engine_acceptance_length"] = None
    record["notes"] = ["the engine tells totals of a request"]
    record["metrics"].pop("acceptance_by_position")
    for request in record["requests"]:
        request["totals"] = {
            "steps": len(request.pop("steps").split()),
            "draft_tokens": sum(map(int, request.pop("drafted").split())),
            "accepted_tokens": sum(map(int, request.pop("accepted").split())),
        }
        request["steps"] = ""


def to_counters(record: dict[str, Any]) -> None:
    """… if it had counters alone: AL is a value of the slice."""
    to_totals(record)
    told = [request["totals"] for request in record["requests"]]
    sums = {name: sum(totals[name] for totals in told) for name in told[0]}
    tokens = sum(request["tokens"] - 1 for request in record["requests"])
    record["counted"] = {
        "samples": len(told),
        "requests": len(told),
        "tokens": tokens,
        "hidden": 0,
        "drafts": sums["steps"],
        **sums,
    }
    record["metrics"].pop("acceptance_length_macro")
    for name in ("acceptance_length", "acceptance_rate"):
        record["metrics"][name] |= {"low": None, "high": None}
    silence(record)


def to_nothing(record: dict[str, Any]) -> None:
    """… if it told nothing of acceptance."""
    to_totals(record)
    silence(record)
    for name in (*AL, "step_time"):
        record["metrics"].pop(name)


def silence(record: dict[str, Any]) -> None:
    for request in record["requests"]:
        request["totals"] = dict.fromkeys(request["totals"])


@pytest.fixture(autouse=True)
def _here(project: Path) -> None:
    """Every test runs in the project."""


def test_totals_compare_with_steps_over_whole_outputs(
    speedbench: Speedbench, edited: Edited
) -> None:
    path = edited("totals", to_totals)
    result = speedbench("compare", "base", path, "--fail", "acceptance_length:20%")
    assert (result.code, result.err) == (0, "")
    assert "+0.00%" in result.out
    assert "gate: 3 pass" in result.words
    worse = speedbench("compare", path, "worse", "--fail", "acceptance_length:5%")
    assert worse.code == 1
    assert "whole outputs only, the engine reports totals of a request and no steps" in worse.words


def test_counters_of_a_slice_are_undecided(speedbench: Speedbench, edited: Edited) -> None:
    path = edited("counters", to_counters)
    result = speedbench("compare", "base", path)
    assert result.code == 0
    assert "gate: 3 undecided" in result.words
    assert "its spread over samples is unknown and no change is certain" in result.words
    assert speedbench("compare", "base", path, "--inconclusive", "fail").code == 1


def test_what_was_only_timed_is_not_gated(speedbench: Speedbench, edited: Edited) -> None:
    path = edited("nothing", to_nothing)
    result = speedbench("compare", path, path)
    assert "gate: 3 not gated" in result.words
    assert "timing only" in result.words
    silent = speedbench("compare", "base", path)
    assert "gate: 3 undecided" in silent.words
    assert "reports no decoding steps here" in silent.words


def test_history_and_report_have_no_number_where_none_is_told(
    speedbench: Speedbench, edited: Edited
) -> None:
    edited("nothing", to_nothing)
    rows = speedbench("history", "alpha dl3").out.splitlines()
    assert any(row.split()[0] == "nothing" and "–" in row for row in rows if row.split())
    shown = speedbench("report", "nothing")
    assert shown.code == 0
    row = next(line.split() for line in shown.out.splitlines() if line.split()[:1] == ["alpha"])
    assert row[1:] == ["–"] * 6
    assert shown.words.count("note: the engine tells totals of a request") == 1


def test_a_plan_for_totals_and_for_counters(speedbench: Speedbench, edited: Edited) -> None:
    edited("totals", to_totals)
    result = speedbench("plan", "--margin", "20%", "--baseline", "totals")
    assert result.code == 0
    row = next(line.split() for line in result.out.splitlines() if line.split()[:1] == ["alpha"])
    assert row[1] == "40"
    edited("counters", to_counters)
    counted = speedbench("plan", "--baseline", "counters")
    assert "no plan for alpha, beta, all: the engine does not report how many" in counted.words
    simulated = speedbench("plan", "--simulate", "--baseline", "totals")
    assert simulated.code != 0
    assert "fitted to a saved run needs the size of every decoding step" in simulated.err
