"""A soak's trend: does AL fall, or step time rise, the longer the engine runs?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.errors import NoData, count_of
from pytest_speedbench.measure.results import DriftPoint
from pytest_speedbench.quantities import change_of
from pytest_speedbench.stats.drift import MIN_ROUNDS, trend

METRIC = "drift"
# Neighbouring rounds share the state of the machine, and the test assumes independent values: so
# rounds are averaged to at most this many blocks. Up to this number the test is exact.
MOST_BLOCKS = 50
# A clock follows heat and neighbours; a slope below this share over the whole soak is no leak.
LEAST_SLOWDOWN = 0.01


@dataclass(frozen=True, slots=True)
class Drift:
    """The trend of one metric: ``change`` is the share over the whole soak, ``p_value`` one-sided
    against no worsening."""

    title: str
    change: float
    p_value: float
    significant: bool

    def __str__(self) -> str:
        return f"{self.title} {change_of(1 + self.change)} over the soak (p = {self.p_value:.2g})"


def drift_verdict(
    case: str, points: Sequence[DriftPoint], alpha: float, broke_off: str = ""
) -> Verdict:
    """Fails where AL falls or step time rises, at ``alpha`` for both tests together; and where the
    soak ``broke_off``, for the reason given."""
    if broke_off:
        what = broke_off.partition("\n")[0].removesuffix("; its last output:")
        reason = f"the soak ended in round {len(points) + 1}: {what}"
        return Verdict(case, METRIC, Outcome.FAIL, reason)
    least = rounds_needed(alpha / 2)
    if len(points) < least:
        few = count_of(len(points), "round")
        reason = f"{few} can show no trend at α = {alpha:.2g}: soak={least} or more"
        return Verdict(case, METRIC, Outcome.UNDECIDED, reason)
    try:
        length = _drift("AL", points, lambda p: p.acceptance_length, -1, alpha / 2)
        step = _drift("step time", points, lambda p: p.step_time, +1, alpha / 2)
    except NoData as error:
        return Verdict(case, METRIC, Outcome.UNDECIDED, str(error))
    worse = [found for found in (length, step) if found.significant]
    trends = f"{length}, {step}; {count_of(len(points), 'round')}, α = {alpha:.2g}"
    if not worse:
        return Verdict(case, METRIC, Outcome.PASS, f"no worsening trend: {trends}")
    names = " and ".join(found.title for found in worse)
    largest = max(worse, key=lambda found: abs(found.change))
    return Verdict(case, METRIC, Outcome.FAIL, f"trend in {names}: {trends}", 1 + largest.change)


def rounds_needed(alpha: float) -> int:
    """The fewest rounds of which one order, 1 of n!, is rare enough at ``alpha``."""
    return next(n for n in count(MIN_ROUNDS) if 1 / math.factorial(n) <= alpha)


def _drift(
    title: str,
    points: Sequence[DriftPoint],
    value: Callable[[DriftPoint], float | None],
    worse: int,
    alpha: float,
) -> Drift:
    values = [v for point in points if (v := value(point)) is not None]
    if len(values) < len(points):
        missing = count_of(len(points) - len(values), "round")
        raise NoData(f"no {title} in {missing} without a decoding step")
    blocks = averaged(values)
    found = trend(blocks)
    span = found.slope * (len(blocks) - 1)
    begin = sorted(blocks)[len(blocks) // 2] - span / 2
    change = span / begin if begin > 0 else math.copysign(1.0, span)
    p_value = found.p_value / 2 if found.slope * worse > 0 else 1 - found.p_value / 2
    least = LEAST_SLOWDOWN if worse > 0 else 0.0
    return Drift(title, change, p_value, p_value <= alpha and abs(change) >= least)


def averaged(values: Sequence[float]) -> list[float]:
    """Means of at most 50 blocks of consecutive values, whose sizes differ by one at most."""
    blocks = min(MOST_BLOCKS, len(values))
    edges = [len(values) * k // blocks for k in range(blocks + 1)]
    return [math.fsum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
