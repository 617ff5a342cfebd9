"""Attribution: a change of speedup is told apart into AL, step time, engine and scheduling."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.machine import this_machine
from pytest_speedbench.baselines.measured import RoundRecord
from pytest_speedbench.baselines.provenance import (
    EngineRecord,
    ModelRecord,
    SamplingRecord,
    SpecRecord,
    SplitRecord,
)
from pytest_speedbench.baselines.schema import Record, parse_record
from pytest_speedbench.compare.attribution import Attribution, attribute_records, speed_rounds
from pytest_speedbench.compare.match import Match
from pytest_speedbench.stats import NoData

# Rounds differ by this much, so that there are intervals.
_WOBBLE = (0.99, 1.0, 1.01)


def _rounds(al: float, step: float) -> list[RoundRecord]:
    """Three rounds of 100 requests in which nothing but steps takes time.

    Rounds with a slower step are noisier, so that paired rounds differ too.
    """
    return [
        RoundRecord(
            tokens=10_000,
            seconds=10_000 / al * step * wobble ** (step / 0.01),
            steady=True,
            requests=100,
            acceptance_length=al,
            step_time=step * wobble ** (step / 0.01),
        )
        for wobble in _WOBBLE
    ]


def _record(al: float, step: float, plain_step: float, **changes: Any) -> Record:
    key = CaseKey(engine="e", model="m", method="eagle3", dl=3, bs=8, split="s", slice="math")
    record = Record(
        schema=1,
        case=key,
        engine=EngineRecord(name="e", version="1", device="cpu", dtype="f"),
        model=ModelRecord(name="m"),
        spec=SpecRecord(method="eagle3", draft_length=3),
        split=SplitRecord(name="s", version="1", digest="d", samples=8),
        sampling=SamplingRecord(max_tokens=8, temperature=0, seed=0),
        template="t",
        prompt_form="token_ids",
        machine=this_machine(),
        metrics={},
        rounds=_rounds(al, step),
        reference_rounds=_rounds(1.0, plain_step),
    )
    return record.model_copy(update=changes)


OLD = _record(3.0, 0.012, 0.010)


def _factors(new: Record, old: Record = OLD) -> dict[str, float]:
    found = attribute_records(new, Match(old))
    product = math.prod(cause.factor for cause in found.factors)
    assert product == pytest.approx(found.total.factor)
    changed = {cause.name: round(cause.factor, 3) for cause in (found.total, *found.factors)}
    return {name: factor for name, factor in changed.items() if factor != 1}


def test_a_worse_drafter() -> None:
    assert _factors(_record(2.4, 0.012, 0.010)) == {"speedup": 0.8, "AL (drafter)": 0.8}


def test_a_dearer_step() -> None:
    assert _factors(_record(3.0, 0.015, 0.010)) == {"speedup": 0.8, "step time with SD": 0.8}


def test_a_faster_engine_without_sd() -> None:
    assert _factors(_record(3.0, 0.012, 0.008)) == {"speedup": 0.8, "engine without SD": 0.8}


def test_time_outside_of_steps_is_scheduling() -> None:
    idle = [r.model_copy(update={"seconds": r.seconds * 1.25}) for r in OLD.rounds]
    assert _factors(_record(3.0, 0.012, 0.010, rounds=idle)) == {"speedup": 0.8, "scheduling": 0.8}


def test_nothing_changed() -> None:
    assert _factors(OLD) == {}


def test_intervals_hold_the_factor() -> None:
    found = attribute_records(_record(3.0, 0.015, 0.010), Match(OLD))
    assert found.rounds == 3
    step = found.factors[1]
    assert step.low is not None
    assert step.high is not None
    assert step.low < step.factor < step.high < 1


def test_two_rounds_give_values_without_intervals() -> None:
    few = {"rounds": OLD.rounds[:2], "reference_rounds": OLD.reference_rounds[:2]}
    found = attribute_records(_record(2.4, 0.012, 0.010, **few), Match(OLD.model_copy(update=few)))
    assert (found.total.low, found.total.high) == (None, None)


@pytest.mark.parametrize(
    "match",
    [
        Match(),
        Match(OLD, incomparable=("model",)),
        Match(OLD, timing=("machine",)),
        Match(OLD.model_copy(update={"reference_rounds": []})),
        Match(OLD.model_copy(update={"rounds": [], "reference_rounds": []})),
    ],
    ids=["no baseline", "incomparable", "other machine", "no reference", "not timed"],
)
def test_without_comparable_timings_there_is_none(match: Match) -> None:
    with pytest.raises(NoData):
        attribute_records(OLD, match)


def test_old_records_without_the_fields_are_readable_and_have_none() -> None:
    data = OLD.model_dump(mode="json", by_alias=True)
    for timing in data["rounds"] + data["reference_rounds"]:
        del timing["acceptance_length"], timing["step_time"]
    old = parse_record(data)
    with pytest.raises(NoData, match="saved without its step times"):
        speed_rounds(old)
    with pytest.raises(NoData, match="saved without its step times"):
        attribute_records(OLD, Match(old))


def test_other_samples_are_another_run() -> None:
    fewer = [r.model_copy(update={"requests": 8}) for r in OLD.rounds]
    other = Match(OLD.model_copy(update={"rounds": fewer}))
    with pytest.raises(NoData, match="different samples"):
        attribute_records(OLD, other)


def test_survives_the_way_from_an_xdist_worker() -> None:
    found = attribute_records(_record(2.4, 0.012, 0.010), Match(OLD))
    assert Attribution.from_dict(found.as_dict()) == found
    assert replace(found, baseline="x") != found
