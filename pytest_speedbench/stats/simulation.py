"""Sessions of a gate on simulated runs: how often it is wrong, and what it finds.

Both runs walk the same text where it is the same: whether draft token k of a step that starts at
token t is accepted hangs on one number per (t, k) that both builds share, as both see the same text
there; after the token at which an output diverges, numbers are drawn anew. A loss multiplies the
chances of each request by its own factor, unevenly over requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.stats.acceptance import AcceptanceProcess, expected_step
from pytest_speedbench.stats.data import Floats, Ints
from pytest_speedbench.stats.decision import Conclusion, verdict_of
from pytest_speedbench.stats.pairing import Pairs
from pytest_speedbench.stats.rule import Rule
from pytest_speedbench.stats.scale import Scale
from pytest_speedbench.stats.sums import Evidence, PairedSums

Uniform = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Category:
    """One category of the split.

    Attributes:
        process: how its drafts are accepted.
        lengths: shape (samples,), output tokens of each sample that decoding steps emit.
        shifts: shape (samples,), mean of each sample's shift, where its steps are known.
        doubts: shape (samples,), standard deviation of that; where they are not, the spread.
    """

    process: AcceptanceProcess
    lengths: Ints
    shifts: Floats
    doubts: Floats

    @classmethod
    def declared(cls, process: AcceptanceProcess, lengths: Ints) -> Category:
        """Samples of which only the length is known."""
        return cls(process, lengths, np.zeros(len(lengths)), np.full(len(lengths), process.spread))

    def drawn(self, samples: int, draws: np.random.Generator) -> tuple[Ints, Floats]:
        """Lengths and chances of ``samples`` prompts like these."""
        chosen = draws.integers(len(self.lengths), size=samples)
        shifts = self.shifts[chosen] + self.doubts[chosen] * draws.standard_normal(samples)
        return self.lengths[chosen], self.process.of_requests(shifts)


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """What decoding did to each request.

    Attributes:
        starts: shape (requests, longest length), whether a step starts at the token.
        steps: shape (requests,), decoding steps.
        long_tokens, long_steps: shape (requests,), tokens and number of steps of at least two.
        histogram: shape (DL + 2,), number of steps of each size.
    """

    starts: NDArray[np.bool_]
    steps: Floats
    long_tokens: Floats
    long_steps: Floats
    histogram: Ints

    def until(self, cuts: Ints) -> Floats:
        """Steps that start before each request's cut."""
        before = np.arange(self.starts.shape[1])[None, :] < cuts[:, None]
        return np.asarray((self.starts & before).sum(axis=1), dtype=np.float64)


def walk(chance: Floats, lengths: Ints, numbers: Uniform) -> Walk:
    """Decode every request to its length.

    Args:
        chance: shape (requests, DL).
        lengths: shape (requests,), tokens to emit, each at least 1.
        numbers: shape (requests, longest length, DL), uniform; a draft is accepted below chance.
    """
    n, longest, dl = numbers.shape
    # Tokens of a step that would start at each token, cut off by the end of the output.
    accepted = np.cumprod(numbers < chance[:, None, :], axis=2, dtype=np.int8).sum(axis=2)
    sizes = np.minimum(accepted + 1, lengths[:, None] - np.arange(longest)[None, :])
    rows, position = np.arange(n), np.zeros(n, dtype=np.int64)
    starts = np.zeros((n, longest), dtype=bool)
    while len(rows):
        starts[rows, position] = True
        position = position + sizes[rows, position]
        going = position < lengths[rows]
        rows, position = rows[going], position[going]
    long = starts & (sizes >= 2)
    return Walk(
        starts,
        starts.sum(axis=1).astype(np.float64),
        np.where(long, sizes, 0).sum(axis=1).astype(np.float64),
        long.sum(axis=1).astype(np.float64),
        np.bincount(sizes[starts], minlength=dl + 2),
    )


def common_cuts(old: Walk, new: Walk, lengths: Ints, divergences: Ints) -> Ints:
    """Last token up to each divergence at which both runs start a step, or the output's end."""
    positions = np.arange(old.starts.shape[1])[None, :]
    both = old.starts & new.starts & (positions <= divergences[:, None])
    last = np.where(both, positions, 0).max(axis=1)
    return np.asarray(np.where(divergences >= lengths, lengths, last))


def weakened(chance: Floats, lengths: Ints, loss: float, uneven: Floats) -> Floats:
    """Chances that lower micro AL by `loss`, each request by its own share `uneven` (mean 1)."""
    if not loss:
        return chance
    steps = float((lengths / expected_step(chance)).sum())
    low, high = 0.0, 50.0
    for _ in range(40):
        middle = (low + high) / 2
        weak = chance * np.exp(-middle * uneven)[:, None]
        fallen = steps / float((lengths / expected_step(weak)).sum())
        low, high = (middle, high) if fallen > 1 - loss else (low, middle)
    return np.asarray(chance * np.exp(-high * uneven)[:, None], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Session:
    """What is simulated: a split, the slices that are cases, the gate, and the kind of rebuild.

    Attributes:
        categories: by name.
        samples: of each category.
        slices: cases; a category's name, or "all".
        rule: margin and error rates of each comparison.
        divergence: share of outputs that diverge between healthy builds; 1: from their first token.
    """

    categories: Mapping[str, Category]
    samples: Mapping[str, int]
    slices: Sequence[str]
    rule: Rule
    divergence: float

    def verdicts(self, loss: float, seed: int) -> dict[str, Conclusion]:
        """The verdict of every case of one session in which AL fell by `loss` everywhere."""
        draws = np.random.default_rng([seed, round(1e6 * loss)])
        runs = {name: self._runs(name, loss, draws) for name in self.categories}
        return {
            name: conclude({name: runs[name]} if name in runs else runs, self.rule)
            for name in self.slices
        }

    def _runs(self, name: str, loss: float, draws: np.random.Generator) -> PairedRuns:
        lengths, chance = self.categories[name].drawn(self.samples[name], draws)
        (n, dl), longest = chance.shape, int(lengths.max())
        weak = weakened(chance, lengths, loss, draws.standard_exponential((n,)))
        divergences = np.minimum(lengths, draws.geometric(hazard(lengths, self.divergence), n) - 1)
        numbers = draws.random((n, longest, dl), dtype=np.float32)
        fresh = draws.random((n, longest, dl), dtype=np.float32)
        diverged = np.arange(longest)[None, :] >= divergences[:, None]
        old = walk(chance, lengths, numbers)
        new = walk(weak, lengths, np.where(diverged[:, :, None], fresh, numbers))
        return PairedRuns(lengths, divergences, old, new)


@dataclass(frozen=True, slots=True, eq=False)
class PairedRuns:
    """Two runs of the same requests.

    Attributes:
        lengths: shape (requests,), tokens that decoding steps emit.
        divergences: shape (requests,), the first token that differs; the length where none does.
        old, new: what decoding did.
    """

    lengths: Ints
    divergences: Ints
    old: Walk
    new: Walk


def hazard(lengths: Ints, divergence: float) -> float:
    """Chance per token of a divergence that makes `divergence` of the outputs diverge."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        share = float((1 - (1 - middle) ** lengths.astype(np.float64)).mean())
        low, high = (middle, high) if share < divergence else (low, middle)
    return max(high, 1e-12)


def conclude(runs: Mapping[str, PairedRuns], rule: Rule) -> Conclusion:
    """The gate's verdict on all categories of ``runs`` together."""
    strata = tuple(name for name, run in runs.items() for _ in run.lengths)
    samples = tuple(f"{name}/{i}" for name, run in runs.items() for i in range(len(run.lengths)))
    tables = [_table(run) for run in runs.values()]
    tokens, old, new, cuts, old_cut, new_cut, long_tokens, long_steps = np.concatenate(tables).T

    def sums(evidence: Evidence, t: Floats, before: Floats, after: Floats) -> PairedSums:
        covered = float(t.sum() / tokens.sum())
        return PairedSums(evidence, samples, strata, t, before, t, after, covered)

    pairs = Pairs(
        whole=sums("whole", tokens, old, new),
        prefix=sums("prefix", cuts, old_cut, new_cut) if cuts.any() else None,
        diverged=sum(int((run.divergences < run.lengths).sum()) for run in runs.values()),
        compared=len(tokens),
        only_old=(),
        only_new=(),
    )
    top = 1.0 + max(len(run.old.histogram) - 2 for run in runs.values())
    return verdict_of(pairs, Scale(tokens, old, long_tokens, long_steps, top), rule)


def _table(run: PairedRuns) -> Floats:
    """Columns of one category, a row a sample."""
    cuts = common_cuts(run.old, run.new, run.lengths, run.divergences)
    columns = (
        run.lengths,
        run.old.steps,
        run.new.steps,
        cuts,
        run.old.until(cuts),
        run.new.until(cuts),
        run.old.long_tokens,
        run.old.long_steps,
    )
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


@dataclass
class Tally:
    """Verdicts counted over sessions: by case, and sessions in which any case failed."""

    sessions: int = 0
    by_slice: dict[str, Counter[Conclusion]] = field(default_factory=dict)
    with_fail: int = 0

    def add(self, verdicts: Mapping[str, Conclusion]) -> None:
        self.sessions += 1
        for name, verdict in verdicts.items():
            self.by_slice.setdefault(name, Counter())[verdict] += 1
        self.with_fail += Conclusion.FAIL in verdicts.values()

    def count(self, name: str, *verdicts: Conclusion) -> int:
        return sum(self.by_slice[name][verdict] for verdict in verdicts)


def upper_limit(count: int, of: int, level: float = 0.95) -> float:
    """One-sided Clopper-Pearson limit (Biometrika 26, 1934) of a rate."""
    from scipy.special import betaincinv

    return 1.0 if count >= of else float(betaincinv(count + 1, of - count, level))
