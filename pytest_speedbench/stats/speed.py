"""Speed over alternating rounds: paired speedup, and what a change of it is due to.

The independent unit is the round, not the request: requests of a round share decoding steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats import delta
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.estimates import Estimate, check_level

MIN_ROUNDS = 3  # fewer give a value without an interval


@dataclass(frozen=True, slots=True)
class SpeedRounds:
    """What each round measured, one entry per round, all positive.

    Attributes:
        al: micro AL with SD, tokens per step.
        sd_step_s: mean seconds per decoding step with SD (draft and verification).
        plain_step_s: mean seconds per decoding step without SD.
        sd_tps: output tokens per second with SD.
        plain_tps: output tokens per second without SD.

    Raises:
        NoData: no rounds.
        ValueError: unequal numbers of rounds, or a value that is not positive and finite.
    """

    al: tuple[float, ...]
    sd_step_s: tuple[float, ...]
    plain_step_s: tuple[float, ...]
    sd_tps: tuple[float, ...]
    plain_tps: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check that rounds are complete and positive."""
        for name in ("al", "sd_step_s", "plain_step_s", "sd_tps", "plain_tps"):
            values = getattr(self, name)
            _logs(values, name)
            if len(values) != len(self.al):
                raise ValueError(f"{name} has {len(values)} rounds, al has {len(self.al)}")


@dataclass(frozen=True, slots=True)
class Attribution:
    """Factors whose product is the speedup, or its change; above 1 makes speculation faster.

    Attributes:
        total: speedup, or new speedup / old speedup.
        drafter: AL.
        step: step time without SD / with SD. Of a change: old / new step time with SD, the cost of
            drafting and verification.
        engine: only of a change: new / old step time without SD. A faster engine lowers speedup.
        scheduling: what the three leave: batching, queueing, prefill, idle time.
    """

    total: Estimate
    drafter: Estimate
    step: Estimate
    engine: Estimate | None
    scheduling: Estimate


def paired_speedup(
    with_sd: Sequence[float], without_sd: Sequence[float], level: float = 0.95
) -> Estimate:
    """Geometric mean over rounds of tokens/s with over without SD, t interval of log ratios.

    Args:
        with_sd: output tokens per second of each round.
        without_sd: the same without SD, in the same rounds.
        level: coverage of the interval; n = rounds, below 3 there is none.

    Raises:
        NoData: no rounds.
        ValueError: unequal numbers of rounds, or a value that is not positive and finite.
    """
    if len(with_sd) != len(without_sd):
        raise ValueError(f"{len(with_sd)} rounds with SD, {len(without_sd)} without")
    return _factor(_logs(with_sd, "with_sd") - _logs(without_sd, "without_sd"), level)


def attribute(rounds: SpeedRounds, level: float = 0.95) -> Attribution:
    """Split the speedup: log speedup = log AL + log(step time without / with SD) + the rest."""
    al, sd, plain, total = _columns(rounds)
    return Attribution(
        total=_factor(total, level),
        drafter=_factor(al, level),
        step=_factor(plain - sd, level),
        engine=None,
        scheduling=_factor(total - al - plain + sd, level),
    )


def attribute_change(
    old: SpeedRounds, new: SpeedRounds, level: float = 0.95, *, paired: bool = False
) -> Attribution:
    """Split the change of speedup between two runs of the same machine.

    Args:
        old: rounds of the baseline.
        new: rounds of the new run.
        level: coverage of the intervals.
        paired: round k of both runs sent the same samples, so that rounds are compared one by one;
            otherwise intervals are Welch's (Biometrika 34, 1947), of differences of mean logs.

    Raises:
        ValueError: paired, and unequal numbers of rounds.
    """
    al0, sd0, plain0, total0 = _columns(old)
    al1, sd1, plain1, total1 = _columns(new)
    return Attribution(
        total=_change(total0, total1, level, paired),
        drafter=_change(al0, al1, level, paired),
        step=_change(-sd0, -sd1, level, paired),
        engine=_change(plain0, plain1, level, paired),
        scheduling=_change(total0 - al0 - plain0 + sd0, total1 - al1 - plain1 + sd1, level, paired),
    )


def _columns(rounds: SpeedRounds) -> tuple[Floats, Floats, Floats, Floats]:
    total = np.log(rounds.sd_tps) - np.log(rounds.plain_tps)
    return np.log(rounds.al), np.log(rounds.sd_step_s), np.log(rounds.plain_step_s), total


def _logs(values: Sequence[float], name: str) -> Floats:
    if not len(values):
        raise NoData(f"{name}: no rounds")
    for number, value in enumerate(values, start=1):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}, round {number}: must be positive and finite, got {value!r}")
    return np.log(np.asarray(values, dtype=np.float64))


def _factor(logs: Floats, level: float) -> Estimate:
    check_level(level)
    n, mean = len(logs), float(logs.mean())
    if n < MIN_ROUNDS:
        return Estimate(math.exp(mean), None, None, n, level)
    half = delta.t_quantile(level, n - 1) * float(logs.std(ddof=1)) / n**0.5
    return Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half), n, level)


def _change(old: Floats, new: Floats, level: float, paired: bool) -> Estimate:
    check_level(level)
    if paired:
        if len(old) != len(new):
            raise ValueError(f"{len(old)} rounds cannot be paired with {len(new)}")
        return _factor(new - old, level)
    mean, n = float(new.mean() - old.mean()), min(len(old), len(new))
    if n < MIN_ROUNDS:
        return Estimate(math.exp(mean), None, None, n, level)
    parts = [float(logs.var(ddof=1)) / len(logs) for logs in (old, new)]
    error = sum(parts) ** 0.5
    bottom = sum(p**2 / (len(logs) - 1) for p, logs in zip(parts, (old, new), strict=True))
    df = sum(parts) ** 2 / bottom if bottom else float(n - 1)
    half = delta.t_quantile(level, df) * error
    return Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half), n, level)
