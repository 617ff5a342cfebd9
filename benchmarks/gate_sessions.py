"""Sessions drawn from a population, decided by the shipped rule at every block, vectorised.

Two things differ from a session: the bounds of the bets come from all recorded prompts, not from
those drawn, and a fail by common prefixes that whole outputs contradict counts as a fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from gate_losses import Population
from numpy.typing import NDArray

from pytest_speedbench.stats.betting import Bet, Bets, bets_of, contrast, log_growth, stress
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.rule import Rule
from pytest_speedbench.stats.sums import PairedSums

PER_CATEGORY = 80
CHUNK = 125
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


def joined(outcomes: list[Outcome]) -> Outcome:
    """Several chunks of sessions as one."""
    return Outcome(
        np.concatenate([o.passed for o in outcomes]),
        np.concatenate([o.failed for o in outcomes]),
        np.concatenate([o.improved for o in outcomes]),
    )


def draws(population: Population, sessions: int, seed: int) -> Iterator[Index]:
    """Chunks of (sessions, blocks, categories): every block one prompt of every category.

    Populations with the same prompts get the same draws from one seed.
    """
    rng = np.random.default_rng(seed)
    strata = population.strata
    members = [np.flatnonzero(strata == name) for name in np.unique(strata)]
    for start in range(0, sessions, CHUNK):
        rows = min(CHUNK, sessions - start)
        picks = [rng.choice(group, size=(rows, PER_CATEGORY)) for group in members]
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
    need, sure = (np.log([rule.alpha, rule.fail_level])).tolist()
    floor, roof = 1 - rule.margin, 1 + rule.margin
    passed, failed, improved = (np.full(len(index), NEVER) for _ in range(3))
    rows = np.arange(len(index))
    for last in _stages(index):
        part = index[rows]
        passed[rows] = _looks(population, part, last, rule, floor, need, against_loss=True)
        failed[rows] = _looks(population, part, last, rule, floor, sure, against_loss=False)
        rows = np.flatnonzero(np.minimum(passed, failed) == NEVER)
        if not len(rows):
            break
    # Improved asks for more than pass does, so that it is never shown where pass is not.
    rows = np.flatnonzero(passed < NEVER)
    if len(rows):
        last = int(passed[rows].max()) + 1
        improved[rows] = _looks(population, index[rows], last, rule, roof, sure, against_loss=True)
    return Outcome(passed, failed, improved)


def ever(population: Population, index: Index, rule: Rule, *, loss: bool) -> NDArray[np.bool_]:
    """Whether a fail (`loss`) or a pass is shown at any look, whatever was shown before: at least
    as often as it is the verdict."""
    level = float(np.log(rule.fail_level if loss else rule.alpha))
    shown = np.zeros(len(index), dtype=bool)
    rows = np.arange(len(index))
    for last in _stages(index):
        floor = 1 - rule.margin
        looks = _looks(population, index[rows], last, rule, floor, level, against_loss=not loss)
        shown[rows] = looks < NEVER
        rows = np.flatnonzero(~shown)
        if not len(rows):
            break
    return shown


def _stages(index: Index) -> tuple[int, int]:
    """Most sessions are over after a quarter of the blocks; only the others need the rest."""
    blocks = index.shape[1]
    return -(-blocks // 4), blocks


def _looks(
    population: Population,
    index: Index,
    blocks: int,
    rule: Rule,
    theta: float,
    log_alpha: float,
    *,
    against_loss: bool,
) -> Looks:
    """First of so many blocks at which evidence, with its share of α, shows ρ beyond theta: whole
    outputs for a pass, common prefixes too for a fail."""
    shares = [(_prefix, rule.shared), (_whole, 1 - rule.shared)]
    looks = np.full(len(index), NEVER)
    for evidence, share in [(_whole, 1.0)] if against_loss else shares:
        capital = evidence(population, index, blocks, rule, theta, against_loss)
        found = _first(capital >= -log_alpha - np.log(share), rule, index.shape[-1])
        looks = np.minimum(looks, found)
    return looks


def _prefix(
    population: Population, index: Index, blocks: int, rule: Rule, theta: float, against_loss: bool
) -> Floats:
    """Log capital after each block, by the growth of each bet per sample: the same in every
    session, since up to the cut both arms have as many tokens and the baseline's AL plays no part.
    """
    sums, scale = population.prefix, population.scale
    bets = bets_of(rule, scale, sums.evidence, against_loss=against_loss)
    strain = stress(sums, scale.max_steps, against_loss=against_loss)

    def growth(bet: Bet, weaker: float) -> Floats:
        values = bets.sign * contrast(sums, weaker, scale.al)
        bound, may_end = bet.bound(weaker)
        each = _ended(log_growth(values / bound), strain, bound if may_end else np.inf)
        return np.asarray(each.astype(np.float32)[index[:, :blocks]].sum(axis=-1))

    return _capital(bets, theta, growth)


def _whole(
    population: Population, index: Index, blocks: int, rule: Rule, theta: float, against_loss: bool
) -> Floats:
    """The same for whole outputs, at the AL of each session's own baseline."""
    sums, scale = population.whole, population.scale
    tokens, steps = sums.old_tokens[index], sums.old_steps[index]
    al = (tokens.sum(axis=(1, 2)) / steps.sum(axis=(1, 2))).astype(np.float32)[:, None, None]
    drawn = single(take(sums, index[:, :blocks]))
    bets = bets_of(rule, scale, sums.evidence, against_loss=against_loss)
    # A loss that common prefixes show ends a bet on whole outputs too, as in `stats.evidence`.
    known = population.prefix if against_loss else sums
    strain = stress(known, scale.max_steps, against_loss=against_loss)[index[:, :blocks]]

    def growth(bet: Bet, weaker: float) -> Floats:
        values = np.float32(bets.sign) * contrast(drawn, np.float32(weaker), al)
        bound, may_end = bet.bound(weaker)
        each = _quick_log(1 + values / np.float32(bound))
        return np.asarray(_ended(each, strain, bound if may_end else np.inf).sum(axis=-1))

    return _capital(bets, theta, growth)


def _ended(growth: Floats, strain: Floats, bound: float) -> Floats:
    """Minus infinity for a sample that ends a bet with this assumed bound for good."""
    return growth if bound == np.inf else np.where(strain > bound, -np.inf, growth)


def _capital(bets: Bets, theta: float, growth: Callable[[Bet, float], Floats]) -> Floats:
    """Log capital of the mixture, each bet at its smallest over all weaker claims, as `Monotone`.

    `growth` gives the log growth of one bet in each block.
    """
    theta = max(theta, bets.lowest)
    paths = []
    for bet in bets.bets:
        knots = bet.knots[bet.knots >= bets.lowest]
        weaker = knots[bets.sign * knots < bets.sign * theta]
        path = _path(growth(bet, theta))
        for knot in weaker:
            path = np.minimum(path, _path(growth(bet, float(knot))))
        paths.append(path + bet.log_weight)
    return np.asarray(np.logaddexp.reduce(np.stack(paths), axis=0))


def _path(growth: Floats) -> Floats:
    return np.asarray(growth.astype(np.float64).cumsum(axis=-1))


def single(sums: PairedSums) -> PairedSums:
    """In single precision: several times faster, and good to a millionth of the capital needed."""
    parts = (sums.old_tokens, sums.old_steps, sums.new_tokens, sums.new_steps)
    old_tokens, old_steps, new_tokens, new_steps = (part.astype(np.float32) for part in parts)
    return PairedSums(
        sums.evidence,
        sums.samples,
        sums.strata,
        old_tokens,
        old_steps,
        new_tokens,
        new_steps,
        sums.coverage,
    )


def _quick_log(capital: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(capital, 0)))


def _first(shown: NDArray[np.bool_], rule: Rule, size: int) -> Looks:
    """First block after which the capital has grown enough, with enough samples for a verdict."""
    shown = shown.copy()
    shown[:, : -(-rule.min_clusters // size) - 1] = False
    return np.where(shown.any(axis=1), shown.argmax(axis=1), NEVER)


def token_share(population: Population, index: Index, looks: Looks) -> Floats:
    """New tokens up to and with the block of the verdict, as a share of the session's."""
    spent = population.whole.new_tokens[index].sum(axis=-1).cumsum(axis=-1)
    last = np.minimum(looks, index.shape[1] - 1)
    return np.asarray(spent[np.arange(len(index)), last] / spent[:, -1])


def fixed_rule(population: Population, index: Index, tolerance: float) -> NDArray[np.bool_]:
    """Today's rule: fail where AL of 80 prompts lies below the baseline's by the tolerance."""
    flat = index.reshape(len(index), -1)[:, :80]
    drawn = take(population.whole, flat)
    return np.asarray(
        _al(drawn.new_tokens, drawn.new_steps)
        < (1 - tolerance) * _al(drawn.old_tokens, drawn.old_steps)
    )


def unpaired_rule(population: Population, index: Index, margin: float) -> NDArray[np.bool_]:
    """Fail where an unpaired 98 % interval of ρ over the whole split lies below 1 - δ."""
    flat = index.reshape(len(index), -1)
    drawn = take(population.whole, flat)
    old, new = _al(drawn.old_tokens, drawn.old_steps), _al(drawn.new_tokens, drawn.new_steps)
    error = np.hypot(
        _relative_error(drawn.old_tokens, drawn.old_steps, old),
        _relative_error(drawn.new_tokens, drawn.new_steps, new),
    )
    return np.asarray(np.log(new / old) + 2.326 * error < np.log1p(-margin))


def _al(tokens: Floats, steps: Floats) -> Floats:
    return np.asarray(tokens.sum(axis=1) / steps.sum(axis=1))


def _relative_error(tokens: Floats, steps: Floats, al: Floats) -> Floats:
    residual = (tokens - al[:, None] * steps) / tokens.sum(axis=1)[:, None]
    return np.asarray(np.sqrt((residual**2).sum(axis=1)))
