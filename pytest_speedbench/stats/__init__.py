"""Estimates, paired tests, sequential decisions: numpy and scipy.

docs/gate-statistics.md explains the reasoning; every name here is stable.
"""

from __future__ import annotations

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import RequestTrace, StepTrace, TotalTrace
from pytest_speedbench.stats.decision import (
    Conclusion,
    Decision,
    bound_text,
    judge,
    non_inferiority,
)
from pytest_speedbench.stats.drift import Trend, trend
from pytest_speedbench.stats.estimates import (
    Estimate,
    acceptance_by_position,
    acceptance_rate,
    by_stratum,
    macro_al,
    micro_al,
)
from pytest_speedbench.stats.evidence import Finding
from pytest_speedbench.stats.family import (
    AlphaSequence,
    comparison,
    divide_alpha,
    sequence_level,
)
from pytest_speedbench.stats.pairing import Pairs, pair
from pytest_speedbench.stats.power import Plan, plan
from pytest_speedbench.stats.replay import (
    Counted,
    Resumption,
    Segment,
    count_common,
    count_replayed,
    divergence_of,
    falls_with_distance,
    most_divergences,
    next_resume,
    replayed_sums,
)
from pytest_speedbench.stats.rule import Rule
from pytest_speedbench.stats.scale import Scale, scale_of
from pytest_speedbench.stats.sequential import Sequential, balanced_blocks, looks_after
from pytest_speedbench.stats.speed import (
    Attribution,
    SpeedRounds,
    attribute,
    attribute_change,
    paired_speedup,
)
from pytest_speedbench.stats.sums import PairedSums, ReplayedSums
from pytest_speedbench.stats.ties import (
    DistributionCheck,
    RateComparison,
    calibrated_ulps,
    classify_gap,
    compare_tie_rates,
    first_token_check,
    tolerance,
)
from pytest_speedbench.stats.timing import (
    Spread,
    TimingDecision,
    against_sessions,
    side_by_side,
    start_spread,
    units_needed,
    within_session,
)

__all__ = [
    "AlphaSequence",
    "Attribution",
    "Conclusion",
    "Counted",
    "Decision",
    "DistributionCheck",
    "Estimate",
    "Finding",
    "NoData",
    "PairedSums",
    "Pairs",
    "Plan",
    "RateComparison",
    "ReplayedSums",
    "RequestTrace",
    "Resumption",
    "Rule",
    "Scale",
    "Segment",
    "Sequential",
    "SpeedRounds",
    "Spread",
    "StepTrace",
    "TimingDecision",
    "TotalTrace",
    "Trend",
    "acceptance_by_position",
    "acceptance_rate",
    "against_sessions",
    "attribute",
    "attribute_change",
    "balanced_blocks",
    "bound_text",
    "by_stratum",
    "calibrated_ulps",
    "classify_gap",
    "compare_tie_rates",
    "comparison",
    "count_common",
    "count_replayed",
    "divergence_of",
    "divide_alpha",
    "falls_with_distance",
    "first_token_check",
    "judge",
    "looks_after",
    "macro_al",
    "micro_al",
    "most_divergences",
    "next_resume",
    "non_inferiority",
    "pair",
    "paired_speedup",
    "plan",
    "replayed_sums",
    "scale_of",
    "sequence_level",
    "side_by_side",
    "start_spread",
    "tolerance",
    "trend",
    "units_needed",
    "within_session",
]
