"""Which prompts lost most, and how long steps were."""

from __future__ import annotations

import pytest

from pytest_speedbench.analysis.prompts import prompt_losses
from pytest_speedbench.analysis.step_lengths import step_lengths
from pytest_speedbench.baselines.packing import pack_ids
from pytest_speedbench.errors import NoData
from tests.compare.saved_runs import record


def with_requests(**changes: list[str]):
    """A record of as many requests as there are values, each with these fields."""
    base = record(samples=range(len(next(iter(changes.values())))))
    requests = [
        request.model_copy(update={name: values[n] for name, values in changes.items()})
        for n, request in enumerate(base.requests)
    ]
    return base.model_copy(update={"requests": requests})


def steps(*lengths: int) -> str:
    return " ".join(map(str, (*lengths, *(1,) * (47 - sum(lengths)))))


def test_the_most_lost_steps_come_first_and_gains_are_left_out() -> None:
    old = with_requests(steps=[steps(*[4] * 10), steps(*[4] * 10), steps()])
    new = with_requests(steps=[steps(*[4] * 8), steps(), steps(4)])
    found = prompt_losses(old, new, 10)
    assert [loss.sample for loss in found] == ["s1", "s0"]
    assert [loss.lost_steps for loss in found] == [30, 6]
    assert found[0].ratio == pytest.approx((47 / 47) / (47 / 17))
    assert found[0].divergence is None
    assert prompt_losses(old, new, 1) == found[:1]


def test_the_first_differing_token() -> None:
    ids = list(range(48))
    other = [*ids[:20], 99, *ids[21:]]
    old = with_requests(steps=[steps(4, 4)], ids=[pack_ids(ids)])
    new = with_requests(steps=[steps()], ids=[pack_ids(other)])
    (loss,) = prompt_losses(old, new, 1)
    assert loss.divergence == 20
    assert loss.old.token_ids[20] == 20
    assert loss.new.token_ids[20] == 99
    assert (loss.old.prefill, loss.old.steps[:3]) == (1, (4, 4, 1))


def test_samples_of_one_side_are_left_out() -> None:
    old, new = record(samples=range(4)), record(samples=range(2, 6), accept=0.3)
    assert {loss.sample for loss in prompt_losses(old, new, 10)} <= {"s2", "s3"}


def test_records_without_requests_lose_nothing() -> None:
    bare = record(samples=())
    assert prompt_losses(bare, record(), 5) == []
    with pytest.raises(NoData):
        step_lengths(bare)


def test_step_lengths_are_shares_of_steps() -> None:
    assert step_lengths(with_requests(steps=["4 4 1 1 1"])) == pytest.approx((0.6, 0, 0, 0.4))
