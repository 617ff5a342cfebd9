"""What a change of speedup is due to: drafter, step with SD, engine without SD, scheduling."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pytest_speedbench.baselines.schema import Record, RoundRecord
from pytest_speedbench.compare.gate import check_same_samples, tps
from pytest_speedbench.compare.match import Match
from pytest_speedbench.stats import Estimate, NoData, SpeedRounds, attribute_change


@dataclass(frozen=True, slots=True)
class Cause:
    """One factor of new / old speedup, with its 95 % interval; above 1 it made SD faster."""

    name: str
    factor: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Attributed:
    """The change of a run's speedup against ``baseline``, and the factors whose product it is."""

    total: Cause
    causes: tuple[Cause, ...]
    rounds: int
    baseline: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Attributed:
        causes = tuple(Cause(**cause) for cause in data["causes"])
        return cls(Cause(**data["total"]), causes, data["rounds"], data["baseline"])


def attribute_records(new: Record, match: Match) -> Attributed | None:
    """The attribution of a run against its baseline.

    None where timings must not be compared, or one side has no speedup or no times of its steps.
    """
    old = match.record
    if old is None or match.incomparable or match.timing:
        return None
    try:
        check_same_samples(old, new)
        found = attribute_change(speed_rounds(old), speed_rounds(new))
    except (NoData, ValueError):
        return None
    assert found.engine is not None
    causes = (
        _cause("AL (drafter)", found.drafter),
        _cause("step time with SD", found.step),
        _cause("engine without SD", found.engine),
        _cause("scheduling", found.scheduling),
    )
    baseline = str(match.run) if match.run else ""
    return Attributed(_cause("speedup", found.total), causes, found.total.n, baseline)


def speed_rounds(record: Record) -> SpeedRounds:
    """The rounds of both arms of a record.

    Raises:
        NoData: an arm is missing, or the record is older than the times of its rounds' steps.
        ValueError: a time that is not positive and finite.
    """
    sd, plain = record.rounds, record.reference_rounds
    if not plain:
        raise NoData("no arm without SD, so no speedup")
    return SpeedRounds(
        tuple(_known(r.acceptance_length) for r in sd),
        tuple(_known(r.step_time) for r in sd),
        tuple(_known(r.step_time) for r in plain),
        _tps(sd),
        _tps(plain),
    )


def _tps(rounds: list[RoundRecord]) -> tuple[float, ...]:
    return tuple(tps(timing) for timing in rounds)


def _known(value: float | None) -> float:
    if value is None:
        raise NoData("a round without times of its steps")
    return value


def _cause(name: str, estimate: Estimate) -> Cause:
    return Cause(name, estimate.value, estimate.low, estimate.high)
