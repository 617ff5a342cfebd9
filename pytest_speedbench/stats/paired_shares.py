"""Exact tests on pairs: does a property of samples occur more often, does a number tend to grow?"""

from __future__ import annotations

import math


def excess_p_value(only_new: int, only_old: int) -> float:
    """One-sided McNemar test, exact: P(at least ``only_new`` of all discordant pairs) where the
    property is as likely in either run.

    The pairs in which both runs agree say nothing (McNemar, Psychometrika 12, 1947).
    """
    pairs = only_new + only_old
    ways = sum(math.comb(pairs, count) for count in range(only_new, pairs + 1))
    return ways / (1 << pairs)


def sign_p_value(grown: int, shrunk: int) -> float:
    """Two-sided sign test, exact, of pairs that differ."""
    larger, smaller = max(grown, shrunk), min(grown, shrunk)
    return min(1.0, 2 * excess_p_value(larger, smaller))
