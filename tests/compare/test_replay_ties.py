"""Where a build differs from the baseline's text: ties never fail, wrong tokens do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from simulated_runs import InProcess, measure, record_of

from pytest_speedbench.baselines.outcome import VerdictRecord
from pytest_speedbench.baselines.records import decode_replay
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.family import Family
from pytest_speedbench.compare.gate import healthy_divergence
from pytest_speedbench.compare.judge import Judge
from pytest_speedbench.compare.lossless import Score, default_tolerance
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.replay_ties import other_numerics, scored, wrong_tokens
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.engines.protocol import TokenScore
from pytest_speedbench.measure.replayed import Replay
from pytest_speedbench.measure.run import Run
from pytest_speedbench.stats.ties import STATED_DEFECTS, classify_gap, defects_p_value, ulp

TIES = {"divergence": 0.02, "build": 1}
ALPHA = 0.01


@pytest.fixture(scope="module")
def baseline() -> Record:
    return record_of(measure())


def along(baseline: Record, **args: object) -> tuple[Run, Score]:
    """A run along the baseline's text, and its target."""
    engine = InProcess(args)

    def score(text: Sequence[int], candidates: Sequence[int]) -> TokenScore:
        return engine.score(text, len(text), candidates)

    return measure(baseline, engine=engine), score


def asked(run: Run, score: Score) -> Replay:
    assert run.replay is not None
    return scored(run.replay, score, default_tolerance("float32"))


def record_with(run: Run, replay: Replay) -> Record:
    run.replay = replay
    return record_of(run)


@pytest.fixture(scope="module")
def defective(baseline: Record) -> Record:
    run, score = along(baseline, **TIES, defect_at=9)
    return record_with(run, asked(run, score))


@pytest.fixture(scope="module")
def tied(baseline: Record) -> Record:
    run, score = along(baseline, **TIES)
    return record_with(run, asked(run, score))


def test_divergences_are_scored_as_ties_or_defects(baseline: Record) -> None:
    run, score = along(baseline, **TIES, defect_at=9)
    found = asked(run, score)
    assert found.scored > 24
    assert {position for _, _, position in found.defects} == {9}
    assert len(found.defects) > 20
    assert not any(turn.divergences for turn in found.turns.values())  # nothing is asked twice


def test_the_record_keeps_which_tokens_are_wrong(defective: Record) -> None:
    wrong = [w for turn in decode_replay(defective).values() for w in turn.wrong]
    assert {w.position for w in wrong} == {9}
    assert all(w.probability < w.expected_probability and w.ulps > 64 for w in wrong)


def test_wrong_tokens_fail_with_sample_token_probabilities_and_gap(
    baseline: Record, defective: Record
) -> None:
    verdict = wrong_tokens("case", defective, Match(baseline), ALPHA)
    assert verdict is not None
    assert verdict.outcome is Outcome.FAIL
    assert verdict.metric == "output"
    assert "have a token that the target without SD would not choose, more than 1%" in (
        verdict.reason
    )
    assert "output token 9: id " in verdict.reason
    assert "ulps below the best" in verdict.reason
    assert "and 20 more outputs" in verdict.reason
    judged = Judge({"acceptance_length": 0.3}, Family(ALPHA, 1)).judge(defective, Match(baseline))
    assert verdict.reason.split("(p =")[0] in judged.verdicts[-1].reason


def test_ties_do_not_fail(baseline: Record, tied: Record) -> None:
    assert wrong_tokens("case", tied, Match(baseline), ALPHA) is None


def test_a_text_that_was_not_followed_says_nothing(defective: Record) -> None:
    other = record_of(measure(divergence=0.5, build=2))
    assert wrong_tokens("case", defective, Match(other), ALPHA) is None
    assert wrong_tokens("case", defective, Match(), ALPHA) is None


def test_where_the_baselines_token_was_wrong_the_new_build_is_not_to_blame() -> None:
    first = record_of(measure(defect_at=9))
    run, score = along(first)
    found = asked(run, score)
    assert found.defects
    assert wrong_tokens("case", record_with(run, found), Match(first), ALPHA) is None


def test_ties_are_not_scored_between_two_dtypes(baseline: Record) -> None:
    setting = measure().setting
    assert not other_numerics(baseline, setting)
    half = replace(setting, engine=replace(setting.engine, dtype="bfloat16"))
    assert other_numerics(baseline, half) == "dtype float32 there, bfloat16 here"


# -- without log-probabilities ---------------------------------------------------------------------


def test_an_excess_over_a_stored_rebuild_names_why_no_target_was_asked(baseline: Record) -> None:
    calm = record_of(measure(baseline))
    passed = Verdict("case", "acceptance_length", Outcome.PASS).as_dict()
    del passed["case"]
    calm = calm.model_copy(update={"verdicts": [VerdictRecord.model_validate(passed)]})
    run, _ = along(calm, **TIES)
    assert run.replay is not None
    new = record_with(run, replace(run.replay, unscored="engine e reports no log-probabilities"))
    rate = healthy_divergence(calm, new)
    assert rate is not None
    assert rate < 0.15
    assert healthy_divergence(baseline, new) is None
    judge = Judge({"acceptance_length": 0.2}, Family(ALPHA, 1))
    (verdict,) = judge.judge(new, Match(calm)).verdicts
    assert verdict.outcome is Outcome.UNDECIDED
    assert "is not known: engine e reports no log-probabilities" in verdict.reason


# -- error rate ------------------------------------------------------------------------------------


def test_the_p_value_is_that_of_the_binomial_distribution() -> None:
    assert defects_p_value(0, 40) == 1.0
    assert defects_p_value(1, 40) == pytest.approx(1 - (1 - STATED_DEFECTS) ** 40)
    with pytest.raises(ValueError, match="between 0 and 40"):
        defects_p_value(41, 40)


def test_builds_that_round_differently_never_fail() -> None:
    """Two builds and the target that scores them each round the same two logits on their own."""
    rng, sessions, samples = np.random.default_rng(0), 400, 88
    gaps = rng.uniform(-8, 8, (sessions, samples, 64))  # in ulps, at every token of an output
    one, other, target = (gaps + rng.normal(0, 1.0, gaps.shape) for _ in range(3))
    differ = np.sign(one) != np.sign(other)
    first = differ.argmax(axis=2)[..., None]
    seen = np.take_along_axis(np.abs(target), first, axis=2)[..., 0]
    size = ulp(20.0, "bfloat16")
    wrong = np.array([classify_gap(g * size, 20.0, "bfloat16") == "defect" for g in seen.ravel()])
    counts = (wrong.reshape(seen.shape) & differ.any(axis=2)).sum(axis=1)
    diverged = differ.any(axis=2).sum(axis=1)
    p_values = [defects_p_value(int(k), int(n)) for k, n in zip(counts, diverged, strict=True)]
    assert counts.sum() > 0
    assert min(p_values) > ALPHA / 2 * 0.05
