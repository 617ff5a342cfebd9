"""Has AL fallen by more than the margin? Pass, fail, improved or undecided, at stated errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from pytest_speedbench.errors import count_of
from pytest_speedbench.quantities import change_of
from pytest_speedbench.stats.data import RequestTrace
from pytest_speedbench.stats.evidence import (
    Finding,
    assumption,
    drops,
    find,
    keeps,
    to_fail,
    to_pass,
    withheld_fail,
    withheld_pass,
    worst_whole,
    wrong_tokens,
)
from pytest_speedbench.stats.pairing import Pairs, pair
from pytest_speedbench.stats.rule import REACH, Rule
from pytest_speedbench.stats.scale import Scale, scale_of
from pytest_speedbench.stats.sums import ReplayedSums

OVER = {"prefix": "common prefixes", "whole": "whole outputs", "replay": "the baseline's text"}


Shown: TypeAlias = tuple[float | None, float | None]


class Conclusion(StrEnum):
    """Outcome of a gate that had something to test."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    IMPROVED = "improved"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Decision:
    """Conclusion of one case.

    Attributes:
        conclusion: pass, fail, improved or undecided.
        reason: what the conclusion rests on, without the change and its bound.
        shown: lower and upper bound on new / old that the conclusion states, at the rates of
            ``rule``; None where it states none.
        carried_by: finding that gave the verdict; where undecided, the sharpest that could.
        findings: all evidence that was weighed, whole outputs last.
        rule: margin and error rates it was decided by.
        n: paired samples.
        divergence_rate: share of compared outputs that differ; None without token ids.
        more_samples: further samples that would settle it at the present rate; None where decided
            or unknown.
        only_old: samples or turns without a partner in the new run.
        only_new: the reverse.
    """

    conclusion: Conclusion
    reason: str
    shown: Shown
    carried_by: Finding | None
    findings: tuple[Finding, ...]
    rule: Rule
    n: int
    divergence_rate: float | None
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
    healthy_divergence: float | None = None,
    reach: float = REACH,
    greedy: bool = True,
    draft_length: int | None = None,
    replayed: ReplayedSums | None = None,
) -> Decision:
    """Decide one case (slice) from its baseline and its new traces.

    P(pass where AL fell by the margin or more) ≤ alpha; P(fail where it fell by no more than the
    margin) ≤ fail_alpha, and the same for improved. `Rule` explains the arguments; without `greedy`
    decoding only whole outputs are compared. `draft_length` is the larger DL of both runs, where
    known; `replayed` what further requests along the baseline's text have shown.

    Raises:
        NoData: no sample in common, or no decoding step in the baseline.
        ValueError: arguments out of range, or traces that contradict themselves.
    """
    rule = Rule(
        margin, alpha, fail_alpha=fail_alpha, healthy_divergence=healthy_divergence, reach=reach
    )
    pairs = replace(pair(old, new, greedy=greedy), replay=replayed)
    return judge(pairs, scale_of(old, draft_length), rule)


def judge(pairs: Pairs, scale: Scale, rule: Rule) -> Decision:
    """Decide from paired sums; `scale` comes from the whole baseline of the slice.

    Raises:
        NoData: one of the runs has no tokens or steps.
    """
    n = len(pairs.whole.samples)
    findings = find(pairs, scale, rule)
    if scale.without_drafts:
        reason = "a step without a draft emits one token, so AL is 1"
        return _decision(Conclusion.PASS, reason, (None, None), findings[-1], findings, pairs, rule)
    if n < rule.min_clusters:
        reason = f"{count_of(n, 'sample')} in common; a verdict needs at least {rule.min_clusters}"
        nothing = (None, None)
        return _decision(Conclusion.UNDECIDED, reason, nothing, findings[-1], findings, pairs, rule)
    shown = _shown(findings, pairs, rule)
    if shown is None:
        return _undecided(findings, pairs, scale, rule)
    verdict, finding = shown
    bounds = _bounds(verdict, finding)
    reason = _basis(verdict, finding, rule) + assumption([finding], rule) + _whole_only(pairs)
    return _decision(verdict, reason, bounds, finding, findings, pairs, rule)


def verdict_of(pairs: Pairs, scale: Scale, rule: Rule) -> Conclusion:
    """The verdict of `judge` without the bounds that it reports: faster, for simulations.

    Raises:
        NoData: one of the runs has no tokens or steps.
    """
    if scale.without_drafts:
        return Conclusion.PASS
    if len(pairs.whole.samples) < rule.min_clusters:
        return Conclusion.UNDECIDED
    floor, roof = 1 - rule.margin, 1 + rule.margin
    for sums, share in to_fail(pairs, rule):
        lost = drops(sums, scale, rule).shows(floor, -math.log(rule.fail_level * share))
        if lost and not (sums.evidence == "prefix" and withheld_fail(pairs, rule)):
            return Conclusion.FAIL
    shown: set[Conclusion] = set()
    for sums, share in () if wrong_tokens(pairs) else to_pass(pairs, rule):
        keep = keeps(sums, pairs, scale, rule)
        if not keep.shows(floor, -math.log(rule.alpha * share)):
            continue
        if sums.evidence == "replay" and withheld_pass(pairs, rule):
            continue
        better = keep.shows(roof, -math.log(rule.fail_level * share))
        shown.add(Conclusion.IMPROVED if better else Conclusion.PASS)
    return next(
        (v for v in (Conclusion.IMPROVED, Conclusion.PASS) if v in shown), Conclusion.UNDECIDED
    )


def _shown(
    findings: tuple[Finding, ...], pairs: Pairs, rule: Rule
) -> tuple[Conclusion, Finding] | None:
    """The gravest verdict that is shown, and the finding that shows it."""
    floor, roof = 1 - rule.margin, 1 + rule.margin
    for finding in findings:
        lost = finding.high is not None and finding.high < floor
        if lost and not (finding.evidence == "prefix" and withheld_fail(pairs, rule)):
            return Conclusion.FAIL, finding
    trusted = _trusted(findings, pairs, rule)
    for finding in trusted:
        if finding.sure_low is not None and finding.sure_low > roof:
            return Conclusion.IMPROVED, finding
    for finding in trusted:
        if finding.low is not None and finding.low > floor:
            return Conclusion.PASS, finding
    return None


def _trusted(findings: tuple[Finding, ...], pairs: Pairs, rule: Rule) -> tuple[Finding, ...]:
    """Findings that may give a pass."""
    if wrong_tokens(pairs):
        return ()
    refused = {"prefix"} | ({"replay"} if withheld_pass(pairs, rule) else set())
    return tuple(finding for finding in findings if finding.evidence not in refused)


def _bounds(verdict: Conclusion, finding: Finding) -> Shown:
    """The bound that ``finding`` has put beyond the margin."""
    if verdict is Conclusion.FAIL:
        return None, finding.high
    return finding.sure_low if verdict is Conclusion.IMPROVED else finding.low, None


def _basis(verdict: Conclusion, finding: Finding, rule: Rule) -> str:
    over = f"compared over {OVER[finding.evidence]} ({finding.coverage:.0%} of the tokens)"
    level = rule.alpha if verdict is Conclusion.PASS else rule.fail_level
    stale = "; the baseline is stale" if verdict is Conclusion.IMPROVED else ""
    return f"{over} at α = {level:.2g}{stale}; margin {rule.margin:.2%}"


def bound_text(low: float | None, high: float | None) -> str:
    """A statement on new / old in the words of a reader: ``lost at most 1.80%``."""
    if low is not None and high is not None:
        return f"{change_of(low, 1)} to {change_of(high, 1)}"
    if high is not None:
        return f"lost at least {1 - high:.2%}" if high < 1 else f"gained at most {high - 1:.2%}"
    if low is not None:
        return f"lost at most {1 - low:.2%}" if low < 1 else f"gained at least {low - 1:.2%}"
    return ""


def _whole_only(pairs: Pairs) -> str:
    """Why nothing but whole outputs can be compared; nothing where there is a prefix or replay."""
    return f"; whole outputs only, {pairs.no_prefix}" if pairs.no_prefix else ""


def _undecided(findings: tuple[Finding, ...], pairs: Pairs, scale: Scale, rule: Rule) -> Decision:
    trusted = _trusted(findings, pairs, rule)
    waits = [f.more_samples for f in findings if f.more_samples is not None]
    finding = trusted[0] if trusted else findings[-1]
    low, high = _range(findings, scale)
    margin = f"margin {rule.margin:.2%}"
    reasons = [*withheld_pass(pairs, rule), *_hidden(findings, pairs, scale, rule), margin]
    return _decision(
        Conclusion.UNDECIDED,
        "; ".join(reasons) + _whole_only(pairs),
        (low, high if math.isfinite(high) else None),
        finding,
        findings,
        pairs,
        rule,
        max(1, min(waits)) if waits else None,
    )


def _range(findings: tuple[Finding, ...], scale: Scale) -> tuple[float, float]:
    """What AL of whole outputs may have changed by; the common prefix bounds its own only.

    Where nothing was shown, what is possible: AL lies between 1 and DL + 1.
    """
    lows = [f.low for f in findings if f.evidence != "prefix" and f.low is not None]
    highs = [f.high for f in findings if f.evidence != "prefix" and f.high is not None]
    most = math.inf if scale.top is None else scale.top / scale.al
    return max([1 / scale.al, *lows]), min([most, *highs])


def _hidden(findings: tuple[Finding, ...], pairs: Pairs, scale: Scale, rule: Rule) -> list[str]:
    """What the common prefix does not see, and how large a loss could hide there."""
    seen = next((f for f in findings if f.evidence == "prefix"), None)
    if seen is None or seen.coverage == 1:
        return []
    lost = seen.high is not None and seen.high < 1 - rule.margin
    if lost and (doubts := withheld_fail(pairs, rule)):
        return doubts
    worst = worst_whole(pairs, scale, rule)
    bound = (
        "have no bound"
        if worst is None
        else f"{bound_text(worst, None)} at 95%, however a loss spreads"
    )
    changed = ""
    if seen.low is not None and seen.low > 1 - rule.margin:
        changed = f"{bound_text(seen.low, None)} but "
    return [
        f"common prefixes {changed}cover {seen.coverage:.0%} of the tokens; whole outputs {bound}"
    ]


def _decision(
    verdict: Conclusion,
    reason: str,
    shown: Shown,
    carried_by: Finding | None,
    findings: tuple[Finding, ...],
    pairs: Pairs,
    rule: Rule,
    more: int | None = None,
) -> Decision:
    return Decision(
        conclusion=verdict,
        reason=reason,
        shown=shown,
        carried_by=carried_by,
        findings=findings,
        rule=rule,
        n=len(pairs.whole.samples),
        divergence_rate=pairs.divergence_rate,
        more_samples=more,
        only_old=pairs.only_old,
        only_new=pairs.only_new,
    )
