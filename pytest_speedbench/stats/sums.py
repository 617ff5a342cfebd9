"""Tokens and decoding steps of paired samples: what every comparison of AL rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.stats import delta
from pytest_speedbench.stats.data import Floats, stratum_codes
from pytest_speedbench.stats.estimates import MIN_CLUSTERS, Estimate, check_level
from pytest_speedbench.stats.intervals import ratio_bounds

Evidence = Literal["whole", "prefix", "replay"]


@dataclass(frozen=True, slots=True, eq=False)
class PairedSums:
    """Tokens and decoding steps of each paired sample in both runs.

    The four arrays have shape (clusters,). `coverage` is the share of both runs' decoded tokens
    (of the paired turns) that the sums rest on.
    """

    evidence: Evidence
    samples: tuple[str, ...]
    strata: tuple[str, ...]
    old_tokens: Floats
    old_steps: Floats
    new_tokens: Floats
    new_steps: Floats
    coverage: float

    @property
    def codes(self) -> NDArray[np.intp]:
        """Stratum numbers, shape (clusters,)."""
        return stratum_codes(self.strata)

    def al_ratio(self, level: float = 0.95, top: float | None = None) -> Estimate:
        """ρ = AL new / AL old, with bounds that hold for few and for skewed samples.

        As the ratio of the steps that the new tokens would have taken at the old pace to those that
        they took; see `ratio_bounds`. `top` is the most tokens of a step, where known.

        Raises:
            NoData: no tokens or steps in one of the runs.
        """
        check_level(level)
        codes = self.codes
        log_value, _ = delta.log_ratio_of_ratios(
            (self.new_tokens, self.new_steps), (self.old_tokens, self.old_steps), codes
        )
        value, n = float(np.exp(log_value)), len(codes)
        if n < MIN_CLUSTERS:
            return Estimate(value, None, None, n, level)
        al = float(self.old_tokens.sum() / self.old_steps.sum())
        longest = float(self.old_steps.max())
        low, high = ratio_bounds(
            self.old_steps + (self.new_tokens - self.old_tokens) / al,
            self.new_steps,
            codes,
            level,
            lowest=(longest, max(al, 1.0) * longest),
            highest=(longest, 0.0 if top is None else longest * min(1.0, al / top)),
        )
        return Estimate(value, min(low, value), max(high, value), n, level)


@dataclass(frozen=True, slots=True, eq=False)
class ReplayedSums:
    """Replayed samples: both builds over the same tokens of the baseline's text, in whole steps.

    Attributes:
        sums: of evidence "replay".
        old_distance: shape (clusters,), sum over the baseline's counted steps of the log distance
            from the last prefill of the new build; see `stats.replay`.
        new_distance: the same over the new build's steps.
        divergences: tokens at which the new build differed from the baseline's text.
        given_up: samples that diverged too often and are left out on both sides from there on.
        scored: of how many divergences the target was asked.
        defects: of those, how many are not numerical ties.
        unscored: why it was not asked.
    """

    sums: PairedSums
    old_distance: Floats
    new_distance: Floats
    divergences: int
    given_up: int
    scored: int = 0
    defects: int = 0
    unscored: str = ""


def merge_sums(parts: Sequence[PairedSums]) -> PairedSums:
    """Join sums of disjoint sets of samples, in order; at least one part."""
    tokens = [float(part.old_tokens.sum() + part.new_tokens.sum()) for part in parts]
    everything = sum(t / part.coverage for t, part in zip(tokens, parts, strict=True) if t)
    return PairedSums(
        evidence=parts[0].evidence,
        samples=tuple(name for part in parts for name in part.samples),
        strata=tuple(name for part in parts for name in part.strata),
        old_tokens=np.concatenate([part.old_tokens for part in parts]),
        old_steps=np.concatenate([part.old_steps for part in parts]),
        new_tokens=np.concatenate([part.new_tokens for part in parts]),
        new_steps=np.concatenate([part.new_steps for part in parts]),
        coverage=sum(tokens) / everything if everything else 0.0,
    )


def merge_replayed(parts: Sequence[ReplayedSums]) -> ReplayedSums:
    """Join replayed samples of disjoint sets, in order; at least one part."""
    return ReplayedSums(
        sums=merge_sums([part.sums for part in parts]),
        old_distance=np.concatenate([part.old_distance for part in parts]),
        new_distance=np.concatenate([part.new_distance for part in parts]),
        divergences=sum(part.divergences for part in parts),
        given_up=sum(part.given_up for part in parts),
        scored=sum(part.scored for part in parts),
        defects=sum(part.defects for part in parts),
        unscored=parts[0].unscored,
    )
