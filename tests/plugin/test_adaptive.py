"""Draft lengths that the engine adapts: DL is a maximum, and SD must not cost speed anywhere."""

from __future__ import annotations

import re

import pytest

from .conftest import Project

SCHEDULE = "--speed-engine-arg=schedule=1:3,4:0"


def test_steps_without_a_draft_are_counted(project: Project) -> None:
    body = "assert speed.draftless_share >= 0.2; assert speed.proposed_length <= 3"
    project.gate("bs=[1, 4]", "if speed.run.setting.batch_size == 4:\n        " + body)
    result = project.run(SCHEDULE, "--benchmark-save=a", "--speed-summary=s.md")
    result.assert_outcomes(passed=2)
    summary = (project.path / "s.md").read_text()
    assert re.search(
        r"math: \d+% of decoding steps without a draft; .* draft tokens a step", summary
    )
    one, four = sorted(project.records(), key=lambda record: record.case.bs)
    found = [record.metric("draftless_share") for record in (one, four)]
    assert [metric is not None and metric.value > 0 for metric in found] == [False, True]
    assert four.engine.details["schedule"] == "1:3,4:0"


def test_counters_alone_show_steps_without_a_draft(project: Project) -> None:
    project.gate("bs=4", "speed.acceptance_length")
    result = project.run(SCHEDULE, "--speed-engine-arg=reports=counters", "--benchmark-save=a")
    result.assert_outcomes(passed=1)
    (record,) = project.records()
    share, proposed = (record.metric(name) for name in ("draftless_share", "proposed_length"))
    assert share is not None
    assert proposed is not None
    assert (share.low, proposed.low) == (None, None)
    assert proposed.value == pytest.approx(3 * (1 - share.value))


def test_a_schedule_that_never_drafts_is_said_and_no_fault(project: Project) -> None:
    project.gate("bs=4", "assert speed.draftless_share >= 0")
    result = project.run("--speed-engine-arg=schedule=1:0")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*the engine's schedule of draft lengths drafts nothing at BS 4*"])


def test_a_schedule_that_hardly_drafts_is_said(project: Project) -> None:
    # Only the last steps of the last answers have fewer than four requests beside one another.
    project.gate("bs=4, samples=40", "assert 0.95 < speed.draftless_share < 1")
    result = project.run("--speed-engine-arg=schedule=1:3,2:0")
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r".*schedule of draft lengths drafts in at most \d\.\d% of the"])


def test_a_schedule_is_held_against_no_sd_and_a_fixed_length(project: Project) -> None:
    project.gate("bs=4", "speed.assert_never_worse(than=['none', 3, 1], margin='20%')")
    arguments = ("--speed-rounds=5", "--speed-engine-arg=draft_ms=8", SCHEDULE)
    project.run(*arguments, "--benchmark-save=a").assert_outcomes(passed=1)
    (verdict,) = project.records()[0].verdicts
    assert verdict.metric == "never_worse"
    for name in ("no SD", "static dl3", "static dl1"):
        assert f"x of {name} [" in verdict.reason


def test_speculation_that_costs_speed_fails(project: Project) -> None:
    project.gate("", "speed.assert_never_worse()")
    result = project.run("--speed-rounds=5", "--speed-engine-arg=draft_ms=40")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*never_worse: fail: output: 0.*x of no SD *"])


def test_arms_that_cannot_be(project: Project) -> None:
    project.gate(
        "",
        "for than in ['fast', [], 1.5, [True], [['none']], {}]:\n"
        "        with pytest.raises(Exception, match='than=.*: expected '):\n"
        "            speed.assert_never_worse(than=than)\n"
        "    speed.assert_never_worse(than='none', margin='50%')",
    )
    project.run("--speed-rounds=3").assert_outcomes(passed=1)
    project.gate("", "speed.assert_never_worse(than=[3])")
    result = project.run("--speed-rounds=3")
    result.stdout.fnmatch_lines(["*eagle3 dl3: this is the case itself, without a schedule*"])
    result = project.run("--speed-rounds=0")
    result.stdout.fnmatch_lines(["*NoData: no rounds are timed*"])
    result = project.run("--speed-early")
    result.stdout.fnmatch_lines(["*NoData: --speed-early times no rounds*: leave it out"])
