"""Tests by betting: evidence that may be looked at after every sample, valid in the far tail.

Whoever bets against the claim "ρ ≤ theta" stakes a fixed share of the capital on every sample. If
the claim is true the game is fair at best, and the chance that the capital ever grows 1/α-fold is
at most α, whatever the distribution (Ville 1939; Waudby-Smith & Ramdas, JRSS B 86, 2024). No
normality, no variance estimate, no schedule of looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.stats.bounds import Bound, lower_of
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.rule import Rule
from pytest_speedbench.stats.scale import HIGHEST, Scale
from pytest_speedbench.stats.sums import Evidence, PairedSums

# So many steps are a matter of chance, and a sample shorter than this is not scaled up in full.
# Healthy rebuilds hardly ever differ by more than half a step before texts diverge, so a loss is
# suspect sooner than the gains that a loss elsewhere could hide behind.
CHANCE_LOST, SHORT_LOST = 0.5, 3.0
CHANCE_SAVED, SHORT_SAVED = 2.0, 5.0
# Losses come in whole steps: however small the margin, one sample may lose several by chance.
FEWEST_STEPS = 8.0
DECAY = 0.3  # of the weights of bets on the same tokens, from the largest stake to the smallest
FIRST, LAST = 0.4, 0.4  # weights of the largest and the smallest stake on whole outputs


@dataclass(frozen=True, slots=True, eq=False)
class Bet:
    """One bet of a mixture: it stakes 1/bound of the capital a step.

    Within a block that holds every stratum, strata may have different means: the product of their
    expectations is at most the power of their mean, so complete blocks keep the guarantee. Ending a
    bet only ever lowers the capital, and so keeps it too.

    Attributes:
        most: decoding steps, by theta, that no sample can exceed.
        assumed: decoding steps, by theta, that no sample is assumed to exceed, but for `factor`; a
            sample that does, or would, were it as long as the longest, ends this bet for good.
        factor: of `assumed`; infinite for no assumption.
        log_weight: log of its share of the starting capital.
        knots: thetas between which the smaller of the two bounds is linear.
    """

    most: Bound
    assumed: Bound
    factor: float
    log_weight: float
    knots: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Find the knots."""
        unbounded = np.isinf(self.factor)
        limit = self.most if unbounded else lower_of(self.most, self.assumed.times(self.factor))
        object.__setattr__(self, "knots", limit.knots)

    def bound(self, theta: float) -> tuple[float, bool]:
        """Decoding steps of the whole stake, and whether that is an assumption."""
        most, assumed = self.most.at(theta), self.factor * self.assumed.at(theta)
        return min(most, assumed), assumed < most

    def path(self, theta: float, contrast: Floats, stress: Floats) -> Floats:
        """Log of the weighted capital after each sample; inputs of shape (..., samples)."""
        bound, may_end = self.bound(theta)
        path = np.cumsum(log_growth(contrast / bound), axis=-1) + self.log_weight
        if not may_end:
            return path
        return np.where(np.maximum.accumulate(stress, axis=-1) > bound, -np.inf, path)

    def ends(self, thetas: Floats, contrasts: Floats, most_stress: float) -> Floats:
        """The last of each `path`, for several thetas: shapes (thetas,) and (thetas, samples)."""
        most, assumed = self.most.all_at(thetas), self.factor * self.assumed.all_at(thetas)
        bounds = np.minimum(most, assumed)
        capital = log_growth(contrasts / bounds[:, None]).sum(axis=-1) + self.log_weight
        return np.where((assumed < most) & (most_stress > bounds), -np.inf, capital)


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """A fixed mixture of bets in one direction.

    Attributes:
        bets: from the largest stake to the smallest, the last without an assumption; all have the
            same bounds, but for the factor.
        sign: 1 for bets that ρ is above theta, -1 for below.
        lowest: smaller thetas are taken as this one.
        factors: shape (bets,).
        log_weights: shape (bets,).
    """

    bets: tuple[Bet, ...]
    sign: float
    lowest: float
    factors: Floats = field(init=False)
    log_weights: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Put what differs between the bets side by side."""
        object.__setattr__(self, "factors", np.array([bet.factor for bet in self.bets]))
        object.__setattr__(self, "log_weights", np.array([bet.log_weight for bet in self.bets]))

    def bounds(self, theta: float) -> tuple[Floats, NDArray[np.bool_]]:
        """Of each bet its `bound`; shapes (bets,)."""
        most, assumed = self.bets[0].most.at(theta), self.bets[0].assumed.at(theta) * self.factors
        return np.minimum(most, assumed), assumed < most


class Monotone:
    """Capital of a mixture that never grows as the claim to be shown grows stronger.

    What shows ρ > 1 - 2 % shows ρ > 1 - 5 % too, so each bet counts with its smallest capital over
    all weaker claims. Between two knots of its bound a bet's log capital is a sum of logarithms
    linear in 1/bound, hence concave, and smallest at an end: the knots and theta itself suffice. A
    smaller capital keeps the error rate.
    """

    def __init__(self, bets: Bets, sums: PairedSums, stress: Floats, old_al: float) -> None:
        """Compute each bet's capital at the knots of its bound."""
        self._bets, self._sums, self._al = bets, sums, old_al
        self._stress = float(stress.max(initial=0.0))
        most = max(len(bet.knots) for bet in bets.bets)
        # By bet: its knots, from the weakest claim to the strongest, and before each the smallest
        # capital at a weaker one.
        self._knots = np.full((len(bets.bets), most), np.inf)
        self._smallest = np.full((len(bets.bets), most + 1), np.inf)
        for row, bet in enumerate(bets.bets):
            thetas = bet.knots[bet.knots >= bets.lowest][:: int(bets.sign)]
            ends = bet.ends(thetas, self._gains(thetas[:, None]), self._stress)
            self._knots[row, : len(thetas)] = bets.sign * thetas
            self._smallest[row, 1 : len(thetas) + 1] = np.minimum.accumulate(ends)

    def log_capital(self, theta: float) -> float:
        """Log of the mixture's capital, starting from 0."""
        return float(np.logaddexp.reduce(self.of_bets(theta)))

    def of_bets(self, theta: float) -> Floats:
        """Log of each bet's weighted capital; shape (bets,)."""
        bets, theta = self._bets, max(theta, self._bets.lowest)
        bounds, may_end = bets.bounds(theta)
        here = log_growth(self._gains(theta) / bounds[:, None]).sum(axis=-1) + bets.log_weights
        here = np.where(may_end & (self._stress > bounds), -np.inf, here)
        weaker = (self._knots < bets.sign * theta).sum(axis=1)
        return np.asarray(np.minimum(here, self._smallest[np.arange(len(here)), weaker]))

    def _gains(self, theta: float | Floats) -> Floats:
        return self._bets.sign * contrast(self._sums, theta, self._al)


def log_growth(gain: Floats) -> Floats:
    """log(1 + gain), minus infinity where the stake is lost."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log1p(np.maximum(gain, -1.0)))


def contrast(sums: PairedSums, theta: float | Floats, old_al: float | Floats) -> Floats:
    """Per sample, in decoding steps: mean above 0 exactly where ρ > theta; shape (clusters,), or
    (thetas, clusters) where `theta` has shape (thetas, 1).

    Steps that the old run needed, less theta times those of the new run, corrected for a
    difference in length at the old run's AL. `old_al` is the baseline's AL over the whole slice;
    an error in it enters only times the difference in length, since it cancels otherwise.
    """
    longer = (sums.new_tokens - sums.old_tokens) / old_al
    return np.asarray(sums.old_steps - theta * sums.new_steps + longer)


def stress(sums: PairedSums, longest: float, *, against_loss: bool) -> Floats:
    """Steps that each sample would have lost (or saved), were it `longest` steps; (clusters,).

    A short sample that lost a third of its speed says that long ones may too, though its own loss
    is a few steps. Only on the same tokens: whole outputs differ by chance as much as that.
    """
    if sums.evidence not in ("prefix", "replay"):
        return np.zeros_like(sums.old_steps)
    extra = sums.new_steps - sums.old_steps
    lost = (extra, CHANCE_LOST, SHORT_LOST)
    steps, chance, short = lost if against_loss else (-extra, CHANCE_SAVED, SHORT_SAVED)
    return np.asarray(np.maximum(steps - chance, 0.0) * longest / (sums.old_steps + short))


@lru_cache(maxsize=64)
def bets_of(rule: Rule, scale: Scale, evidence: Evidence, *, against_loss: bool) -> Bets:
    """The bets of one direction, fixed before the first sample; every look has the same.

    `against_loss` bets that AL has not fallen (pass, improved): what can ruin it is a sample that
    lost much, so the largest loss bounds the stakes. The other direction is bounded by the largest
    gain.
    """
    sign = 1.0 if against_loss else -1.0
    most = (scale.most_lost if against_loss else scale.most_saved)(evidence)
    lowest = scale.lowest if against_loss else 0.0
    if rule.reach == 0:
        return Bets((Bet(most, most, np.inf, 0.0),), sign, lowest)
    assumed = _assumed(rule.reach, scale)
    rungs = max(1, int(np.ceil(np.log2(most.at(1.0) / FEWEST_STEPS))))
    factors = [*(2.0**k for k in range(rungs)), np.inf]
    weights = np.log(_weights(rungs, same_tokens=evidence in ("prefix", "replay")))
    bets = [
        Bet(most, assumed, factor, float(weight))
        for factor, weight in zip(factors, weights, strict=True)
    ]
    return Bets(tuple(bets), sign, lowest)


def _assumed(reach: float, scale: Scale) -> Bound:
    """Steps of the largest loss that the rule reckons with: 1/reach times a sample's share of the
    margin |1 - theta|, and never less than `FEWEST_STEPS`."""
    slope = scale.mean_steps / reach
    width = FEWEST_STEPS / slope
    knots = [0.0, 1 - width, 1 + width, HIGHEST] if width < 1 else [0.0, 1 + width, HIGHEST]
    thetas = np.unique(np.minimum(knots, HIGHEST))
    return Bound(thetas, np.maximum(FEWEST_STEPS, slope * np.abs(1 - thetas)))


def _weights(rungs: int, *, same_tokens: bool) -> Floats:
    """Shares of the starting capital, shape (rungs + 1,)."""
    if same_tokens:
        weights = DECAY ** np.arange(rungs + 1, dtype=np.float64)
        return np.asarray(weights / weights.sum())
    between = rungs - 1
    if not between:
        return np.array([1 - LAST, LAST])
    return np.array([FIRST, *[(1 - FIRST - LAST) / between] * between, LAST])
