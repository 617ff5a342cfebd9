"""How many samples a margin needs, and what a split can detect, from a baseline's own spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pytest_speedbench.stats.betting import Bet, bets_of, contrast, stress
from pytest_speedbench.stats.data import Floats, RequestTrace, clusters, steps_of
from pytest_speedbench.stats.pairing import Pairs, no_prefix
from pytest_speedbench.stats.rule import Rule
from pytest_speedbench.stats.scale import Scale, scale_of
from pytest_speedbench.stats.sums import Evidence, PairedSums

# Where no rebuild is at hand: what vLLM showed on an H100 at another batch size
# (docs/gate-statistics.md): shares of the tokens in the common prefix and in replay, and the spread
# of a sample's whole-output steps relative to the mean sample.
PREFIX_COVERAGE = 0.65
REPLAY_COVERAGE = 0.97
WHOLE_SPREAD = 0.12
LARGEST = 0.999


@dataclass(frozen=True, slots=True)
class Plan:
    """What a margin needs.

    Attributes:
        pass_samples: samples until an unchanged engine passes with probability `power`; None where
            no number of samples suffices.
        pass_tokens: output tokens of those, at the baseline's mean length.
        fail_samples: samples until a loss of `loss` fails with probability `power`.
        fail_tokens: output tokens of those.
        loss: the loss asked about; by default twice the margin.
        split_samples: samples of the baseline's slice.
        detectable_loss: smallest loss that the whole slice fails with probability `power`.
        passable_margin: smallest margin at which an unchanged engine passes on the whole slice.
    """

    pass_samples: int | None
    pass_tokens: int | None
    fail_samples: int | None
    fail_tokens: int | None
    loss: float
    split_samples: int
    detectable_loss: float | None
    passable_margin: float | None


def plan(
    baseline: Sequence[RequestTrace],
    rule: Rule,
    *,
    power: float = 0.9,
    loss: float | None = None,
    rebuild: Pairs | None = None,
    replay: bool = False,
    draft_length: int | None = None,
) -> Plan:
    """Samples and tokens that `rule` needs on this slice.

    The log capital of a bet is a sum over samples; its mean and variance come from the baseline's
    samples (and the healthy `rebuild`, where one is recorded), its distribution is taken as normal.
    A loss is spread unevenly over samples, with a coefficient of variation of 1. With `replay` the
    new run is taken to be replayed along the baseline's text; without it a pass rests on whole
    outputs.

    Raises:
        NoData: a baseline without decoding steps.
        ValueError: power not between 0.5 and 1, or loss not between the margin and 1.
    """
    if not 0.5 <= power < 1:
        raise ValueError(f"power must lie in 0.5 … 1, got {power!r}")
    loss = min(LARGEST, 2 * rule.margin) if loss is None else loss
    if not rule.margin < loss < 1:
        raise ValueError(f"a loss to fail must lie between the margin and 1, got {loss!r}")
    models = _models(baseline, rebuild, replay=replay)
    planner = _Planner(scale_of(baseline, draft_length), models, power)
    n = len(clusters(baseline))
    tokens = sum(trace.output_tokens for trace in baseline) / n
    passing, failing = planner.to_pass(rule), planner.to_fail(rule, loss)
    return Plan(
        pass_samples=passing,
        pass_tokens=None if passing is None else round(passing * tokens),
        fail_samples=failing,
        fail_tokens=None if failing is None else round(failing * tokens),
        loss=loss,
        split_samples=n,
        detectable_loss=_smallest(
            lambda x: _within(planner.to_fail(rule, x), n), rule.margin, LARGEST
        ),
        passable_margin=_smallest(
            lambda x: _within(planner.to_pass(replace(rule, margin=x)), n), 1e-4, LARGEST
        ),
    )


@dataclass(frozen=True, slots=True)
class _Planner:
    scale: Scale
    models: tuple[PairedSums, ...]
    power: float

    def to_pass(self, rule: Rule) -> int | None:
        """Samples until an unchanged engine passes."""
        whole = [sums for sums in self.models if sums.evidence != "prefix"]
        waits = [self._wait(rule, sums, len(whole), against_loss=True) for sums in whole]
        return min((wait for wait in waits if wait is not None), default=None)

    def to_fail(self, rule: Rule, loss: float) -> int | None:
        """Samples until `loss` fails."""
        worse = [_with_loss(sums, loss) for sums in self.models]
        waits = [self._wait(rule, sums, len(worse), against_loss=False) for sums in worse]
        return min((wait for wait in waits if wait is not None), default=None)

    def _wait(self, rule: Rule, sums: PairedSums, kinds: int, *, against_loss: bool) -> int | None:
        theta = 1 - rule.margin
        values = contrast(sums, max(theta, self.scale.lowest), self.scale.al)
        bets = bets_of(rule, self.scale, sums, against_loss=against_loss).bets
        share = 1.0 if kinds == 1 else rule.shared
        if sums.evidence == "whole" and kinds > 1:
            share = 1 - rule.shared
        need = -math.log((rule.alpha if against_loss else rule.fail_level) * share)
        worst = float(stress(sums, self.scale.max_steps, against_loss=against_loss).max())
        gains = values if against_loss else -values
        samples = _samples(gains, worst, bets, theta, need, self.power)
        return None if samples is None else max(rule.min_clusters, samples)


def _samples(
    values: Floats, worst: float, bets: Sequence[Bet], theta: float, need: float, power: float
) -> int | None:
    """Smallest n at which some bet's log capital exceeds `need` with probability `power`."""
    from scipy.special import ndtri

    quantile = float(ndtri(power))
    found: list[float] = []
    for bet in bets:
        bound, may_end = bet.bound(theta)
        if values.min() <= -bound or (may_end and worst > bound):
            continue  # this bet would be lost sooner or later
        growth = np.log1p(values / bound)
        mean, spread = float(growth.mean()), float(growth.std())
        if mean > 1e-12:
            # n·mean - quantile·spread·√n = need - log_weight, a quadratic in √n
            target = need - bet.log_weight
            root = quantile * spread + math.sqrt((quantile * spread) ** 2 + 4 * mean * target)
            found.append((root / (2 * mean)) ** 2)
    return math.ceil(min(found)) if found else None


def _models(
    baseline: Sequence[RequestTrace], rebuild: Pairs | None, *, replay: bool
) -> tuple[PairedSums, ...]:
    if rebuild is not None:
        shared = rebuild.prefix if rebuild.replay is None else rebuild.replay.sums
        return (rebuild.whole,) if shared is None else (shared, rebuild.whole)
    groups = clusters(baseline)
    tokens = np.array([float(sum(t.decode_tokens for t in turns)) for turns in groups.values()])
    steps = np.array([float(sum(map(steps_of, turns))) for turns in groups.values()])
    noise = WHOLE_SPREAD * steps.mean() * _scores(len(steps))
    whole = _sums("whole", groups, tokens, steps, np.maximum(steps + noise, 1.0))
    if no_prefix(baseline):
        return (whole,)
    evidence: Evidence = "replay" if replay else "prefix"
    part = REPLAY_COVERAGE if replay else PREFIX_COVERAGE
    return _sums(evidence, groups, part * tokens, part * steps, part * steps), whole


def _sums(
    evidence: Evidence,
    groups: dict[str, list[RequestTrace]],
    tokens: Floats,
    old_steps: Floats,
    new_steps: Floats,
) -> PairedSums:
    strata = tuple(turns[0].stratum for turns in groups.values())
    return PairedSums(evidence, tuple(groups), strata, tokens, old_steps, tokens, new_steps, 1.0)


def _scores(n: int) -> Floats:
    """Normal scores in a fixed random order: a sample of mean 0 and spread 1 without luck."""
    from scipy.special import ndtri

    scores = ndtri((np.arange(n) + 0.5) / n)
    return np.asarray(np.random.default_rng(0).permutation(scores))


def _with_loss(sums: PairedSums, loss: float) -> PairedSums:
    n = len(sums.samples)
    uneven = -np.log1p(-(np.arange(n) + 0.5) / n)  # exponential scores: mean 1, variation 1
    uneven = np.random.default_rng(1).permutation(uneven)
    extra = sums.new_steps * uneven
    extra *= sums.new_steps.sum() * (1 / (1 - loss) - 1) / extra.sum()
    return replace(sums, new_steps=sums.new_steps + extra)


def _within(samples: int | None, n: int) -> bool:
    return samples is not None and samples <= n


def _smallest(enough: Callable[[float], bool], low: float, high: float) -> float | None:
    if not enough(high):
        return None
    for _ in range(30):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
