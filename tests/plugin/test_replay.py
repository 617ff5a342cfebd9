"""Replay in a session: which verdict it gives, what the report says, and how it is switched off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pytest_speedbench import compare
from pytest_speedbench.cli import app
from pytest_speedbench.measure import until_decided
from pytest_speedbench.measure.results import Pass

from .conftest import Project, text_of

COMPARE = ("--speed-compare=0001", "--speed-compare-fail=acceptance_length:10%")
REBUILD = ("--speed-engine-arg=divergence=0.03", "--speed-engine-arg=build=1")


@pytest.fixture
def saved(project: Project, kept: Path) -> Project:
    project.ini |= {"speed_split": "s.jsonl", "speed_samples": "all", "speed_max_tokens": "48"}

    def make() -> None:
        project.split("s.jsonl", 48)
        project.gate("bs=8")
        project.run("--benchmark-save=base").assert_outcomes(passed=1)

    project.once(kept / "saved", make)
    return project


def test_a_rebuild_is_compared_along_the_baselines_text(saved: Project) -> None:
    result = saved.run(*COMPARE, *REBUILD, "--benchmark-save=new")
    assert "note: replayed along the baseline:" in text_of(result)
    assert "gate: 1 pass" in result.stdout.str()
    (record,) = saved.records()
    (verdict,) = record.verdicts
    assert "over the baseline's text (9" in verdict.reason
    assert verdict.ratio == pytest.approx(1.0)
    done = CliRunner().invoke(
        app,
        ["compare", "0001", "0002", "--fail", "acceptance_length:10%", "--storage", ".benchmarks"],
    )
    assert "gate: 1 pass" in done.output
    assert f"{verdict.coverage:.0%}" in done.output


def test_a_state_that_decays_until_the_next_prefill_cannot_pass(saved: Project) -> None:
    wide = "--speed-compare-fail=acceptance_length:30%"
    result = saved.run(*COMPARE[:1], wide, *REBUILD, "--speed-engine-arg=decay=60")
    assert "AL falls with the distance from the prefill" in text_of(result)


@pytest.mark.parametrize("where", ["flag", "marker"])
def test_replay_is_switched_off(saved: Project, where: str) -> None:
    saved.gate("bs=8, replay=False" if where == "marker" else "bs=8")
    result = saved.run(*COMPARE, *REBUILD, *(["--speed-replay=off"] if where == "flag" else []))
    assert "replayed along" not in text_of(result)


def test_what_is_not_replayed_says_so(saved: Project) -> None:
    result = saved.run("--speed-compare", "--speed-engine-arg=reports=totals")
    assert "note: not replayed: no steps are reported" in text_of(result)


def test_an_engine_that_dies_in_the_replay_costs_no_measurement(saved: Project) -> None:
    result = saved.run(*COMPARE, *REBUILD, "--speed-engine-arg=die_at=80", "--benchmark-save=new")
    result.assert_outcomes(passed=1, warnings=2)
    assert "the engine died during the replay; what it measured before is kept" in text_of(result)
    assert "not replayed: the engine died during the replay" in text_of(result)
    (record,) = saved.records()
    assert len(record.requests) == 48


def test_an_early_decision_follows_the_baseline_block_by_block(saved: Project) -> None:
    wide = "--speed-compare-fail=acceptance_length:20%"
    result = saved.run(COMPARE[0], wide, *REBUILD, "--speed-early", "--benchmark-save=early")
    assert "gate: 1 pass" in result.stdout.str()
    assert "stopped early: decided after" in text_of(result)
    assert "replayed along the baseline" in text_of(result)
    (record,) = saved.records()
    assert record.arm is not None
    assert record.arm.early is not None
    assert record.arm.early.looked < 48
    assert "over the baseline's text" in record.verdicts[0].reason
    assert all(request.replay is not None for request in record.requests)


def test_a_group_that_lost_all_its_answers_does_not_end_the_replay(
    saved: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, passes = until_decided.checked_pass, []

    def first_is_lost(*arguments: Any, **more: Any) -> Pass:
        passes.append(own(*arguments, **more))
        lost = replace(passes[0], turns=[], failed={"error": len(passes[0].turns)})
        return lost if len(passes) == 1 else passes[-1]

    monkeypatch.setattr(until_decided, "checked_pass", first_is_lost)
    options = ("--speed-early", "--speed-max-failed=50%")
    result = saved.run(*COMPARE, *REBUILD, *options)
    assert "'error': 8" in text_of(result)
    assert "replayed along the baseline" in text_of(result)


def test_tokens_that_are_no_ties_fail(saved: Project) -> None:
    wide = (COMPARE[0], "--speed-compare-fail=acceptance_length:30%")
    ties = saved.run(*wide, *REBUILD, speed_rounds="1")
    assert "divergences scored, all numerical ties" in text_of(ties)
    defect = "--speed-engine-arg=defect_at=20"
    wrong = saved.run(*wide, defect, "--benchmark-save=new", speed_rounds="1")
    assert "1 fail" in wrong.stdout.str()
    (record,) = saved.records()
    (comparison,) = compare("0001", "0002", {"acceptance_length": "30%"}).cases
    in_session, later = record.verdicts[-1], comparison.verdicts[-1]
    assert (in_session.metric, in_session.outcome) == ("output", "fail")
    assert (later.metric, later.reason) == ("output", in_session.reason)
    assert "48 of 48 divergences scored are not numerical ties, the first in sample" in text_of(
        wrong
    )
    assert "48 of 48 scored divergences are not numerical ties" in text_of(wrong)


def test_nothing_is_replayed_where_al_is_not_gated(saved: Project) -> None:
    result = saved.run("--speed-compare-fail=output_tps:50%", *REBUILD, speed_rounds="3")
    assert "replayed along" not in text_of(result)
