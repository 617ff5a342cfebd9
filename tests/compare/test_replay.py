"""What a record that went along another's outputs shows, counted from the two records."""

from __future__ import annotations

import pytest
from simulated_runs import SAMPLES, InProcess, loop_of, measure, measure_with, record_of

from pytest_speedbench.baselines.packing import pack_ids
from pytest_speedbench.baselines.records import decode_run
from pytest_speedbench.baselines.schema import Record, parse_record
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.replay import (
    outputs_of,
    outputs_of_arm,
    outputs_to_follow,
    replayed_between,
)
from pytest_speedbench.engines.protocol import Speculation
from pytest_speedbench.errors import RecordError
from pytest_speedbench.measure.replay import Outputs, replay

from .saved_runs import record

TIES = {"divergence": 0.02, "build": 1}


@pytest.fixture(scope="module")
def baseline() -> Record:
    return record_of(measure())


@pytest.fixture(scope="module")
def rebuild(baseline: Record) -> Record:
    return record_of(measure(baseline, **TIES))


def test_an_equal_drafter_takes_the_same_steps_along_the_same_text(
    baseline: Record, rebuild: Record
) -> None:
    found = replayed_between(baseline, rebuild)
    assert found is not None
    assert set(found.sums.samples) == {sample.id for sample in SAMPLES}
    assert found.sums.new_steps.tolist() == found.sums.old_steps.tolist()
    assert found.divergences > 10
    assert found.sums.coverage > 0.9


def test_a_loss_is_seen_over_nearly_all_tokens(baseline: Record) -> None:
    found = replayed_between(baseline, record_of(measure(baseline, acceptance=0.5, **TIES)))
    assert found is not None
    assert found.sums.al_ratio().value < 0.92


def test_the_record_keeps_all_of_it(baseline: Record, rebuild: Record) -> None:
    again = parse_record(rebuild.model_dump(mode="json", by_alias=True))
    first, second = replayed_between(baseline, rebuild), replayed_between(baseline, again)
    assert first is not None
    assert second is not None
    assert first.sums.new_steps.tolist() == second.sums.new_steps.tolist()
    run = decode_run([rebuild])
    assert run.replay is not None
    assert run.replay.requests == sum(len(r.replay.resumed) for r in rebuild.requests if r.replay)


def test_other_outputs_than_those_followed_are_not_compared(rebuild: Record) -> None:
    other = record_of(measure(divergence=0.5, build=7))
    assert replayed_between(other, rebuild) is None


def test_a_record_without_replay_has_none(baseline: Record) -> None:
    assert replayed_between(baseline, record_of(measure(**TIES))) is None


def test_samples_that_were_not_followed_count_as_given_up(
    baseline: Record, rebuild: Record
) -> None:
    requests = [
        r.model_copy(update={"replay": None}) if r.sample in ("s1", "s2") else r
        for r in rebuild.requests
    ]
    less = replayed_between(baseline, rebuild.model_copy(update={"requests": requests}))
    whole = replayed_between(baseline, rebuild)
    assert less is not None
    assert whole is not None
    assert (less.given_up, whole.given_up) == (2, 0)
    assert less.sums.coverage < whole.sums.coverage


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": 1}, "starts where no step of the baseline does|before the end of what was"),
        ({"ids": pack_ids([1, 2])}, "token ids for other step sizes"),
        ({"steps": "x"}, "resumed requests are damaged"),
    ],
)
def test_damaged_resumed_requests_are_named(
    baseline: Record, rebuild: Record, change: dict[str, object], message: str
) -> None:
    requests = []
    for request in rebuild.requests:
        assert request.replay is not None
        resumed = [r.model_copy(update=change) for r in request.replay.resumed]
        kept = request.replay.model_copy(update={"resumed": resumed})
        requests.append(request.model_copy(update={"replay": kept}))
    with pytest.raises(RecordError, match=message):
        replayed_between(baseline, rebuild.model_copy(update={"requests": requests}))


def test_baselines_that_cannot_be_followed() -> None:
    assert outputs_to_follow([Match()]) == ""
    without = record()
    bare = [r.model_copy(update={"ids": pack_ids([])}) for r in without.requests]
    no_ids = without.model_copy(update={"requests": bare})
    assert outputs_of(no_ids) == {}
    reason = "the baseline has no token ids, or no decoding steps"
    assert outputs_to_follow([Match(no_ids)]) == reason
    cut = [r.model_copy(update={"ids": pack_ids(range(5))}) for r in without.requests]
    truncated = outputs_to_follow([Match(without.model_copy(update={"requests": cut}))])
    assert isinstance(truncated, str)
    assert "5 token ids for 48 output tokens" in truncated
    assert outputs_to_follow([Match(without, incomparable=("model",))]) == ""


def test_the_first_baseline_of_a_sample_is_followed() -> None:
    one, other = record(), record(seed=1, samples=range(60))
    found = outputs_to_follow([Match(one), Match(other)])
    assert isinstance(found, dict)
    assert len(found) == 60
    assert found["s0", 0].trace.steps.tolist() == outputs_of(one)["s0", 0].trace.steps.tolist()


@pytest.fixture(scope="module")
def text() -> Outputs:
    """What the target wrote without SD."""
    plain = measure_with(loop_of(InProcess(speculation=Speculation())), SAMPLES, None)
    return outputs_of_arm(plain.arm.turns)


def arm(text: Outputs, **args: object) -> Record:
    """An arm of a session, along the text without SD."""
    loop = loop_of(InProcess({"divergence": 0.03, **args}))
    free = measure_with(loop, SAMPLES, None)
    free.replay = replay(loop, SAMPLES, free.arm.turns, text, 4)
    return record_of(free)


def test_arms_of_one_session_are_compared_along_the_text_without_sd(text: Outputs) -> None:
    one, other = arm(text, build=1), arm(text, build=2)
    found, back = replayed_between(one, other), replayed_between(other, one)
    assert found is not None
    assert back is not None
    assert set(found.sums.samples) == {sample.id for sample in SAMPLES}
    assert found.sums.coverage > 0.75  # 24 divergences per 1,000 tokens and arm
    assert found.sums.old_steps.tolist() == found.sums.new_steps.tolist()  # equal drafters
    tokens, swapped = (
        dict(zip(s.sums.samples, s.sums.old_tokens, strict=True)) for s in (found, back)
    )
    assert tokens == swapped
    worse = replayed_between(one, arm(text, build=2, acceptance=0.4))
    assert worse is not None
    assert worse.sums.al_ratio().value < 0.92


def test_a_sample_whose_text_was_another_counts_as_given_up(text: Outputs) -> None:
    one = arm(text, build=1)
    first, *rest = arm(text, build=2).requests
    assert first.replay is not None
    changed = first.model_copy(
        update={"replay": first.replay.model_copy(update={"along": "00000000"})}
    )
    other = one.model_copy(update={"requests": [changed, *rest]})
    found = replayed_between(one, other)
    assert found is not None
    assert found.given_up == 1
    assert len(found.sums.samples) == len(SAMPLES)
