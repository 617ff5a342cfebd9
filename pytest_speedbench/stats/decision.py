"""Has AL fallen by more than the margin? Pass, fail, improved or undecided, at stated errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_speedbench.stats import delta
from pytest_speedbench.stats.betting import contrast, stress
from pytest_speedbench.stats.data import Floats, RequestTrace
from pytest_speedbench.stats.estimates import Estimate
from pytest_speedbench.stats.pairing import Evidence, PairedSums, Pairs, pair
from pytest_speedbench.stats.rule import REACH, Rule, Scale, bets_of, scale_of

PARTING_LEVEL = 0.01  # of the test "texts part more often than healthy"; only ever withholds a pass
DISSENT_LEVEL = 0.05  # whole outputs this much against the prefix withhold its pass
HALVINGS = 24  # of the range in which a bound is sought; leaves less than 1e-6


class Conclusion(StrEnum):
    """Outcome of a gate that had something to test."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    IMPROVED = "improved"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one kind of evidence says of ρ = AL new / AL old.

    `low` bounds ρ from below at the case's α, `sure_low` and `high` at its divided α; bounds hold
    at any stopping time. None: no bound found in the possible range.
    """

    evidence: Evidence
    ratio: Estimate
    low: float | None
    sure_low: float | None
    high: float | None
    coverage: float
    more_samples: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """Conclusion of one case.

    Attributes:
        conclusion: pass, fail, improved or undecided.
        reason: one sentence for the report.
        carried_by: finding that carried the verdict; where undecided the sharper one.
        findings: all evidence that was weighed, prefix first.
        rule: margin and error rates it was decided by.
        n: paired samples.
        parting_rate: share of compared outputs that part; None without token ids.
        more_samples: further samples that would settle it at the present rate; None where decided
            or not to be told.
        only_old: samples or turns without a partner in the new run.
        only_new: the reverse.
    """

    conclusion: Conclusion
    reason: str
    carried_by: Finding | None
    findings: tuple[Finding, ...]
    rule: Rule
    n: int
    parting_rate: float | None
    more_samples: int | None
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]


def non_inferiority(
    old: Sequence[RequestTrace],
    new: Sequence[RequestTrace],
    *,
    margin: float,
    alpha: float = 0.01,
    fail_alpha: float | None = None,
    healthy_parting: float | None = None,
    reach: float = REACH,
    greedy: bool = True,
) -> Decision:
    """Decide one case (slice) from its baseline and its new traces.

    P(pass where AL fell by the margin or more) ≤ alpha; P(fail where it fell by no more than the
    margin) ≤ fail_alpha, and the same for improved. `Rule` explains the arguments; without `greedy`
    decoding only whole outputs are compared.

    Raises:
        NoData: no sample in common, or no decoding step in the baseline.
        ValueError: arguments out of range, or traces that contradict themselves.
    """
    rule = Rule(margin, alpha, fail_alpha=fail_alpha, healthy_parting=healthy_parting, reach=reach)
    return judge(pair(old, new, greedy=greedy), scale_of(old), rule)


def judge(pairs: Pairs, scale: Scale, rule: Rule) -> Decision:
    """Decide from paired sums; `scale` comes from the whole baseline of the slice.

    Raises:
        NoData: one of the runs has no tokens or steps.
    """
    n = len(pairs.whole.samples)
    if n < rule.min_clusters:
        reason = f"{n} samples in common; a verdict needs at least {rule.min_clusters}"
        return _decision(Conclusion.UNDECIDED, reason, None, (), pairs, rule, None)
    findings = _findings(pairs, scale, rule)
    trusted, doubts = _trusted(findings, pairs, rule)
    for verdict, finding in _shown(findings, trusted, rule):
        reason = _said(verdict, finding, rule) + _whole_only(pairs)
        return _decision(verdict, reason, finding, findings, pairs, rule)
    return _undecided(findings, doubts, pairs, rule)


def verdict_of(pairs: Pairs, scale: Scale, rule: Rule) -> Conclusion:
    """The verdict of `judge` without the bounds that it reports: faster, for simulations.

    Raises:
        NoData: one of the runs has no tokens or steps.
    """
    if len(pairs.whole.samples) < rule.min_clusters:
        return Conclusion.UNDECIDED
    floor, roof = 1 - rule.margin, 1 + rule.margin
    doubted = pairs.prefix is not None and bool(_doubts(pairs.prefix.coverage, pairs, rule))
    shown: set[Conclusion] = set()
    for sums, share in _evidence(pairs, rule):
        need, sure = -math.log(rule.alpha * share), -math.log(rule.fail_level * share)
        if _Side(sums, scale, rule, against_loss=False).shows(floor, sure):
            return Conclusion.FAIL
        if doubted and sums.evidence == "prefix":
            continue
        keep = _Side(sums, scale, rule, against_loss=True)
        if keep.shows(roof, sure):
            shown.add(Conclusion.IMPROVED)
        elif keep.shows(floor, need):
            shown.add(Conclusion.PASS)
    return next(
        (v for v in (Conclusion.IMPROVED, Conclusion.PASS) if v in shown), Conclusion.UNDECIDED
    )


def _evidence(pairs: Pairs, rule: Rule) -> list[tuple[PairedSums, float]]:
    """What is weighed, each with its share of α, prefix first."""
    if pairs.prefix is None:
        return [(pairs.whole, 1.0)]
    whole, prefix = (pairs.whole, 1 - rule.prefix_share), pairs.prefix
    sums = (prefix.old_tokens, prefix.old_steps, prefix.new_tokens, prefix.new_steps)
    if min(float(part.sum()) for part in sums) <= 0:  # every output parts at its first token
        return [whole]
    return [(prefix, rule.prefix_share), whole]


def _findings(pairs: Pairs, scale: Scale, rule: Rule) -> tuple[Finding, ...]:
    return tuple(find(sums, scale, rule, share) for sums, share in _evidence(pairs, rule))


def find(sums: PairedSums, scale: Scale, rule: Rule, share: float) -> Finding:
    """Bounds on ρ from one kind of evidence with its `share` of each α.

    Raises:
        NoData: no tokens or steps in one of the runs.
    """
    ratio = sums.al_ratio()
    keep = _Side(sums, scale, rule, against_loss=True)
    drop = _Side(sums, scale, rule, against_loss=False)
    need, sure = -math.log(rule.alpha * share), -math.log(rule.fail_level * share)
    low = keep.bound(need)
    waits = (keep.wait(1 - rule.margin, need), drop.wait(1 - rule.margin, sure))
    return Finding(
        evidence=sums.evidence,
        ratio=ratio,
        low=low,
        sure_low=low if need == sure else keep.bound(sure),
        high=drop.bound(sure),
        coverage=sums.coverage,
        more_samples=min((wait for wait in waits if wait is not None), default=None),
    )


class _Side:
    """The bets of one direction on one kind of evidence."""

    def __init__(self, sums: PairedSums, scale: Scale, rule: Rule, *, against_loss: bool) -> None:
        self._sums = sums
        self._al = scale.al
        self._sign = 1.0 if against_loss else -1.0
        self._bets = bets_of(rule, scale, sums.evidence, against_loss=against_loss)
        self._stress = stress(sums, scale.max_steps, against_loss=against_loss)

    def bound(self, need: float) -> float | None:
        """Bound on ρ: where the log capital meets `need`; it is monotone in theta."""
        lowest, highest = 1 / self._al / 2, 4 * self._al
        inside, outside = (lowest, highest) if self._sign > 0 else (highest, lowest)
        if not self.shows(inside, need):
            return None
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self.shows(middle, need) else (inside, middle)
        return inside

    def wait(self, theta: float, need: float) -> int | None:
        """Samples still missing if each bet's capital keeps growing at the mean rate so far."""
        n = len(self._stress)
        weights = self._bets.log_weights
        growth = (self._bets.paths(self._values(theta), self._stress)[:, -1] - weights) / n
        usable = growth > 1e-9
        if not usable.any():
            return None
        total = (need - weights[usable]) / growth[usable]
        return max(0, math.ceil(float(total.min())) - n)

    def shows(self, theta: float, need: float) -> bool:
        """Whether the log capital against "ρ lies beyond theta" meets `need`."""
        return self._bets.log_capital(self._values(theta), self._stress) >= need

    def _values(self, theta: float) -> Floats:
        return self._sign * contrast(self._sums, theta, self._al)


def _trusted(
    findings: tuple[Finding, ...], pairs: Pairs, rule: Rule
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Findings that may give a pass, and why the prefix may not."""
    prefix = next((f for f in findings if f.evidence == "prefix"), None)
    if prefix is None:
        return findings, ()
    doubts = _doubts(prefix.coverage, pairs, rule)
    return (findings if not doubts else findings[1:]), tuple(doubts)


def _doubts(coverage: float, pairs: Pairs, rule: Rule) -> list[str]:
    """Why the prefix alone may not give a pass."""
    doubts: list[str] = []
    if coverage < rule.min_coverage:
        doubts.append(f"the common prefix covers only {coverage:.0%} of the tokens")
    if _parts_too_often(pairs, rule):
        doubts.append(
            f"{pairs.parted} of {pairs.compared} outputs part, healthy is"
            f" {rule.healthy_parting:.0%}"
        )
    if _dissents(pairs.whole, rule):
        doubts.append("the whole outputs speak for a loss beyond the margin")
    return doubts


def _parts_too_often(pairs: Pairs, rule: Rule) -> bool:
    if rule.healthy_parting is None or not pairs.compared:
        return False
    from scipy.special import bdtrc

    return float(bdtrc(pairs.parted - 1, pairs.compared, rule.healthy_parting)) < PARTING_LEVEL


def _dissents(whole: PairedSums, rule: Rule) -> bool:
    codes = whole.codes
    value, error = delta.log_ratio_of_ratios(
        (whole.new_tokens, whole.new_steps), (whole.old_tokens, whole.old_steps), codes
    )
    quantile = delta.t_quantile(1 - 2 * DISSENT_LEVEL, delta.degrees_of_freedom(codes))
    return value + quantile * error < math.log1p(-rule.margin)


def _shown(
    findings: tuple[Finding, ...], trusted: tuple[Finding, ...], rule: Rule
) -> list[tuple[Conclusion, Finding]]:
    """Verdicts that are shown, gravest first."""
    floor, roof = 1 - rule.margin, 1 + rule.margin
    fails = [f for f in findings if f.high is not None and f.high < floor]
    better = [f for f in trusted if f.sure_low is not None and f.sure_low > roof]
    passes = [f for f in trusted if f.low is not None and f.low > floor]
    return [
        *((Conclusion.FAIL, f) for f in fails),
        *((Conclusion.IMPROVED, f) for f in better),
        *((Conclusion.PASS, f) for f in passes),
    ]


def _said(verdict: Conclusion, finding: Finding, rule: Rule) -> str:
    what = {"prefix": "common prefixes", "whole": "whole outputs", "matched": "matched lengths"}
    over = f"over {what[finding.evidence]} ({finding.coverage:.0%} of the tokens)"
    change = f"AL changed by {finding.ratio.value - 1:+.2%} {over}"
    bound = {
        Conclusion.PASS: f"at least {(finding.low or 0) - 1:+.2%} at α = {rule.alpha:.2g}",
        Conclusion.IMPROVED: f"at least {(finding.sure_low or 0) - 1:+.2%} at"
        f" α = {rule.fail_level:.2g}: the baseline is stale",
        Conclusion.FAIL: f"at most {(finding.high or 0) - 1:+.2%} at α = {rule.fail_level:.2g}",
    }
    return f"{change}; {bound[verdict]}; margin {rule.margin:.2%}"


def _whole_only(pairs: Pairs) -> str:
    """Why there is no prefix, for the reader; nothing where there is one."""
    return f"; whole outputs only, {pairs.no_prefix}" if pairs.no_prefix else ""


def _undecided(
    findings: tuple[Finding, ...], doubts: tuple[str, ...], pairs: Pairs, rule: Rule
) -> Decision:
    usable = findings[1:] if doubts else findings
    waits = [f.more_samples for f in usable if f.more_samples is not None]
    more = max(1, min(waits)) if waits else None
    low, high = findings[0].low, findings[0].high
    ends = [f"{end - 1:+.2%}" if end is not None else "unbounded" for end in (low, high)]
    reason = f"AL may have changed by {ends[0]} to {ends[1]}, margin {rule.margin:.2%}"
    reason = "; ".join([*doubts, reason])
    if findings[0].evidence == "whole":
        reason += _whole_only(pairs) or "; whole outputs only, without a common prefix of tokens"
    return _decision(Conclusion.UNDECIDED, reason, findings[0], findings, pairs, rule, more)


def _decision(
    verdict: Conclusion,
    reason: str,
    carried_by: Finding | None,
    findings: tuple[Finding, ...],
    pairs: Pairs,
    rule: Rule,
    more: int | None = None,
) -> Decision:
    return Decision(
        conclusion=verdict,
        reason=reason,
        carried_by=carried_by,
        findings=findings,
        rule=rule,
        n=len(pairs.whole.samples),
        parting_rate=pairs.parting_rate,
        more_samples=more,
        only_old=pairs.only_old,
        only_new=pairs.only_new,
    )
