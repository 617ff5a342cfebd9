"""Sessions drawn from a population, decided by the shipped rule at every block, vectorised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from gate_traces import Population
from numpy.typing import NDArray

from pytest_speedbench.stats.bets import Bets, contrast, stress
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.pairing import PairedSums
from pytest_speedbench.stats.rule import Rule, bets_of

PER_CATEGORY = 80
CHUNK = 250
NEVER = 10**9

Looks = NDArray[np.int64]
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Outcome:
    """First block at which each verdict is shown, per session; NEVER where it is not.

    The verdict is the earliest of the three; in one block fail goes before improved before pass.
    """

    passed: Looks
    failed: Looks
    improved: Looks

    def verdict_pass(self) -> NDArray[np.bool_]:
        """Sessions that end with pass."""
        return (self.passed < NEVER) & (self.passed < np.minimum(self.failed, self.improved))

    def verdict_fail(self) -> NDArray[np.bool_]:
        """Sessions that end with fail."""
        earlier = np.minimum(self.passed, self.improved)
        return (self.failed < NEVER) & (self.failed <= earlier)

    def stop(self) -> Looks:
        """Block of the verdict."""
        return np.minimum(self.passed, np.minimum(self.failed, self.improved))


def draws(
    population: Population, sessions: int, seed: int, per_category: int = PER_CATEGORY
) -> Iterator[Index]:
    """Chunks of (sessions, blocks, categories): every block one prompt of every category."""
    rng = np.random.default_rng(seed)
    strata = np.asarray(population.prefix.strata)
    members = [np.flatnonzero(strata == name) for name in np.unique(strata)]
    for start in range(0, sessions, CHUNK):
        rows = min(CHUNK, sessions - start)
        picks = [rng.choice(group, size=(rows, per_category)) for group in members]
        yield np.stack(picks, axis=-1)


def take(sums: PairedSums, index: Index) -> PairedSums:
    """The sums of drawn samples, in the shape of `index`."""
    return replace(
        sums,
        old_tokens=sums.old_tokens[index],
        old_steps=sums.old_steps[index],
        new_tokens=sums.new_tokens[index],
        new_steps=sums.new_steps[index],
    )


def decide(population: Population, index: Index, rule: Rule) -> Outcome:
    """Decide sessions; `index` has shape (sessions, blocks, samples of a block)."""
    whole = take(population.pairs.whole, index)
    al = whole.old_tokens.sum(axis=(1, 2)) / whole.old_steps.sum(axis=(1, 2))
    # Most sessions are over after a quarter of the blocks; only the others need the rest.
    outcome = _outcome(population, index[:, : index.shape[1] // 4], al, rule)
    still = np.flatnonzero(outcome.stop() == NEVER)
    if len(still):
        late = _outcome(population, index[still], al[still], rule)
        outcome.passed[still] = late.passed
        outcome.failed[still] = late.failed
        outcome.improved[still] = late.improved
    return outcome


def _outcome(population: Population, index: Index, al: Floats, rule: Rule) -> Outcome:
    prefix = _first_looks(population, population.prefix, index, al, rule, rule.prefix_share)
    rest = 1 - rule.prefix_share
    whole = _first_looks(population, population.pairs.whole, index, al, rule, rest)
    best = [np.minimum(a, b) for a, b in zip(prefix, whole, strict=True)]
    return Outcome(*best)


def _first_looks(
    population: Population, source: PairedSums, index: Index, al: Floats, rule: Rule, share: float
) -> tuple[Looks, Looks, Looks]:
    drawn = take(source, index)
    keep = bets_of(rule, population.scale, source.evidence, against_loss=True)
    drop = bets_of(rule, population.scale, source.evidence, against_loss=False)
    floor = contrast(drawn, 1 - rule.margin, al[:, None, None])
    roof = contrast(drawn, 1 + rule.margin, al[:, None, None])
    need, sure = -np.log(rule.alpha * share), -np.log(rule.fail_level * share)
    longest = population.scale.max_steps
    lost = stress(drawn, longest, against_loss=True)
    saved = stress(drawn, longest, against_loss=False)
    return (
        _first(keep, floor, lost, need, rule),
        _first(drop, -floor, saved, sure, rule),
        _first(keep, roof, lost, sure, rule),
    )


def _first(bets: Bets, values: Floats, strain: Floats, need: float, rule: Rule) -> Looks:
    """First block after which the capital has grown enough."""
    sessions, size = len(values), values.shape[-1]
    paths = bets.paths(values.reshape(sessions, -1), strain.reshape(sessions, -1))
    shown = np.logaddexp.reduce(paths[:, :, size - 1 :: size], axis=0) >= need
    shown[:, : -(-rule.min_clusters // size) - 1] = False
    return np.where(shown.any(axis=1), shown.argmax(axis=1), NEVER)


def token_share(population: Population, index: Index, looks: Looks) -> Floats:
    """Output tokens up to and with the block of the verdict, as a share of the session's."""
    spent = population.output_tokens[index].sum(axis=-1).cumsum(axis=-1)
    rows = np.arange(len(index))
    last = np.minimum(looks, index.shape[1] - 1)
    return np.asarray(spent[rows, last] / spent[:, -1])


def fixed_rule(population: Population, index: Index, tolerance: float) -> NDArray[np.bool_]:
    """Today's rule: fail where AL of 80 prompts lies below the baseline's by the tolerance."""
    flat = index.reshape(len(index), -1)[:, :80]
    drawn = take(population.pairs.whole, flat)
    return np.asarray(
        _al(drawn.new_tokens, drawn.new_steps)
        < (1 - tolerance) * _al(drawn.old_tokens, drawn.old_steps)
    )


def unpaired_rule(population: Population, index: Index, rule: Rule) -> NDArray[np.bool_]:
    """Fail where an unpaired interval of ρ over the whole split lies below 1 - δ."""
    flat = index.reshape(len(index), -1)
    drawn = take(population.pairs.whole, flat)
    old, new = _al(drawn.old_tokens, drawn.old_steps), _al(drawn.new_tokens, drawn.new_steps)
    error = np.hypot(
        _relative_error(drawn.old_tokens, drawn.old_steps, old),
        _relative_error(drawn.new_tokens, drawn.new_steps, new),
    )
    return np.asarray(np.log(new / old) + 2.326 * error < np.log1p(-rule.margin))


def _al(tokens: Floats, steps: Floats) -> Floats:
    return np.asarray(tokens.sum(axis=1) / steps.sum(axis=1))


def _relative_error(tokens: Floats, steps: Floats, al: Floats) -> Floats:
    residual = (tokens - al[:, None] * steps) / tokens.sum(axis=1)[:, None]
    return np.asarray(np.sqrt((residual**2).sum(axis=1)))
