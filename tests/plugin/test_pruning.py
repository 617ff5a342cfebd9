"""``speed.assert_pruning_loss``: two drafters in one session."""

from __future__ import annotations

import re

import pytest

from pytest_speedbench.baselines.storage import read_run
from pytest_speedbench.compare.comparison import compare_runs, parse_map
from pytest_speedbench.compare.verdict import Outcome

from .conftest import Project, text_of

WORSE = ("--speed-engine-arg", "acceptance.pruned=0.4")
BOTH = "drafter=['full', 'pruned']"
MANY = {"speed_samples": "60", "speed_max_tokens": "64"}


def gate(project: Project, marker: str, call: str = '"5%", per_category="8%"') -> None:
    project.split("own.jsonl", 60, "math", "qa")
    project.gate(
        f"split='own.jsonl', {BOTH}, {marker}",
        f"speed.assert_pruning_loss({call})",
    )


def test_a_drafter_that_lost_too_much_fails_and_the_first_passes(project: Project) -> None:
    gate(project, "category='all'")
    result = project.run(*WORSE, **MANY, speed_category=None)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*GateFailure: pruning_loss: fail (-2*%) against drafter full: simulated *pruned*",
            "*  all: AL -2?.??% *, allowed -5.00%: fail",
            "*  which tokens cost most: speedbench drafter coverage RUN*",
        ]
    )


def test_categories_without_a_case_are_held_to_their_own_margin(project: Project) -> None:
    gate(project, "category='all'", '"40%", per_category="8%"')
    one = ("--speed-engine-arg", "acceptance.qa=0.8")  # of both drafters
    result = project.run(*WORSE, *one, **MANY, speed_category=None)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*GateFailure: pruning_loss/[*]: fail*", "*  math: AL -*, allowed -8.00%: fail"]
    )
    result.stdout.fnmatch_lines(["*  qa: AL +0.00% *, allowed -8.00%: pass"])


def test_a_category_has_a_verdict_of_its_own(project: Project) -> None:
    gate(project, "category=['math', 'qa']")
    one = ("--speed-engine-arg", "acceptance.qa=0.6")
    result = project.run(*WORSE, *one, **MANY, speed_category=None)
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["FAILED *pruned-math*pruning_loss: fail*"])


def test_equal_drafters_pass(project: Project) -> None:
    gate(project, "category='all'", '"10%", per_category="20%"')
    project.run(**MANY, speed_category=None).assert_outcomes(passed=2)


def test_both_drafters_follow_the_text_without_sd(project: Project) -> None:
    gate(project, "category='all'", '"20%", per_category="40%"')
    ties = "--speed-engine-arg=divergence=0.02"
    result = project.run(
        ties, "--benchmark-save=arms", **MANY, speed_category=None, speed_rounds="1"
    )
    result.assert_outcomes(passed=2)
    followed = [[request.replay for request in record.requests] for record in project.records()]
    texts = [[replay.text for replay in arm if replay] for arm in followed]
    assert len(texts[0]) == 120
    assert texts[0] == texts[1]
    assert any(replay.resumed for replay in followed[0] if replay)
    assert "replayed along this session's outputs without SD" in text_of(result)


@pytest.mark.parametrize(
    ("marker", "call", "message"),
    [
        ("drafter='full'", '"5%"', "*NoData: assert_pruning_loss compares two drafters*"),
        ("drafter=['full', 'pruned']", '"5"', "*UsageError: assert_pruning_loss: margin='5'*"),
        (
            "drafter=['full', 'pruned']",
            '"5%", per_category=0',
            "*per_category=0: expected a share*",
        ),
    ],
)
def test_what_cannot_be_asked(project: Project, marker: str, call: str, message: str) -> None:
    project.gate(marker, f"speed.assert_pruning_loss({call})")
    result = project.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines([message])


def test_a_drafter_follows_the_text_of_the_first_one(project: Project) -> None:
    """Their saved cases have keys of their own; ``--map drafter=full:pruned`` pairs them."""
    gate(project, "category='all'", '"50%"')
    result = project.run(*WORSE, "--benchmark-save=both", **MANY, speed_category=None)
    result.assert_outcomes(passed=2)
    text = text_of(result)
    assert re.search("pruning_loss: pass .-.*over the baseline's text", text)
    assert "note: replay: none of 120 outputs diverged from the first arm" in text
    run = read_run(project.saved[-1])
    found = compare_runs(run, run, maps=[parse_map("drafter=full:pruned")])
    (verdict,) = [
        v for case in found.paired for v in case.verdicts if case.new.case.drafter == "pruned"
    ]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.ratio == pytest.approx(0.76, abs=0.03)
