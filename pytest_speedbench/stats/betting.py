"""Tests by betting: evidence that may be looked at after every sample, valid in the far tail.

A bettor who doubts "AL has fallen by δ or more" stakes a fixed share of the capital on every
sample. If the doubted claim is true, the game is unfair to the bettor and the chance that the
capital ever grows 1/α-fold is at most α, whatever the distribution (Ville 1939; Waudby-Smith &
Ramdas, JRSS B 86, 2024). No normality, no variance estimate, no schedule of looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.pairing import PairedSums

# So many steps are a matter of chance, and a sample shorter than this is not scaled up in full.
# Healthy rebuilds hardly ever differ by more than half a step before texts part, so a loss is
# suspect sooner than the gains that a loss elsewhere could hide behind.
CHANCE_LOST, SHORT_LOST = 0.5, 3.0
CHANCE_SAVED, SHORT_SAVED = 2.0, 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """A fixed mixture of bets.

    Attributes:
        bounds: shape (bets,), decoding steps, rising; a bet stakes 1/bound a step. It is lost for
            good by one sample that misses by more than its bound, or that would, were it as long
            as the longest. The last bound is one that no sample can miss.
        log_weights: shape (bets,), log of each bet's share of the starting capital.
    """

    bounds: Floats
    log_weights: Floats

    def paths(self, contrast: Floats, stress: Floats) -> Floats:
        """Log of each bet's weighted capital after each sample.

        `contrast` and `stress` have shape (..., samples), the result (bets, ..., samples). Within
        a block that holds every stratum, strata may have different means: the product of their
        expectations is at most the power of their mean, so complete blocks keep the guarantee.
        Giving up a bet only ever lowers the capital, and so keeps it too.
        """
        worst = np.maximum.accumulate(stress, axis=-1)
        paths = []
        for bound, weight in zip(self.bounds, self.log_weights, strict=True):
            path = np.cumsum(log_growth(contrast / bound), axis=-1) + weight
            lost = (worst > bound) & (bound < self.bounds[-1])
            paths.append(np.where(lost, -np.inf, path))
        return np.stack(paths)

    def log_capital(self, contrast: Floats, stress: Floats) -> float:
        """Log of the mixture's capital after all samples, starting from 0; inputs (samples,)."""
        return float(np.logaddexp.reduce(self.paths(contrast, stress)[:, -1]))


def log_growth(gain: Floats) -> Floats:
    """log(1 + gain), minus infinity where the stake is lost."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log1p(np.maximum(gain, -1.0)))


def contrast(sums: PairedSums, theta: float, old_al: float | Floats) -> Floats:
    """Per sample, in decoding steps: mean above 0 exactly where ρ > theta; shape (clusters,).

    Steps that the old run needed, less theta times those of the new run, corrected for a
    difference in length at the old run's AL. `old_al` is the baseline's AL over the whole slice;
    an error in it enters only times the difference in length, since it cancels otherwise.
    """
    longer = (sums.new_tokens - sums.old_tokens) / old_al
    return np.asarray(sums.old_steps - theta * sums.new_steps + longer)


def stress(sums: PairedSums, longest: float, *, against_loss: bool) -> Floats:
    """Steps that each sample would have lost (or saved), were it `longest` steps; (clusters,).

    A short sample that lost a third of its speed says that long ones may too, though its own loss
    is a few steps. Only over common prefixes: whole outputs differ by chance as much as that.
    """
    if sums.evidence != "prefix":
        return np.zeros_like(sums.old_steps)
    extra = sums.new_steps - sums.old_steps
    lost = (extra, CHANCE_LOST, SHORT_LOST)
    steps, chance, short = lost if against_loss else (-extra, CHANCE_SAVED, SHORT_SAVED)
    return np.asarray(np.maximum(steps - chance, 0.0) * longest / (sums.old_steps + short))


def bet_ladder(first: float, last: float, decay: float) -> Bets:
    """Bounds doubling from `first` until `last`, each with `decay` times the weight before.

    Raises:
        ValueError: bounds that are not positive.
    """
    if not 0 < first < np.inf or not 0 < last < np.inf:
        raise ValueError(f"bounds of bets must be positive, got {first!r} and {last!r}")
    rungs = max(0, int(np.ceil(np.log2(last / first) - 1e-9)))
    bounds = np.minimum(first * 2.0 ** np.arange(rungs + 1), max(first, last))
    if first >= last:
        bounds = np.array([last])
    weights = decay ** np.arange(len(bounds), dtype=np.float64)
    return Bets(bounds, np.log(weights / weights.sum()))
