"""Populations of paired samples, healthy or with an injected loss, that sessions are drawn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from gate_traces import Arm, Floats, Ints, Rebuild
from numpy.typing import NDArray

from pytest_speedbench.stats.scale import Scale
from pytest_speedbench.stats.sums import Evidence, PairedSums

Pattern = Callable[[np.random.Generator, NDArray[np.str_]], Floats]
"""How a loss is spread: for every sample its share, relative to one another."""

NO_REJECTION = 1 << 30


@dataclass(frozen=True, slots=True)
class Population:
    """Paired samples; healthy pairs are in it in either order, so that their true ρ is 1."""

    name: str
    prefix: PairedSums
    whole: PairedSums
    scale: Scale

    @property
    def strata(self) -> NDArray[np.str_]:
        return np.asarray(self.prefix.strata)

    @property
    def truths(self) -> tuple[float, float]:
        """True ρ over common prefixes and over whole outputs."""
        return ratio(self.prefix), ratio(self.whole)


def healthy(rebuild: Rebuild) -> Population:
    """Two runs of one build, in either order."""
    return injected(rebuild, np.zeros(len(rebuild.samples)))


def one_way(rebuild: Rebuild) -> Population:
    """Two different builds: the first as the baseline only."""
    return _population(rebuild, [_order(rebuild, 0, np.zeros(len(rebuild.samples)), 0)])


def injected(rebuild: Rebuild, chances: Floats, seed: int = 0) -> Population:
    """The second run walked again with each accepted draft token rejected with the chance of its
    sample: at every position the conditional acceptance falls by that factor."""
    return _population(rebuild, [_order(rebuild, first, chances, seed) for first in (0, 1)])


def calibrated(rebuild: Rebuild, pattern: Pattern, target: float, seed: int = 0) -> Population:
    """The loss of this pattern that lowers AL over common prefixes by ``target``."""
    weights = pattern(np.random.default_rng(seed), rebuild.strata)

    def at(mean: float) -> Population:
        return injected(rebuild, np.minimum(1.0, mean * weights), seed)

    # The loss is nearly linear in the mean chance of a rejection: a few secants find it.
    last, loss, mean = 0.0, 0.0, target
    for _ in range(5):
        found = 1 - ratio(at(mean).prefix)
        if abs(found - target) < 1e-4 * target or found == loss:
            break
        slope = (found - loss) / (mean - last)
        last, loss, mean = mean, found, min(1.0, mean + (target - found) / slope)
    return at(mean)


def uneven(variation: float) -> Pattern:
    """Gamma distributed over samples with this coefficient of variation."""

    def draw(rng: np.random.Generator, strata: NDArray[np.str_]) -> Floats:
        return rng.gamma(variation**-2, variation**2, size=len(strata))

    return draw


def rare(share: float) -> Pattern:
    """The same for a random share of the samples, none for the others."""

    def draw(rng: np.random.Generator, strata: NDArray[np.str_]) -> Floats:
        return (rng.random(len(strata)) < share).astype(np.float64)

    return draw


def confined(stratum: str) -> Pattern:
    """Of variation 1 within one category, none elsewhere."""

    def draw(rng: np.random.Generator, strata: NDArray[np.str_]) -> Floats:
        return uneven(1.0)(rng, strata) * (strata == stratum)

    return draw


def only(population: Population, stratum: str) -> Population:
    """The slice of one category."""
    rows = np.flatnonzero(population.strata == stratum)
    prefix, whole, scale = population.prefix, population.whole, population.scale
    columns = (scale.tokens, scale.steps, scale.long_tokens, scale.long_steps)
    sizes = Scale(*(column[rows] for column in columns), scale.top)
    return Population(stratum, _rows(prefix, rows), _rows(whole, rows), sizes)


def category(rebuild: Rebuild, stratum: str) -> Rebuild:
    """The samples of one category."""
    inside = np.flatnonzero(rebuild.strata == stratum)
    turns = np.flatnonzero(np.isin(rebuild.owner, inside))
    arms = [Arm(arm.end[turns], arm.lengths[turns]) for arm in rebuild.arms]
    return replace(
        rebuild,
        samples=tuple(rebuild.samples[i] for i in inside),
        strata=rebuild.strata[inside],
        owner=np.searchsorted(inside, rebuild.owner[turns]),
        arms=(arms[0], arms[1]),
        divergences=rebuild.divergences[turns],
    )


def ratio(sums: PairedSums) -> float:
    """ρ with every category weighing the same, as it does in a session."""
    _, codes, counts = np.unique(sums.strata, return_inverse=True, return_counts=True)
    weights = 1 / counts[codes]
    old = float(weights @ sums.old_tokens / (weights @ sums.old_steps))
    return float(weights @ sums.new_tokens / (weights @ sums.new_steps)) / old


def variation_of_loss(population: Population) -> float:
    """How unevenly a real loss is spread: the coefficient of variation over samples of the steps
    added to common prefixes, less that of chance were a sample's loss a Poisson number."""
    sums = population.prefix
    rate = float((sums.new_steps - sums.old_steps).sum() / sums.old_steps.sum())
    expected = rate * sums.old_steps
    excess = float(((sums.new_steps - sums.old_steps - expected) ** 2 - expected).sum())
    return float(np.sqrt(max(0.0, excess) / (expected**2).sum()))


def _population(rebuild: Rebuild, orders: list[Floats]) -> Population:
    times = len(orders)
    samples, strata = rebuild.samples * times, tuple(rebuild.strata.tolist()) * times
    prefix, whole, long = np.split(np.concatenate(orders), (4, 8), axis=1)
    everything = float(whole[:, [0, 2]].sum())

    def sums(evidence: Evidence, table: Floats) -> PairedSums:
        covered = float(table[:, [0, 2]].sum()) / everything
        return PairedSums(evidence, samples, strata, *table.T, covered)

    scale = Scale(whole[:, 0], whole[:, 1], long[:, 0], long[:, 1], rebuild.draft_length + 1.0)
    return Population(rebuild.name, sums("prefix", prefix), sums("whole", whole), scale)


def _order(rebuild: Rebuild, first: int, chances: Floats, seed: int) -> Floats:
    """Columns of the prefix and of the whole as in PairedSums, then tokens and number of the
    baseline's steps of at least two; a row a sample."""
    rng = np.random.default_rng([seed, first])
    old = walk_again(rebuild.arms[first], np.zeros(len(rebuild.owner)), rng)
    new = walk_again(rebuild.arms[1 - first], chances[rebuild.owner], rng)
    cuts = common_cuts(old, new, rebuild.divergences)
    long = old.sizes >= 2
    columns = (
        *(part for walk, cut in zip((old, new), cuts, strict=True) for part in walk.until(cut)),
        *(part for walk in (old, new) for part in walk.until(walk.lengths)),
        np.where(long, old.sizes, 0).sum(axis=1),
        long.sum(axis=1),
    )
    n = len(rebuild.samples)
    return np.stack([np.bincount(rebuild.owner, part, minlength=n) for part in columns], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """``sizes`` has shape (turns, longest): tokens of the step that starts at each decoded token,
    0 where none does; ``lengths`` the decoded tokens of each turn."""

    sizes: Ints
    lengths: Ints

    def until(self, cuts: Ints) -> tuple[Ints, Ints]:
        """Tokens, and steps that start, before each turn's cut."""
        before = np.arange(self.sizes.shape[1])[None, :] < cuts[:, None]
        return cuts, ((self.sizes > 0) & before).sum(axis=1)


def common_cuts(old: Walk, new: Walk, divergences: Ints) -> tuple[Ints, Ints]:
    """For each run the last token up to each divergence at which both start a step, as in
    `stats.pairing`; the output's end where nothing diverges."""
    shared = min(old.sizes.shape[1], new.sizes.shape[1])
    positions = np.arange(shared)[None, :]
    both = (old.sizes[:, :shared] > 0) & (new.sizes[:, :shared] > 0)
    last = np.where(both & (positions <= divergences[:, None]), positions, 0).max(axis=1)
    same = (divergences >= old.lengths) & (divergences >= new.lengths)
    return np.where(same, old.lengths, last), np.where(same, new.lengths, last)


def walk_again(arm: Arm, chances: Floats, rng: np.random.Generator) -> Walk:
    """Decode every turn, each accepted draft token rejected with the chance of its turn.

    After a rejection the next step starts inside an old one, where the drafts that were accepted
    there are taken to be proposed again; the walk falls into step at the old one's end.
    """
    n, longest = arm.end.shape
    kept = _kept(chances, rng.random((n, longest)))
    rows = np.flatnonzero(arm.lengths)
    position = np.zeros(len(rows), dtype=np.int64)
    sizes = np.zeros((n, longest), dtype=np.int64)
    number = 0
    while len(rows):
        size = np.minimum(arm.end[rows, position] - position, kept[rows, number] + 1)
        sizes[rows, position] = size
        position = position + size
        going = position < arm.lengths[rows]
        rows, position, number = rows[going], position[going], number + 1
    return Walk(sizes, arm.lengths)


def _kept(chances: Floats, uniform: Floats) -> Ints:
    """Tokens kept before the first rejection: geometric, by inversion, so that a larger chance
    never keeps more."""
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.log(uniform) / np.log1p(-chances)[:, None]
    kept = np.where(chances[:, None] <= 0, NO_REJECTION, np.minimum(kept, NO_REJECTION))
    return kept.astype(np.int64)


def _rows(sums: PairedSums, rows: NDArray[np.intp]) -> PairedSums:
    return replace(
        sums,
        samples=tuple(sums.samples[row] for row in rows),
        strata=tuple(sums.strata[row] for row in rows),
        old_tokens=sums.old_tokens[rows],
        old_steps=sums.old_steps[rows],
        new_tokens=sums.new_tokens[rows],
        new_steps=sums.new_steps[rows],
    )
