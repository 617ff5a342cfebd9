"""The acceptance process, its fit and simulated sessions: against closed forms and the gate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_speedbench.stats import Conclusion, NoData, Rule, StepTrace, judge, pair, scale_of
from pytest_speedbench.stats.acceptance import (
    AcceptanceProcess,
    expected_step,
    fit_process,
    shifts_of,
    step_shares,
)
from pytest_speedbench.stats.decision import verdict_of
from pytest_speedbench.stats.simulation import (
    Category,
    Session,
    Tally,
    common_cuts,
    upper_limit,
    walk,
    weakened,
)

PROCESS = AcceptanceProcess((0.8, 0.6, 0.4), 0.6)


def _traces(process: AcceptanceProcess, samples: int, tokens: int, seed: int) -> list[StepTrace]:
    """Step by step, with nothing of the vectorised walk."""
    draws = np.random.default_rng(seed)
    traces = []
    for number in range(samples):
        chance = process.of_requests(process.spread * draws.standard_normal(1))[0].tolist()
        steps, left = [], tokens
        while left:
            taken = 0
            while taken < len(chance) and draws.random() < chance[taken]:
                taken += 1
            steps.append(min(left, taken + 1))
            left -= steps[-1]
        ids = np.arange(tokens + 1)
        traces.append(StepTrace(f"s{number}", "a", 0, 1, np.array(steps), ids))
    return traces


# -- the fit ----------------------------------------------------------------------------------


def test_the_fit_finds_the_process_again() -> None:
    found = fit_process(_traces(PROCESS, 300, 100, 0), 3)
    assert found.chance == pytest.approx(PROCESS.chance, abs=0.03)
    assert found.spread == pytest.approx(PROCESS.spread, abs=0.08)


def test_short_outputs_do_not_bias_it() -> None:
    """Last steps are cut off; taking them for rejections would lower every chance."""
    found = fit_process(_traces(PROCESS, 3000, 6, 1), 3)
    assert found.chance == pytest.approx(PROCESS.chance, abs=0.04)


@pytest.mark.parametrize(("steps", "least", "most"), [([4] * 30, 0.95, 1), ([1] * 90, 0, 0.05)])
def test_all_or_nothing_accepted(steps: list[int], least: float, most: float) -> None:
    traces = [StepTrace(f"s{i}", "a", 0, 1, np.array(steps)) for i in range(10)]
    assert least <= fit_process(traces, 3).chance[0] <= most


def test_nothing_to_fit() -> None:
    with pytest.raises(NoData, match="no decoding step"):
        fit_process([StepTrace("s", "a", 0, 1, np.array([], dtype=int))], 3)
    with pytest.raises(NoData, match="no position is drafted"):
        fit_process(_traces(PROCESS, 2, 5, 0), 0)
    with pytest.raises(NoData, match="no decoding step"):
        step_shares([], 3)


def test_length_and_ease_of_a_sample_stay_together() -> None:
    """Long answers that are easy to draft carry micro AL; drawing both apart would lose that."""
    hard, easy = AcceptanceProcess((0.3,) * 3, 0.1), AcceptanceProcess((0.8,) * 3, 0.1)
    traces = _traces(hard, 30, 20, 0)
    traces += [replace(t, sample=f"long {t.sample}") for t in _traces(easy, 30, 200, 1)]
    process = fit_process(traces, 3)
    means, doubts = shifts_of(traces, process)
    assert means[:30].max() < means[30:].min()
    assert doubts[30:].mean() < doubts[:30].mean() < process.spread
    lengths = np.array([trace.decode_tokens for trace in traces])
    category = Category(process, lengths, means, doubts)
    drawn, chance = category.drawn(4000, np.random.default_rng(0))
    observed = lengths.sum() / sum(len(trace.steps) for trace in traces)
    assert drawn.sum() / (drawn / expected_step(chance)).sum() == pytest.approx(observed, rel=0.03)


# -- the walk ---------------------------------------------------------------------------------


def test_the_walk_is_that_of_the_process() -> None:
    n, tokens = 400, 200
    chance = np.tile(PROCESS.chance, (n, 1))
    lengths = np.full(n, tokens)
    found = walk(chance, lengths, np.random.default_rng(0).random((n, tokens, 3)))
    assert n * tokens / found.steps.sum() == pytest.approx(expected_step(chance)[0], rel=0.02)
    assert found.until(lengths).tolist() == found.steps.tolist()
    shares = found.histogram[1:] / found.histogram.sum()
    assert shares == pytest.approx([0.2, 0.8 * 0.4, 0.48 * 0.6, 0.192], abs=0.01)


def test_tokens_add_up() -> None:
    numbers = np.zeros((1, 10, 3))  # everything is accepted: steps of 4, 4 and 2
    found = walk(np.full((1, 3), 0.5), np.array([10]), numbers)
    assert found.histogram.tolist() == [0, 0, 1, 0, 2]
    assert found.steps.tolist() == [3]
    assert found.until(np.array([5])).tolist() == [2]
    assert (found.long_tokens.tolist(), found.long_steps.tolist()) == ([10], [3])


def test_both_runs_are_cut_where_both_start_a_step() -> None:
    lengths = np.array([8, 8, 8])
    fours = walk(np.full((3, 3), 0.5), lengths, np.zeros((3, 8, 3)))
    ones = walk(np.full((3, 3), 0.5), lengths, np.ones((3, 8, 3)))
    cuts = common_cuts(fours, ones, lengths, np.array([3, 6, 8]))
    assert cuts.tolist() == [0, 4, 8]
    assert ones.until(cuts).tolist() == [0, 4, 8]


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.3])
def test_a_loss_lowers_al_by_itself(loss: float) -> None:
    draws = np.random.default_rng(0)
    chance = PROCESS.of_requests(0.6 * draws.standard_normal(200))
    lengths = draws.integers(20, 200, 200)
    weak = weakened(chance, lengths, loss, draws.standard_exponential(200))
    steps = [(lengths / expected_step(c)).sum() for c in (chance, weak)]
    assert steps[0] / steps[1] == pytest.approx(1 - loss, abs=1e-6)


# -- sessions ---------------------------------------------------------------------------------


def _session(samples: int, divergence: float = 0.46, margin: float = 0.1) -> Session:
    lengths = np.full(samples, 100)
    categories = {name: Category.declared(PROCESS, lengths) for name in ("a", "b")}
    rule = Rule(margin, 0.01, fail_alpha=0.01 / 3)
    return Session(categories, {"a": samples, "b": samples}, ["a", "b", "all"], rule, divergence)


def test_a_session_can_be_had_again() -> None:
    assert _session(40).verdicts(0.1, 5) == _session(40).verdicts(0.1, 5)


def test_healthy_sessions_pass_and_losses_fail() -> None:
    healthy, lost = Tally(), Tally()
    for seed in range(20):
        healthy.add(_session(120).verdicts(0.0, seed))
        lost.add(_session(120).verdicts(0.3, seed))
    assert healthy.with_fail == 0
    assert healthy.count("all", Conclusion.PASS) == 20
    assert lost.count("all", Conclusion.FAIL) == lost.with_fail == 20


# Passes of three cases a session, each at 1%: more by chance with a probability below 0.002.
@pytest.mark.parametrize(
    ("sessions", "passes", "fails"),
    [(40, 5, 3), pytest.param(150, 12, 6, marks=pytest.mark.nightly)],
)
def test_error_rates_hold_at_the_edge(sessions: int, passes: int, fails: int) -> None:
    edge = Tally()
    for seed in range(sessions):
        edge.add(_session(100).verdicts(0.1, seed))
    assert sum(edge.count(name, Conclusion.PASS) for name in ("a", "b", "all")) <= passes
    assert edge.with_fail <= fails


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("samples", [5, 20, 60])
def test_the_quick_verdict_is_that_of_the_gate(loss: float, samples: int) -> None:
    rule = Rule(0.06, 0.01, fail_alpha=0.002)
    for seed in range(8):
        old = _traces(PROCESS, samples, 120, seed)
        weak = AcceptanceProcess(tuple(c * (1 - loss) for c in PROCESS.chance), 0.6)
        new = _traces(weak, samples, 120, seed if seed % 2 else 100 + seed)
        pairs, scale = pair(old, new), scale_of(old)
        assert verdict_of(pairs, scale, rule) is judge(pairs, scale, rule).conclusion


def test_upper_limit_is_clopper_and_pearsons() -> None:
    assert upper_limit(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert upper_limit(7, 7) == 1.0
