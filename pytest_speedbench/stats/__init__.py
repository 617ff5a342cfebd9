"""Estimates, paired tests, sequential decisions: numpy and scipy.

docs/gate-statistics.md explains the reasoning; every name here is stable.
"""

from __future__ import annotations

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import RequestTrace, StepTrace, TotalTrace
from pytest_speedbench.stats.decision import Conclusion, Decision, Finding, judge, non_inferiority
from pytest_speedbench.stats.drift import Trend, trend
from pytest_speedbench.stats.estimates import (
    Estimate,
    acceptance_by_position,
    acceptance_rate,
    by_stratum,
    macro_al,
    micro_al,
)
from pytest_speedbench.stats.family import AlphaSequence, divide_alpha, sequence_level
from pytest_speedbench.stats.pairing import PairedSums, Pairs, pair
from pytest_speedbench.stats.power import Plan, plan
from pytest_speedbench.stats.rule import Rule, Scale, scale_of
from pytest_speedbench.stats.sequential import Sequential, balanced_blocks
from pytest_speedbench.stats.speed import (
    Attribution,
    SpeedRounds,
    attribute,
    attribute_change,
    paired_speedup,
)
from pytest_speedbench.stats.ties import (
    DistributionCheck,
    RateComparison,
    calibrated_ulps,
    classify_gap,
    compare_tie_rates,
    first_token_check,
    tolerance,
)

__all__ = [
    "AlphaSequence",
    "Attribution",
    "Conclusion",
    "Decision",
    "DistributionCheck",
    "Estimate",
    "Finding",
    "NoData",
    "PairedSums",
    "Pairs",
    "Plan",
    "RateComparison",
    "RequestTrace",
    "Rule",
    "Scale",
    "Sequential",
    "SpeedRounds",
    "StepTrace",
    "TotalTrace",
    "Trend",
    "acceptance_by_position",
    "acceptance_rate",
    "attribute",
    "attribute_change",
    "balanced_blocks",
    "by_stratum",
    "calibrated_ulps",
    "classify_gap",
    "compare_tie_rates",
    "divide_alpha",
    "first_token_check",
    "judge",
    "macro_al",
    "micro_al",
    "non_inferiority",
    "pair",
    "paired_speedup",
    "plan",
    "scale_of",
    "sequence_level",
    "tolerance",
    "trend",
]
