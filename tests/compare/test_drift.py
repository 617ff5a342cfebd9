"""Soaks: rounds on one engine, a trend that fails, and a series to plot."""

from __future__ import annotations

import math
import random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugin.conftest import GATE, EngineLog, Project, text_of

from pytest_speedbench.compare.drift import MOST_BLOCKS, averaged, drift_verdict, rounds_needed
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.measure.results import DriftPoint, Emitted, SoakRound
from pytest_speedbench.plan.soak import Soak, parse_soak

FADE = "--speed-engine-arg=fade=0.002"
SOAK = "soak=20"


# -- what a soak is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "soak"),
    [
        (20, Soak(rounds=20, text="20")),
        ("90s", Soak(seconds=90, text="90s")),
        ("30m", Soak(seconds=1800, text="30m")),
        ("1.5 h", Soak(seconds=5400, text="1.5h")),
    ],
)
def test_times_and_rounds_are_read(value: object, soak: Soak) -> None:
    assert parse_soak(value) == soak
    assert soak


@pytest.mark.parametrize(
    "value", [3, 0, -1, True, 20.0, "20", "0s", "30 min", "m", "", "-5m", 10**400, "9" * 400 + "h"]
)
def test_what_is_no_soak_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="'30m' or '2h', or a number of rounds >= 4"):
        parse_soak(value)


def test_a_round_has_a_point_for_every_slice() -> None:
    by_category = {"math": Emitted(11, 10, 5), "qa": Emitted(9, 8, 4), "rag": Emitted(1, 0, 0)}
    round_ = SoakRound(2.0, 3.0, 0.1, by_category)
    assert round_.point("math") == DriftPoint(2.0, 2.0, 0.1, 11)
    assert round_.point("all") == DriftPoint(2.0, 2.0, 0.1, 21)
    assert round_.point("rag").acceptance_length is None


# -- the test -------------------------------------------------------------------------------


def soak(lengths: list[float], times: list[float] | None = None) -> list[DriftPoint]:
    step_times = times or [0.01] * len(lengths)
    return [
        DriftPoint(float(i), length, step, 100)
        for i, (length, step) in enumerate(zip(lengths, step_times, strict=True))
    ]


def wobble(n: int, trend: float, noise: float, seed: int = 0) -> list[float]:
    draws = random.Random(seed)
    return [2.0 * (1 + trend * i / (n - 1)) + draws.gauss(0, noise) for i in range(n)]


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=300))
def test_blocks_keep_the_mean_and_the_order(values: list[float]) -> None:
    blocks = averaged(values)
    assert len(blocks) == min(len(values), MOST_BLOCKS)
    assert min(values) - 1e-9 <= min(blocks) <= max(blocks) <= max(values) + 1e-9
    if len(values) % len(blocks) == 0:
        assert mean(blocks) == pytest.approx(mean(values))
    assert averaged(sorted(values)) == sorted(averaged(sorted(values)))


@settings(deadline=None)  # the first example imports scipy
@given(st.floats(1e-9, 0.04))
def test_as_many_rounds_as_one_order_needs_to_be_rare(alpha: float) -> None:
    n = rounds_needed(alpha)
    assert 1 / math.factorial(n) <= alpha
    assert n == 4 or 1 / math.factorial(n - 1) > alpha
    falling = [DriftPoint(float(i), 3 - 0.1 * i, 0.01, 1) for i in range(n)]
    assert drift_verdict("c", falling, 2 * alpha).outcome is Outcome.FAIL


@pytest.mark.parametrize("n", [20, 50, 400])
def test_a_falling_al_fails(n: int) -> None:
    verdict = drift_verdict("c", soak(wobble(n, -0.1, 0.02)), 0.01)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.ratio == pytest.approx(0.9, abs=0.02)
    assert verdict.reason.startswith("trend in AL: AL -")


def test_what_gets_better_passes() -> None:
    found = drift_verdict("c", soak(wobble(20, 0.1, 0.02), wobble(20, -0.1, 0.02)), 0.01)
    assert found.outcome is Outcome.PASS
    assert found.reason.startswith("no worsening trend: AL +")


@pytest.mark.parametrize(("rise", "outcome"), [(0.1, Outcome.FAIL), (0.005, Outcome.PASS)])
def test_a_step_time_may_rise_by_less_than_a_hundredth(rise: float, outcome: Outcome) -> None:
    times = [0.01 * (1 + rise * i / 19) for i in range(20)]
    assert drift_verdict("c", soak([2.0] * 20, times), 0.01).outcome is outcome


def test_healthy_soaks_rarely_fail() -> None:
    verdicts = [
        drift_verdict("c", soak(wobble(20, 0, 0.05, s), wobble(20, 0, 0.05, s + 1000)), 0.05)
        for s in range(300)
    ]
    assert (
        sum(o.outcome is Outcome.FAIL for o in verdicts) <= 27
    )  # 15, and three standard deviations


def test_equal_rounds_pass() -> None:
    assert drift_verdict("c", soak([2.0] * 30), 0.01).outcome is Outcome.PASS


def test_too_few_rounds_decide_nothing() -> None:
    verdict = drift_verdict("c", soak([2.0, 1.9, 1.8, 1.7]), 0.01)
    assert verdict.outcome is Outcome.UNDECIDED
    assert verdict.reason == "4 rounds can show no trend at α = 0.01: soak=6 or more"


def test_rounds_without_a_step_decide_nothing() -> None:
    points = [DriftPoint(float(i), None, None, 8) for i in range(9)]
    verdict = drift_verdict("c", points, 0.01)
    assert verdict.outcome is Outcome.UNDECIDED
    assert verdict.reason == "no AL in 9 rounds without a decoding step"


# -- in a session ---------------------------------------------------------------------------


def test_a_stable_soak_passes_on_one_engine(project: Project, engines: EngineLog) -> None:
    project.gate(SOAK)
    result = project.run("--benchmark-save=a", speed_rounds="3")
    result.assert_outcomes(passed=1, warnings=0)
    result.stdout.fnmatch_lines(["*20 rounds*", "*note: soak of 20 rounds in * s", "gate: 1 pass"])
    assert engines.starts == ["start simulated eagle3 dl3"]
    (record,) = project.records()
    assert len(record.drift) == 20
    assert record.reference_rounds == []
    starts = [point.start for point in record.drift]
    assert starts[0] == 0.0
    assert starts == sorted(starts)
    length = record.metric("acceptance_length")
    assert length is not None
    assert {point.acceptance_length for point in record.drift} == {length.value}
    assert all(point.step_time == pytest.approx(0.013) for point in record.drift)
    assert {point.tokens for point in record.drift} == {sum(r.tokens for r in record.requests)}


def test_a_fading_soak_fails_after_the_body(project: Project) -> None:
    project.gate(SOAK)
    result = project.run(FADE)
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r"drift: fail \(-[\d.]+%\): simulated org/model eagle3 dl3 bs1 qualitative:math",
            r"  trend in AL: AL -\d\d\.\d\d% over the soak \(p = .*\), step time .*; 20 rounds, "
            r"α = 0\.005",
        ]
    )
    assert "drift: fail (-" in text_of(result)


def test_a_soak_whose_engine_dies_keeps_its_rounds_and_fails(project: Project) -> None:
    project.gate(SOAK)
    result = project.run("--speed-engine-arg=die_at=80", "--benchmark-save=a")
    result.assert_outcomes(failed=1)
    text = " ".join(text_of(result).split())
    assert "the soak ended in round 7: engine simulated ended with code 137 " in text
    assert text.count("simulated: out of memory") == 1
    (record,) = project.records()
    assert len(record.drift) == 6
    assert "note: soak of 6 rounds in" in text


def test_a_soak_whose_engine_dies_at_once_has_nothing_to_keep(project: Project) -> None:
    project.gate(SOAK)
    project.run("--speed-engine-arg=die_at=20").assert_outcomes(errors=1)


def test_after_a_soak_that_broke_off_the_next_test_has_a_new_engine(project: Project) -> None:
    project.gate(SOAK)
    project.file("test_next.py", GATE.format(marker="category='qa'", body="print(speed)"))
    project.run("--speed-engine-arg=die_at=80").assert_outcomes(failed=1, passed=1)


def test_a_soak_lasts_as_long_as_it_is_told(project: Project) -> None:
    project.gate("soak='20s'", "print('last began', speed.drift[-1].start)")
    result = project.run("-s", "--benchmark-save=a")
    result.assert_outcomes(passed=1)
    (record,) = project.records()
    lengths = [b.start - a.start for a, b in zip(record.drift, record.drift[1:], strict=False)]
    assert record.drift[-1].start < 20 <= record.drift[-1].start + 1.01 * max(lengths)


def test_the_alpha_of_the_body_goes_before_the_sessions(project: Project) -> None:
    project.gate(SOAK, "speed.assert_no_drift(alpha=1e-12)")
    project.run(FADE).assert_outcomes(passed=1)
    project.gate(SOAK, "speed.assert_no_drift(alpha=0.05)")
    result = project.run(FADE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*α = 0.05", "*test_it.py:6: GateFailure"])


@pytest.mark.parametrize(
    ("marker", "body", "message"),
    [
        ("", "speed.assert_no_drift()", "NoData: no soak, so no trend: *soak='30m'*"),
        (
            SOAK,
            "speed.assert_no_drift(alpha=2)",
            "*UsageError: alpha: cannot read 2: expected a share*",
        ),
        (SOAK, "speed.assert_no_drift(alpha='x')", "*alpha: cannot read 'x': expected a share*"),
        (SOAK, "speed.speedup", "NoData: a soak measures one engine, and no arm without SD*"),
    ],
)
def test_what_has_no_answer_says_why(
    project: Project, marker: str, body: str, message: str
) -> None:
    project.gate(marker, body)
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E*{message}"])


def test_few_rounds_are_undecided(project: Project) -> None:
    project.gate("soak=4")
    result = project.run()
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*undecided, *4 rounds can show no trend at α = 0.005: soak=6*"])
    project.run("--speed-inconclusive=fail").assert_outcomes(failed=1)


def test_every_slice_has_its_own_al(project: Project) -> None:
    project.gate(SOAK + ", category=['math', 'qa']")
    result = project.run(FADE, "--benchmark-save=a", "--speed-engine-arg=acceptance.qa=0")
    result.assert_outcomes(passed=1, failed=1)
    math_record, qa_record = project.records()
    assert {point.acceptance_length for point in qa_record.drift} == {1.0}
    assert math_record.drift[0].acceptance_length != math_record.drift[-1].acceptance_length


@pytest.mark.parametrize("value", ["'30 min'", "3", "[]", "'20'"])
def test_a_bad_soak_is_a_collection_error(project: Project, value: str) -> None:
    project.gate(f"soak={value}")
    result = project.run()
    result.assert_outcomes(errors=1)
    if value == "[]":
        result.stdout.fnmatch_lines(["*soak*empty*"])
    else:
        result.stdout.fnmatch_lines([f"*soak={value}: expected a time such as '90s'*"])


def test_soaks_span_the_grid(project: Project) -> None:
    project.gate("soak=[4, '30m']")
    assert project.ids() == ["test_gate[math-bs1-dl3-soak4]", "test_gate[math-bs1-dl3-soak30m]"]
    project.gate("soak=4")
    assert project.ids() == ["test_gate[math-bs1-dl3]"]


def test_early_decision_leaves_a_soak_alone(project: Project) -> None:
    project.gate("soak=8")
    project.run("--benchmark-save=a").assert_outcomes(passed=1)
    result = project.run("--speed-early")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*note: soak of 8 rounds in * s"])


def test_a_soak_beside_a_timed_run_shares_nothing_but_the_engine(
    project: Project, engines: EngineLog
) -> None:
    project.file(
        "test_it.py",
        """
import pytest

@pytest.mark.speed(soak=8)
def test_soak(speed):
    assert len(speed.drift) == 8

@pytest.mark.speed
def test_gate(speed):
    assert speed.drift == []
    assert speed.speedup.value > 1
""",
    )
    result = project.run(speed_rounds="3")
    result.assert_outcomes(passed=2)
    assert sorted(engines.starts) == ["start simulated eagle3 dl3", "start simulated no SD"]
