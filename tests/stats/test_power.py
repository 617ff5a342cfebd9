from __future__ import annotations

import numpy as np
import pytest

from pytest_speedbench.stats import Conclusion, Rule, Sequential, balanced_blocks, pair, plan
from pytest_speedbench.stats.unchanged import half_differences

from .stats_makers import recorded, run, slower, trace, without_ids


@pytest.fixture
def fewer_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough simulated sessions to tell a need of many samples from one of few."""
    monkeypatch.setattr("pytest_speedbench.stats.power.SESSIONS", 200)


def test_a_plan_names_samples_and_tokens() -> None:
    result = plan(run(1, n=300), Rule(0.02))
    assert result.pass_samples is not None
    assert result.pass_tokens == result.pass_samples * 61
    assert result.fail_samples is not None
    assert result.split_samples == 300
    assert result.loss == 0.04
    assert 0.02 < (result.detectable_loss or 0) < 0.1


@pytest.mark.usefixtures("fewer_sessions")
def test_smaller_error_rates_and_no_assumption_need_more() -> None:
    old = run(1, n=300)
    needs = [
        plan(old, rule, replay=True).pass_samples or 10**9
        for rule in (Rule(0.02), Rule(0.02, alpha=1e-4), Rule(0.02, alpha=1e-4, reach=0.02))
    ]
    assert needs[0] < needs[1] < needs[2]


@pytest.mark.usefixtures("fewer_sessions")
def test_without_replay_a_pass_needs_far_more() -> None:
    old = run(1, n=300)
    sharp, blunt = (plan(old, Rule(0.02), replay=r).pass_samples or 10**9 for r in (True, False))
    assert blunt > 3 * sharp
    assert plan(without_ids(old), Rule(0.02), replay=True).pass_samples == blunt


@pytest.mark.usefixtures("fewer_sessions")
def test_a_wider_margin_needs_fewer_samples() -> None:
    old = run(1, n=300)
    for replay in (True, False):
        needs = [plan(old, Rule(m), replay=replay).pass_samples for m in (0.02, 0.06, 0.2)]
        assert needs == sorted(needs, key=lambda n: -(n or 10**9))
        assert needs[-1] < needs[0] / 2  # type: ignore[operator]


def test_bad_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="power"):
        plan(run(1, 9), Rule(0.02), power=0.2)
    with pytest.raises(ValueError, match="between the margin and 1"):
        plan(run(1, 9), Rule(0.02), loss=0.01)


@pytest.mark.usefixtures("fewer_sessions")
def test_outputs_that_diverge_more_need_more_samples() -> None:
    old = run(1, n=60)
    needs = [plan(old, Rule(0.1), divergence=d).pass_samples for d in (0.0, 0.3, 1.0)]
    assert needs == sorted(needs)  # type: ignore[type-var]
    assert needs[0] < needs[2]  # type: ignore[operator]


def test_a_second_run_is_measured_and_its_change_of_al_taken_out() -> None:
    old = run(1, n=60)
    same, slow = pair(old, old), pair(old, slower(old, 0.1))
    assert plan(old, Rule(0.1), rebuild=same).pass_samples is not None
    retrained = plan(old, Rule(0.1), rebuild=slow).pass_samples
    assert retrained is not None
    assert retrained >= (plan(old, Rule(0.1), rebuild=same).pass_samples or 0)


def test_halves_of_an_output_differ_as_its_steps_vary() -> None:
    even = [trace(f"e{i}", [2] * 40) for i in range(9)]
    assert np.abs(half_differences(even)).max() == 0
    loop = [trace("loop", [1] * 40 + [4] * 10)]
    assert np.abs(half_differences(loop)).max() == pytest.approx(30 / 80**0.5)
    assert half_differences([]).std() > 0


def test_a_recorded_rebuild_needs_what_the_plan_says() -> None:
    old, new = recorded("eagle3-v49152-dl3", 32), recorded("eagle3-v49152-dl3", 128)
    rule = Rule(0.02)
    said = plan(old, rule, rebuild=pair(old, new)).pass_samples
    case, partner = Sequential(old, rule), {t.sample: t for t in new}
    for block in balanced_blocks([t.stratum for t in old]):
        case.add([partner[old[i].sample] for i in block])
    assert case.decision.conclusion is Conclusion.PASS
    assert said is not None
    assert said / 3 < case.samples < said * 2
