"""What a change of speedup is due to: drafter, step with SD, engine without SD, scheduling."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.timing import check_same_samples, same_rounds, tps
from pytest_speedbench.errors import NoData
from pytest_speedbench.stats import Estimate, SpeedRounds, attribute_change

_NO_CHANGE = 0.0005
"""Changes below it are +0.0% in every report."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of new / old speedup, with its 95% interval; above 1 it made SD faster.

    ``low`` and ``high`` are None where the arms did not alternate or had too few rounds.
    """

    name: str
    factor: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Attribution:
    """The change of a run's speedup against ``baseline``, and the factors whose product it is.

    log speedup = log AL + log(step time without SD / step time with SD) + the rest.
    """

    total: Factor
    factors: tuple[Factor, ...]
    rounds: int
    baseline: str

    @property
    def causes(self) -> tuple[Factor, ...]:
        """The factors that have changed; none where the speedup is what it was."""
        return tuple(f for f in self.factors if abs(f.factor - 1) >= _NO_CHANGE)

    def as_dict(self) -> dict[str, Any]:
        """Plain builtins, for an xdist worker."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Attribution:
        """The inverse of :meth:`as_dict`."""
        factors = tuple(Factor(**factor) for factor in data["factors"])
        return cls(Factor(**data["total"]), factors, data["rounds"], data["baseline"])


def attribute_records(new: Record, match: Match) -> Attribution:
    """The attribution of a run against its baseline.

    Rounds that sent the same samples are paired.

    Raises:
        NoData: timings must not be compared, or one side has no speedup or no step times.
    """
    old = match.record
    if old is None:
        raise NoData("no baseline")
    if reasons := (*match.incomparable, *match.timing):
        raise NoData("; ".join(reasons))
    check_same_samples(old, new)
    found = attribute_change(speed_rounds(old), speed_rounds(new), paired=same_rounds(old, new))
    certain = _alternated(old) and _alternated(new)
    assert found.engine is not None
    factors = (
        _factor("AL (drafter)", found.drafter, certain),
        _factor("step time with SD", found.step, certain),
        _factor("engine without SD", found.engine, certain),
        _factor("scheduling", found.scheduling, certain),
    )
    total = _factor("speedup", found.total, certain)
    return Attribution(total, factors, found.total.n, str(match.run) if match.run else "")


def speed_rounds(record: Record) -> SpeedRounds:
    """The rounds of both arms of a record.

    Raises:
        NoData: an arm is missing or has another number of rounds, or a round has no step time
            (saved by an early version), no tokens, or took no time.
    """
    sd, plain = record.rounds, record.reference_rounds
    if not plain:
        raise NoData("no arm without SD on one side (--speed-rounds=0)")
    if len(sd) != len(plain):
        raise NoData("the arms with and without SD have unequal numbers of rounds")
    return SpeedRounds(
        _positive(r.acceptance_length for r in sd),
        _positive(r.step_time for r in sd),
        _positive(r.step_time for r in plain),
        _positive(map(tps, sd)),
        _positive(map(tps, plain)),
    )


def _alternated(record: Record) -> bool:
    """Whether the arms were measured in alternation; where not, intervals mean nothing."""
    speedup = record.metric("speedup")
    return speedup is None or speedup.low is not None


def _positive(values: Iterable[float | None]) -> tuple[float, ...]:
    found = []
    for value in values:
        if value is None or not 0 < value < math.inf:
            raise NoData("a round was saved without its step times, or has none; measure it again")
        found.append(value)
    return tuple(found)


def _factor(name: str, estimate: Estimate, certain: bool) -> Factor:
    low, high = (estimate.low, estimate.high) if certain else (None, None)
    return Factor(name, estimate.value, low, high)
