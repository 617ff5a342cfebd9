"""Ratios of two independent estimates, from their values and intervals alone.

Source: Zou & Donner, Construction of confidence limits about effect measures (Statistics in
Medicine 27, 2008), MOVER, on the log scale: each side's distance from its value to its limit stands
for its standard error in that direction, so that skewed intervals stay skewed.
"""

from __future__ import annotations

import math

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.estimates import Estimate


def ratio_of(new: Estimate, old: Estimate) -> Estimate:
    """new / old of two independent positive estimates.

    The interval has the level of both sides; without one on either side there is none. n is the
    smaller number of units.

    Raises:
        NoData: one of the values is not positive.
        ValueError: the sides have different levels.
    """
    if not (new.value > 0 and old.value > 0):
        raise NoData("a ratio needs two positive values")
    if new.level != old.level:
        raise ValueError(f"levels differ: {new.level} and {old.level}")
    n = min(new.n, old.n)
    value = new.value / old.value
    if None in (new.low, new.high, old.low, old.high):
        return Estimate(value, None, None, n, new.level)
    down = math.hypot(_down(new), _up(old))
    up = math.hypot(_up(new), _down(old))
    return Estimate(value, value * math.exp(-down), value * math.exp(up), n, new.level)


def _down(side: Estimate) -> float:
    """Log distance from the value to its lower limit; infinite for a limit that is not positive."""
    low = side.low
    return math.log(side.value / low) if low is not None and low > 0 else math.inf


def _up(side: Estimate) -> float:
    return math.log((side.high or side.value) / side.value)
