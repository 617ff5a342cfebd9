"""Sessions of two builds along one text, drawn anew for each session, many samples at once.

Both builds see the same text up to a numerical tie, where each takes either token. A draft token is
accepted with a chance of its position in the draft and of its sample; at a tied token with half of
it, since the draft fits either build alike. ``agree`` is the chance that both builds decide alike
at a place, as the same text makes them. After its first divergence a free output is another text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.stats.pairing import Pairs
from pytest_speedbench.stats.replay import DIVERGENCES, TOKENS_A_DIVERGENCE
from pytest_speedbench.stats.scale import Scale
from pytest_speedbench.stats.sums import PairedSums, ReplayedSums

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class World:
    """How the two builds decode.

    Attributes:
        accept: chance that a draft token is accepted, by position in the draft.
        ties: chance of a tie at a token; half of the ties are divergences.
        spread: standard deviation over samples of the acceptance's logit.
        agree: chance that both builds decide alike at a place.
        loss: chance that the new build rejects a draft token that it would accept.
        onset: position in the output from which on it does.
        heals: tokens after a prefill in which it does not.
        tokens: decoded tokens of an output; the prefill's is one more where ``prefill`` is 1.
        prefill: tokens that a prefill emits without a draft.
    """

    accept: tuple[float, ...] = (0.62, 0.6, 0.6)
    ties: float = 0.01
    spread: float = 0.5
    agree: float = 0.98
    loss: float = 0.0
    onset: int = 0
    heals: int = 0
    tokens: int = 128
    prefill: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """Many samples: shape (samples,) each. ``tokens``, ``old`` and ``new`` are what replay counts;
    ``prefix`` and ``whole`` hold the four columns of their sums, a row a sample."""

    tokens: Ints
    old: Ints
    new: Ints
    old_distance: Floats
    new_distance: Floats
    divergences: Ints
    given_up: Bools
    prefix: Ints
    whole: Ints
    long: Ints
    decoded: Ints


class Walks:
    """One text for each of many samples, and how long a step is from every place of it."""

    def __init__(self, world: World, samples: int, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        self.end = world.tokens + world.prefill
        self.chance = _chances(world, samples, rng)
        self.tie = rng.random((samples, self.end)) < world.ties
        shared = self._numbers(samples)
        alike = rng.random((samples, self.end, 1)) < world.agree
        self.old = self._next(shared, self.tie)
        self.new, self.lossy = self._both(np.where(alike, shared, self._numbers(samples)))
        # What the new build decodes after its first divergence is a text of its own.
        self.other, self.other_lossy = self._both(self._numbers(samples))
        self.rows = np.arange(samples)
        self.starts = self._starts()
        self.later = self._later()

    def _numbers(self, samples: int) -> Floats:
        return self.rng.random((samples, self.end, len(self.world.accept)))

    def _next(self, numbers: Floats, tie: Bools, chance: float = 1.0) -> Ints:
        """Where the next step starts, for one that starts at each place."""
        allowed = self.chance[:, None, :] * chance
        kept = np.ones(numbers.shape[:2], dtype=bool)
        size = np.ones(numbers.shape[:2], dtype=np.int64)
        for depth in range(numbers.shape[2]):
            tied = np.zeros_like(tie)
            tied[:, : self.end - depth] = tie[:, depth:]
            kept &= numbers[:, :, depth] < allowed[:, :, depth] * np.where(tied, 0.5, 1.0)
            size += kept
        return np.minimum(np.arange(self.end) + size, self.end)

    def _both(self, numbers: Floats) -> tuple[Ints, Ints]:
        healthy = self._next(numbers, self.tie)
        return healthy, self._next(numbers, self.tie, 1 - self.world.loss)

    def _starts(self) -> Bools:
        """Places at which a step of the baseline starts, its end among them."""
        marks = np.zeros((len(self.rows), self.end + 1), dtype=bool)
        at = np.full(len(self.rows), self.world.prefill)
        while True:
            marks[self.rows, at] = True
            if (at == self.end).all():
                return marks
            at = np.where(at < self.end, self.old[self.rows, np.minimum(at, self.end - 1)], at)

    def _later(self) -> Ints:
        """The first start at or after each place; the end where none is left."""
        places = np.where(self.starts, np.arange(self.end + 1), self.end)
        places = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
        return np.concatenate([places, np.full((len(places), 2), self.end)], axis=1)

    def step(self, rows: Ints, at: Ints, prompt: Ints, *, free: Bools | None = None) -> Ints:
        """Where the new build's next step starts. ``free``: it is past its first divergence."""
        world, inside = self.world, np.minimum(at, self.end - 1)
        losing = (at >= world.onset) & (at - prompt >= world.heals)
        found = np.where(losing, self.lossy[rows, inside], self.new[rows, inside])
        if free is not None:
            other = np.where(losing, self.other_lossy[rows, inside], self.other[rows, inside])
            found = np.where(free, other, found)
        return np.where(at < self.end, found, at)


def draw(world: World, samples: int, rng: np.random.Generator) -> Sample:
    """The sums of many samples, each with a text, a baseline and a new build of its own."""
    walks = Walks(world, samples, rng)
    end, prefill, rows = walks.end, world.prefill, walks.rows
    counted = np.zeros((5, samples))
    divergences = np.zeros(samples, dtype=np.int64)
    given_up = np.zeros(samples, dtype=bool)
    decoded = np.full(samples, world.tokens)
    prompt = np.zeros(samples, dtype=np.int64)
    most = DIVERGENCES + end // TOKENS_A_DIVERGENCE
    prefix = whole = None
    while len(rows):
        differs = walks.tie[rows] & (rng.random((len(rows), end)) < 0.5)
        differs &= np.arange(end) >= prompt[:, None]
        apart = np.where(differs.any(axis=1), differs.argmax(axis=1), end)
        found = _segment(walks, rows, prompt, apart)
        counted[:, rows] += found
        if prefix is None:
            tokens, old, new = found[:3].astype(np.int64)
            prefix, whole = np.stack([tokens, old, tokens, new], axis=1), _whole(walks, apart)
        else:
            decoded[rows] += end - prompt - prefill
        diverged = apart < end
        divergences[rows] += diverged
        first = walks.later[rows, np.minimum(apart + 1 + prefill, end)]
        resumes = diverged & (first < end)
        lost = resumes & (divergences[rows] > most)
        given_up[rows] = lost
        going = resumes & ~lost
        rows, prompt = rows[going], first[going] - prefill
    assert prefix is not None
    assert whole is not None
    long = _long_steps(walks)
    integers = counted[:3].astype(np.int64)
    return Sample(*integers, *counted[3:], divergences, given_up, prefix, whole, long, decoded)


def _segment(walks: Walks, rows: Ints, prompt: Ints, apart: Ints) -> Floats:
    """(tokens, old steps, new steps, old distance, new distance) of one request of each sample."""
    end = walks.end
    first = np.minimum(prompt + walks.world.prefill, end)
    logs = np.concatenate([[0.0], np.cumsum(np.log1p(np.arange(end + 1)))])

    def distance(start: Ints, stop: Ints) -> Floats:
        size = np.maximum(stop - start, 1)
        total = logs[np.maximum(stop - prompt, 0)] - logs[np.maximum(start - prompt, 0)]
        return np.asarray(total / size)

    at, cut = first.copy(), first.copy()
    steps = steps_at_cut = np.zeros(len(rows))
    far = far_at_cut = np.zeros(len(rows))
    while True:
        common = (at <= apart) & walks.starts[rows, at]
        cut = np.where(common, at, cut)
        steps_at_cut = np.where(common, steps, steps_at_cut)
        far_at_cut = np.where(common, far, far_at_cut)
        going = (at < end) & (at <= apart)
        if not going.any():
            break
        after = walks.step(rows, at, prompt)
        far = np.where(going, far + distance(at, after), far)
        steps = steps + going
        at = np.where(going, after, at)
    old_far, old_steps, at = np.zeros(len(rows)), np.zeros(len(rows)), first.copy()
    while (going := at < cut).any():
        after = walks.old[rows, np.minimum(at, end - 1)]
        old_far = np.where(going, old_far + distance(at, after), old_far)
        old_steps, at = old_steps + going, np.where(going, after, at)
    return np.stack([cut - first, old_steps, steps_at_cut, old_far, far_at_cut])


def _whole(walks: Walks, apart: Ints) -> Ints:
    """The four columns of whole outputs, the new build's free."""
    at, steps = np.full(len(walks.rows), walks.world.prefill), np.zeros(len(walks.rows), np.int64)
    prompt = np.zeros_like(at)
    while (going := at < walks.end).any():
        steps = steps + going
        at = walks.step(walks.rows, at, prompt, free=at > apart)
    tokens = np.full(len(walks.rows), walks.world.tokens)
    old = walks.starts[:, : walks.end].sum(axis=1)
    return np.stack([tokens, old, tokens, steps], axis=1)


def _long_steps(walks: Walks) -> Ints:
    """Tokens and number of the baseline's steps of at least two tokens."""
    sizes = np.where(walks.starts[:, : walks.end], walks.old - np.arange(walks.end), 0)
    long = sizes >= 2
    return np.stack([np.where(long, sizes, 0).sum(axis=1), long.sum(axis=1)], axis=1)


def _chances(world: World, samples: int, rng: np.random.Generator) -> Floats:
    logits = np.log(np.array(world.accept)) - np.log1p(-np.array(world.accept))
    shift = rng.normal(0.0, world.spread, size=(samples, 1))
    return np.asarray(1 / (1 + np.exp(-(logits + shift))))


def pairs_of(found: Sample, rows: slice, world: World, *, replay: bool) -> tuple[Pairs, Scale]:
    """What the shipped rule is given for some of the samples, with replay or without."""
    n = len(found.tokens[rows])
    names, strata = tuple(map(str, range(n))), ("a",) * n
    whole, prefix = found.whole[rows].T.astype(float), found.prefix[rows].T.astype(float)
    everything = float(whole[0].sum())
    sums = PairedSums("whole", names, strata, *whole, 1.0)
    begun = PairedSums("prefix", names, strata, *prefix, float(prefix[0].sum()) / everything)
    followed = None
    if replay:
        tokens, old, new = (c[rows].astype(float) for c in (found.tokens, found.old, found.new))
        followed = ReplayedSums(
            PairedSums(
                "replay", names, strata, tokens, old, tokens, new, float(tokens.sum()) / everything
            ),
            found.old_distance[rows],
            found.new_distance[rows],
            int(found.divergences[rows].sum()),
            int(found.given_up[rows].sum()),
        )
    diverged = int((found.divergences[rows] > 0).sum())
    long = found.long[rows].T.astype(float)
    scale = Scale(whole[0], whole[1], long[0], long[1], len(world.accept) + 1.0)
    return Pairs(sums, begun, diverged, n, (), (), replay=followed), scale
