"""What each kind of evidence shows of ρ = AL new / AL old, and which AL that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_speedbench.stats import delta
from pytest_speedbench.stats.betting import Monotone, bets_of, stress
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.estimates import Estimate
from pytest_speedbench.stats.pairing import Pairs
from pytest_speedbench.stats.replay import falls_with_distance
from pytest_speedbench.stats.rule import Rule
from pytest_speedbench.stats.scale import Scale
from pytest_speedbench.stats.sums import Evidence, PairedSums

# Levels of the tests that only ever withhold a verdict.
DIVERGENCE_LEVEL = 0.01  # outputs diverge more often than healthy
TREND_LEVEL = 0.02  # AL falls with the distance from the prefill
WHOLE_LEVEL = 0.05  # whole outputs contradict
HALVINGS = 24  # of the range in which a bound is sought; leaves less than 1e-6
UNSEEN_LEVEL = 0.95  # of the stated bound on what whole outputs may have lost
MOST_GIVEN_UP = 0.05

Weighed = list[tuple[PairedSums, float]]
"""Sums, each with its part of α."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one kind of evidence shows of ρ = AL new / AL old.

    `low` bounds ρ from below at the case's α, `sure_low` and `high` at its divided α; bounds hold
    at any stopping time. None: no bound found in the possible range. `assumed`: whether what it
    shows at the rule's margin rests on `Rule.reach`.
    """

    evidence: Evidence
    ratio: Estimate
    low: float | None
    sure_low: float | None
    high: float | None
    coverage: float
    more_samples: int | None
    assumed: bool


class Side:
    """The bets of one direction on one kind of evidence."""

    def __init__(
        self, sums: PairedSums, strain: Floats, scale: Scale, rule: Rule, *, against_loss: bool
    ) -> None:
        """Set the bets against what the samples have shown; `strain` is their `stress`."""
        self._n = len(sums.old_steps)
        self._bets = bets_of(rule, scale, sums.evidence, against_loss=against_loss)
        self._capital = Monotone(self._bets, sums, strain, scale.al)
        self._range = (scale.lowest, 4 * scale.al) if against_loss else (4 * scale.al, 1e-3)

    def shows(self, theta: float, need: float) -> bool:
        """Whether the log capital against "ρ lies beyond theta" meets `need`."""
        return self._capital.log_capital(theta) >= need

    def assumes(self, theta: float, need: float) -> bool:
        """Whether the bet without an assumption does not meet `need` by itself."""
        return bool(self._capital.of_bets(theta)[-1] < need)

    def bound(self, need: float) -> float | None:
        """Bound on ρ: where the log capital meets `need`."""
        inside, outside = self._range
        if not self.shows(inside, need):
            return None
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self.shows(middle, need) else (inside, middle)
        return inside

    def wait(self, theta: float, need: float) -> int | None:
        """Samples still missing if each bet's capital keeps growing at the mean rate so far."""
        weights = self._bets.log_weights
        growth = (self._capital.of_bets(theta) - weights) / self._n
        usable = growth > 1e-9
        if not usable.any():
            return None
        total = (need - weights[usable]) / growth[usable]
        return max(0, math.ceil(float(total.min())) - self._n)


def to_pass(pairs: Pairs, rule: Rule) -> Weighed:
    """What may show that AL has not fallen, or has risen.

    A pass is about whole outputs. A common prefix is their early part, so it cannot give one.
    """
    if pairs.replay is None or not _has_data(pairs.replay.sums):
        return [(pairs.whole, 1.0)]
    return [(pairs.replay.sums, rule.shared), (pairs.whole, 1 - rule.shared)]


def to_fail(pairs: Pairs, rule: Rule) -> Weighed:
    """What may show that AL has fallen: tokens that both runs share, and whole outputs. Where a
    text was replayed, half of the latter's part is kept for wrong tokens in it."""
    shared = pairs.prefix if pairs.replay is None else pairs.replay.sums
    kept = 0.0 if pairs.replay is None else (1 - rule.shared) / 2
    if shared is None or not _has_data(shared):
        return [(pairs.whole, 1.0 - kept)]
    return [(shared, rule.shared), (pairs.whole, 1 - rule.shared - kept)]


def _has_data(sums: PairedSums) -> bool:
    parts = (sums.old_tokens, sums.old_steps, sums.new_tokens, sums.new_steps)
    return min(float(part.sum()) for part in parts) > 0


def keeps(sums: PairedSums, pairs: Pairs, scale: Scale, rule: Rule) -> Side:
    """Bets that AL has not fallen."""
    known = pairs.prefix if sums.evidence == "whole" and pairs.prefix is not None else sums
    strain = stress(known, scale.max_steps, against_loss=True)
    return Side(sums, strain, scale, rule, against_loss=True)


def drops(sums: PairedSums, scale: Scale, rule: Rule) -> Side:
    """Bets that AL has fallen."""
    strain = stress(sums, scale.max_steps, against_loss=False)
    return Side(sums, strain, scale, rule, against_loss=False)


def find(pairs: Pairs, scale: Scale, rule: Rule) -> tuple[Finding, ...]:
    """Bounds by every kind of evidence, tokens that both runs share first.

    Raises:
        NoData: no tokens or steps in one of the runs.
    """
    passing = {sums.evidence: share for sums, share in to_pass(pairs, rule)}
    return tuple(
        _finding(sums, passing.get(sums.evidence, rule.shared), share, pairs, scale, rule)
        for sums, share in to_fail(pairs, rule)
    )


def _finding(
    sums: PairedSums, pass_share: float, fail_share: float, pairs: Pairs, scale: Scale, rule: Rule
) -> Finding:
    ratio = sums.al_ratio(top=scale.top)
    keep, drop = keeps(sums, pairs, scale, rule), drops(sums, scale, rule)
    floor, roof = 1 - rule.margin, 1 + rule.margin
    need = -math.log(rule.alpha * pass_share)
    sure, lost = (-math.log(rule.fail_level * share) for share in (pass_share, fail_share))
    high, sure_low = drop.bound(lost), keep.bound(sure)
    waits = [keep.wait(floor, need) if sums.evidence != "prefix" else None, drop.wait(floor, lost)]
    assumed = keep.assumes(floor, need)
    if high is not None and high < floor:
        assumed = drop.assumes(floor, lost)
    elif sure_low is not None and sure_low > roof:
        assumed = keep.assumes(roof, sure)
    return Finding(
        evidence=sums.evidence,
        ratio=ratio,
        low=keep.bound(need),
        sure_low=sure_low,
        high=high,
        coverage=sums.coverage,
        more_samples=min((wait for wait in waits if wait is not None), default=None),
        assumed=assumed,
    )


def worst_whole(pairs: Pairs, scale: Scale, rule: Rule) -> float | None:
    """Lower bound on ρ of whole outputs at 95%, without an assumption; None: none was found."""
    side = keeps(pairs.whole, pairs, scale, replace(rule, reach=0.0))
    return side.bound(-math.log(1 - UNSEEN_LEVEL))


def withheld_pass(pairs: Pairs, rule: Rule) -> list[str]:
    """Why replay may not give a pass; empty where it may, or where nothing was replayed."""
    replay = pairs.replay
    if replay is None or not _has_data(replay.sums):
        return []
    reasons: list[str] = []
    coverage, n = replay.sums.coverage, len(replay.sums.samples)
    if coverage < rule.min_coverage:
        reasons.append(f"replay covers only {coverage:.0%} of the tokens")
    if replay.given_up > MOST_GIVEN_UP * n:
        reasons.append(f"replay gave up {replay.given_up} of {n} samples")
    if replay.defects:
        reasons.append(
            f"{replay.defects} of {replay.scored} scored divergences are not numerical ties"
        )
    if _diverge_too_often(pairs, rule):
        reasons.append(
            f"{pairs.diverged} of {pairs.compared} outputs diverge, healthy is"
            f" {rule.healthy_divergence:.0%}"
        )
        if replay.unscored:
            reasons[-1] += f", and whether in ties is not known: {replay.unscored}"
    if falls_with_distance(replay) < TREND_LEVEL:
        reasons.append("AL falls with the distance from the prefill, which replay repeats")
    if whole_shows(pairs.whole, 1 - rule.margin, above=False):
        reasons.append(
            f"whole outputs lost more than the margin (one-sided test at {WHOLE_LEVEL:.0%})"
        )
    return reasons


def wrong_tokens(pairs: Pairs) -> bool:
    """Whether the new build emits tokens that are no ties: then nothing gives a pass."""
    return pairs.replay is not None and pairs.replay.defects > 0


def withheld_fail(pairs: Pairs, rule: Rule) -> list[str]:
    """Why the common prefix may not give a fail: the outputs as a whole show less of a loss."""
    if pairs.replay is None and whole_shows(pairs.whole, 1 - rule.margin, above=True):
        return ["the common prefixes lost more than the margin, the whole outputs did not"]
    return []


def _diverge_too_often(pairs: Pairs, rule: Rule) -> bool:
    if rule.healthy_divergence is None or not pairs.compared:
        return False
    from scipy.special import bdtrc

    return (
        float(bdtrc(pairs.diverged - 1, pairs.compared, rule.healthy_divergence)) < DIVERGENCE_LEVEL
    )


def whole_shows(whole: PairedSums, theta: float, *, above: bool) -> bool:
    """Whether ρ of whole outputs lies above (or below) theta by a one-sided t test at 5%."""
    codes = whole.codes
    value, error = delta.log_ratio_of_ratios(
        (whole.new_tokens, whole.new_steps), (whole.old_tokens, whole.old_steps), codes
    )
    half = delta.t_quantile(1 - 2 * WHOLE_LEVEL, delta.degrees_of_freedom(codes)) * error
    return value - half > math.log(theta) if above else value + half < math.log(theta)


def assumption(findings: Sequence[Finding], rule: Rule) -> str:
    """What a verdict by these findings assumes, for its reason; empty where nothing."""
    if not rule.reach or not any(finding.assumed for finding in findings):
        return ""
    return f"; assuming that a loss spreads over at least {rule.reach:.0%} of the samples"
