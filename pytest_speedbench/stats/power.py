"""How many samples a margin needs, and what a split can detect, from a baseline's own spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.stats.betting import bets_of, contrast, log_growth, stress
from pytest_speedbench.stats.data import Floats, RequestTrace, clusters
from pytest_speedbench.stats.pairing import Pairs
from pytest_speedbench.stats.rule import Rule
from pytest_speedbench.stats.scale import Scale, scale_of
from pytest_speedbench.stats.sums import PairedSums
from pytest_speedbench.stats.unchanged import measured, modelled

# Share of greedy outputs that diverge between healthy rebuilds, where nothing is known of them:
# what vLLM showed on an H100 at another batch size (docs/gate-statistics.md).
DIVERGENCE = 0.46
LARGEST = 0.999
MIN_SAMPLES = Rule(0.5).min_clusters
SESSIONS, CHUNKS = 1000, 10  # simulated, and in how many parts to keep memory small
SLACK = 0.5  # of the power that is missing to 1
STEPS = 14  # of a bisection
FEW, MANY, MOST = 256, 1024, 4096  # samples that a simulated session has


@dataclass(frozen=True, slots=True)
class Plan:
    """What a margin needs.

    Attributes:
        pass_samples: samples until an unchanged engine passes with probability `power`; None where
            4,096 do not suffice.
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
    divergence: float = DIVERGENCE,
    replay: bool = False,
    draft_length: int | None = None,
) -> Plan:
    """Samples and tokens that `rule` needs on this slice.

    Sessions are simulated: they draw samples from how an unchanged build differs from the baseline,
    measured on a `rebuild`, or modelled from the baseline's own lengths and steps
    (`stats.unchanged`), and place the bets of the gate.

    Args:
        baseline: the slice as it was measured.
        rule: margin and error rates.
        power: wanted probability of the right verdict.
        loss: AL lost by the build that is to fail, unevenly over samples, with a coefficient of
            variation of 1; None: twice the margin.
        rebuild: the baseline paired with a second run, of the same build or of a retrained drafter;
            a difference in AL between them is taken out.
        divergence: without a rebuild, the share of outputs that diverge; 1 for sampled output.
        replay: the new run is replayed along the baseline's text; without it a pass rests on whole
            outputs.
        draft_length: the larger DL of both runs, where known.

    Raises:
        NoData: a baseline without decoding steps.
        ValueError: power not between 0.5 and 1, or loss not between the margin and 1.
    """
    if not 0.5 <= power < 1:
        raise ValueError(f"power must lie in 0.5 … 1, got {power!r}")
    loss = min(LARGEST, 2 * rule.margin) if loss is None else loss
    if not rule.margin < loss < 1:
        raise ValueError(f"a loss to fail must lie between the margin and 1, got {loss!r}")
    scale = scale_of(baseline, draft_length)
    found = modelled(baseline, divergence, replay=replay) if rebuild is None else measured(rebuild)
    planner = _Planner(scale, found, power)
    n = len(clusters(baseline))
    tokens = sum(trace.output_tokens for trace in baseline) / n
    passing, failing = (
        planner.samples(planner.to_pass(rule)),
        planner.samples(planner.to_fail(rule, loss)),
    )
    return Plan(
        pass_samples=passing,
        pass_tokens=None if passing is None else round(passing * tokens),
        fail_samples=failing,
        fail_tokens=None if failing is None else round(failing * tokens),
        loss=loss,
        split_samples=n,
        detectable_loss=_smallest(
            lambda x: planner.suffices(planner.to_fail(rule, x), n), rule.margin, LARGEST
        ),
        passable_margin=_smallest(
            lambda x: planner.suffices(planner.to_pass(replace(rule, margin=x)), n), 1e-4, LARGEST
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Wager:
    """The bets on one kind of evidence, ready to be simulated.

    Attributes:
        growth: shape (bets, pool), what each sample of the pool adds to the log capital of a bet.
        weights: shape (bets,), log of each bet's share of the starting capital.
        need: log capital at which the verdict is shown.
    """

    growth: Floats
    weights: Floats
    need: float

    def shows(self, drawn: NDArray[np.intp], *, every: bool) -> NDArray[np.bool_]:
        """Whether sessions that drew these samples show the verdict, shape (sessions, samples):
        after every sample, or after the last alone (shape (sessions, 1))."""
        capital = np.zeros((len(drawn), drawn.shape[1] if every else 1))
        with np.errstate(over="ignore"):  # more than is needed in any case
            for growth, weight in zip(self.growth, self.weights, strict=True):
                gained = growth[drawn]
                path = np.cumsum(gained, axis=1) if every else gained.sum(axis=1, keepdims=True)
                capital += np.exp(weight + path)
        return np.asarray(capital >= math.exp(self.need))


@dataclass(frozen=True, slots=True)
class _Planner:
    scale: Scale
    models: tuple[PairedSums, ...]
    power: float

    @property
    def _wanted(self) -> float:
        """More than the wanted power, for what the simulation leaves out: bounds come from the
        samples of a session, and here from all of the baseline; and a chance trend withholds a few
        passes of replay."""
        return self.power + SLACK * (1 - self.power)

    def to_pass(self, rule: Rule) -> list[_Wager]:
        """Bets that an unchanged build has not lost the margin; a pass needs one of them."""
        usable = [sums for sums in self.models if sums.evidence != "prefix"]
        strain = stress(self.models[0], self.scale.max_steps, against_loss=True)
        return [self._wager(rule, sums, strain, len(usable), against_loss=True) for sums in usable]

    def to_fail(self, rule: Rule, loss: float) -> list[_Wager]:
        """Bets that a build which lost `loss` has lost the margin."""
        worse = [_with_loss(sums, loss) for sums in self.models]
        return [
            self._wager(
                rule,
                sums,
                stress(sums, self.scale.max_steps, against_loss=False),
                len(worse),
                against_loss=False,
            )
            for sums in worse
        ]

    def _wager(
        self, rule: Rule, sums: PairedSums, strain: Floats, kinds: int, *, against_loss: bool
    ) -> _Wager:
        theta = max(1 - rule.margin, self.scale.lowest)
        gains = contrast(sums, theta, self.scale.al) * (1 if against_loss else -1)
        bets = bets_of(rule, self.scale, sums.evidence, against_loss=against_loss)
        bounds, may_end = bets.bounds(theta)
        ended = (strain > bounds[:, None]) & may_end[:, None]
        growth = np.where(ended, -np.inf, log_growth(gains / bounds[:, None]))
        share = rule.shared
        if sums.evidence == "whole":
            replayed = any(model.evidence == "replay" for model in self.models)
            share = (1 - rule.shared) / (1 if against_loss or not replayed else 2)
        level = rule.alpha if against_loss else rule.fail_level
        need = -math.log(level * (1.0 if kinds == 1 else share))
        return _Wager(growth, bets.log_weights, need)

    def samples(self, wagers: Sequence[_Wager]) -> int | None:
        """Fewest samples from which on the verdict is shown with the wanted power."""
        for most in (FEW, MANY, MOST):
            enough = self._shown(wagers, most, every=True) >= self._wanted
            if enough[-1]:
                short = np.flatnonzero(~enough)
                return max(MIN_SAMPLES, int(short[-1]) + 2 if len(short) else 1)
        return None

    def suffices(self, wagers: Sequence[_Wager], samples: int) -> bool:
        """Whether so many samples show the verdict with the wanted power."""
        enough = samples >= MIN_SAMPLES
        return enough and bool(self._shown(wagers, samples, every=False)[-1] >= self._wanted)

    def _shown(self, wagers: Sequence[_Wager], samples: int, *, every: bool) -> Floats:
        """Share of simulated sessions that show it."""
        draws, count = np.random.default_rng(0), np.zeros(samples if every else 1)
        pool = wagers[0].growth.shape[1]
        for _ in range(CHUNKS):
            drawn = draws.integers(pool, size=(SESSIONS // CHUNKS, samples))
            shown = [wager.shows(drawn, every=every) for wager in wagers]
            count += np.logical_or.reduce(shown).sum(axis=0)
        return np.asarray(count / SESSIONS)


def _with_loss(sums: PairedSums, loss: float) -> PairedSums:
    n = len(sums.samples)
    uneven = -np.log1p(-(np.arange(n) + 0.5) / n)  # exponential scores: mean 1, variation 1
    uneven = np.random.default_rng(1).permutation(uneven)
    extra = sums.new_steps * uneven
    extra *= sums.new_steps.sum() * (1 / (1 - loss) - 1) / extra.sum()
    return replace(sums, new_steps=sums.new_steps + extra)


def _smallest(enough: Callable[[float], bool], low: float, high: float) -> float | None:
    if not enough(high):
        return None
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
