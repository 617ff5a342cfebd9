"""Sessions of two builds along one text, drawn anew for each session, many samples at once.

Both builds see the same text up to a numerical tie, where each takes either token. A draft token is
accepted with a chance of its position in the draft and of its sample; at a tied token with half of
it, since the draft fits either build alike. ``agree`` is the chance that both builds decide alike
at a place, as the same text makes them. After its first divergence a free output is another text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.stats.pairing import Pairs
from pytest_speedbench.stats.replay import DIVERGENCES, TOKENS_A_DIVERGENCE
from pytest_speedbench.stats.scale import Scale
from pytest_speedbench.stats.sums import PairedSums, ReplayedSums

STRETCH = 24  # tokens that a defect of the text spoils

Ints = NDArray[np.int64]
Short = NDArray[np.int16]
Floats = NDArray[np.float64]
Single = NDArray[np.float32]
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
        part: share of the samples that lose.
        gain: by so much the chance of acceptance of the other samples rises.
        onset: position in the output from which on it loses.
        heals: tokens after a prefill in which it does not.
        defects: chance that a defect spoils the text from a token on: the new build diverges there,
            and loses drafts in the ``STRETCH`` tokens that follow, and nowhere else.
        tokens: decoded tokens of an output; the prefill's is one more where ``prefill`` is 1.
        prefill: tokens that a prefill emits without a draft.
    """

    accept: tuple[float, ...] = (0.62, 0.6, 0.6)
    ties: float = 0.01
    spread: float = 0.5
    agree: float = 0.98
    loss: float = 0.0
    part: float = 1.0
    gain: float = 0.0
    onset: int = 0
    heals: int = 0
    defects: float = 0.0
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


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of many walks, in the order of each: number of the walk, first token, token after."""

    walk: Ints
    at: Ints
    after: Ints


@dataclass(frozen=True, slots=True)
class Requests:
    """One further request for each of ``rows``: from ``prompt`` on, and where it diverges."""

    rows: Ints
    prompt: Ints
    apart: Ints


class Walks:
    """One text for each of many samples, and how long a step is from every place of it."""

    def __init__(self, world: World, samples: int, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        self.end, self.rows = world.tokens + world.prefill, np.arange(samples)
        shape = (samples, self.end)
        tie = rng.random(shape, dtype=np.float32) < world.ties
        begins = rng.random(shape, dtype=np.float32) < world.defects
        self._differs = np.nonzero(tie | begins)
        self._certain = begins[self._differs]
        chances = self._chances(tie)
        losing = self._losing(begins)
        shared = rng.random(shape, dtype=np.float32)
        self.old = self._next(shared, chances[0])
        alike = rng.random(shape, dtype=np.float32) < world.agree
        new = np.where(alike, shared, rng.random(shape, dtype=np.float32))
        # What the new build decodes after its first divergence is a text of its own.
        other = rng.random(shape, dtype=np.float32)
        tables = []
        for numbers in (new, other):
            healthy, lossy = (self._next(numbers, kind) for kind in chances)
            tables += [healthy, np.where(losing, lossy, healthy)]
        self._tables = np.stack(tables).reshape(-1)
        self.starts = np.zeros((samples, self.end + 1), dtype=bool)
        steps = self.old_steps(self.rows, np.full(samples, world.prefill), self.rows * 0 + self.end)
        self.starts[steps.walk, steps.at] = True
        self.starts[:, self.end] = True
        self.long = self._long(steps)
        places = np.where(self.starts, np.arange(self.end + 1), self.end)
        self._later = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]

    def _chances(self, tie: Bools) -> list[list[Single]]:
        """Chance that a step has more than 1, 2, … tokens, from each place: healthy, and lossy."""
        world, samples = self.world, len(self.rows)
        logits = np.log(np.array(world.accept)) - np.log1p(-np.array(world.accept))
        shift = self.rng.normal(0.0, world.spread, size=(samples, 1))
        accepted = (1 / (1 + np.exp(-(logits + shift)))).astype(np.float32)
        loses = self.rng.random((samples, 1)) < world.part
        changed = accepted * np.where(loses, 1 - world.loss, 1 + world.gain).astype(np.float32)
        half = np.ones((samples, self.end + len(world.accept)), dtype=np.float32)
        half[:, : self.end][tie] = 0.5
        found = []
        for single in (accepted, np.minimum(changed, 1)):
            left, kind = np.ones((samples, self.end), dtype=np.float32), []
            for depth in range(len(world.accept)):
                left = left * single[:, depth : depth + 1] * half[:, depth : depth + self.end]
                kind.append(left)
            found.append(kind)
        return found

    def _losing(self, begins: Bools) -> Bools:
        """Places at which the acceptance of the new build is not the old one's."""
        if not self.world.defects:
            return np.broadcast_to(np.arange(self.end) >= self.world.onset, begins.shape)
        until = np.cumsum(begins, axis=1)
        until[:, STRETCH:] -= until[:, :-STRETCH].copy()
        return np.asarray(until > 0)

    def _next(self, numbers: Single, chances: list[Single]) -> Short:
        """Where the next step starts, for one that starts at each place."""
        size = np.ones(numbers.shape, dtype=np.int16)
        for chance in chances:
            size += numbers < chance
        return np.minimum(np.arange(self.end, dtype=np.int16) + size, np.int16(self.end))

    def _long(self, steps: Steps) -> Ints:
        """Tokens and number of the baseline's steps of at least two tokens."""
        sizes = steps.after - steps.at
        row, sizes = steps.walk[sizes >= 2], sizes[sizes >= 2]
        n = len(self.rows)
        return np.stack([np.bincount(row, sizes, n), np.bincount(row, minlength=n)], axis=1).astype(
            np.int64
        )

    # -- walks -------------------------------------------------------------------------------

    def old_steps(self, rows: Ints, first: Ints, stop: Ints) -> Steps:
        """The baseline's steps that start in ``first`` … ``stop`` - 1, for each of ``rows``."""
        flat = self.old.reshape(-1)
        return self._walk(first, stop, lambda walk, at: flat[rows[walk] * self.end + at])

    def new_steps(self, asked: Requests, stop: Ints, *, free: bool = False) -> Steps:
        """The new build's steps that start before ``stop``. ``free``: past its divergence the
        output is a text of its own."""
        size, heals = self.old.size, self.world.heals

        def after(walk: Ints, at: Ints) -> Short:
            index = asked.rows[walk] * self.end + at
            index += size * (at - asked.prompt[walk] >= heals) if heals else size
            if free:
                index += 2 * size * (at > asked.apart[walk])
            return np.asarray(self._tables[index])

        return self._walk(np.minimum(asked.prompt + self.world.prefill, self.end), stop, after)

    def _walk(self, first: Ints, stop: Ints, after: Callable[[Ints, Ints], Short]) -> Steps:
        stop = np.minimum(stop, self.end)
        walk = np.flatnonzero(first < stop)
        at, found = first[walk], []
        while len(walk):
            to = after(walk, at).astype(np.int64)
            found.append((walk, at, to))
            going = to < stop[walk]
            walk, at = walk[going], to[going]
        empty = np.zeros(0, dtype=np.int64)
        columns = zip(*found, strict=True) if found else ((empty,),) * 3
        return Steps(*(np.concatenate(column) for column in columns))

    # -- replay ------------------------------------------------------------------------------

    def requests(self, divergences: Ints, given_up: Bools) -> Iterator[Requests]:
        """The free outputs, then every further request along the baseline's text; counts the
        divergences of each sample on the way, and notes which are given up."""
        prefill, end = self.world.prefill, self.end
        most = DIVERGENCES + end // TOKENS_A_DIVERGENCE
        rows, prompt = self.rows, np.zeros(len(self.rows), dtype=np.int64)
        while len(rows):
            apart = self._apart(rows, prompt)
            yield Requests(rows, prompt, apart)
            diverged = apart < end
            divergences[rows] += diverged
            first = self._later[rows, np.minimum(apart + 1 + prefill, end)]
            resumes = diverged & (first < end)
            lost = resumes & (divergences[rows] > most)
            given_up[rows] = lost
            going = resumes & ~lost
            rows, prompt = rows[going], first[going] - prefill

    def _apart(self, rows: Ints, prompt: Ints) -> Ints:
        """Where each request first differs from the text; its end where it does not."""
        row, place = self._differs
        seen = self._certain | (self.rng.random(len(row)) < 0.5)
        number = np.full(len(self.rows), -1)
        number[rows] = np.arange(len(rows))
        walk = number[row]
        seen &= (walk >= 0) & (place >= prompt[walk])
        apart = np.full(len(rows), self.end)
        # Of several the first one counts, and the last to be written stays.
        apart[walk[seen][::-1]] = place[seen][::-1]
        return apart


def draw(world: World, samples: int, rng: np.random.Generator) -> Sample:
    """The sums of many samples, each with a text, a baseline and a new build of its own."""
    walks = Walks(world, samples, rng)
    counted = np.zeros((5, samples))
    divergences, given_up = np.zeros(samples, dtype=np.int64), np.zeros(samples, dtype=bool)
    decoded = np.full(samples, world.tokens)
    prefix = whole = None
    for asked in walks.requests(divergences, given_up):
        found = _segment(walks, asked)
        counted[:, asked.rows] += found
        if prefix is None:
            tokens, old, new = found[:3].astype(np.int64)
            prefix, whole = np.stack([tokens, old, tokens, new], axis=1), _whole(walks, asked)
        else:
            decoded[asked.rows] += walks.end - asked.prompt - world.prefill
    assert prefix is not None
    assert whole is not None
    integers = counted[:3].astype(np.int64)
    return Sample(
        *integers, *counted[3:], divergences, given_up, prefix, whole, walks.long, decoded
    )


def _segment(walks: Walks, asked: Requests) -> Floats:
    """(tokens, old steps, new steps, old distance, new distance) of one request of each sample."""
    rows, apart = asked.rows, asked.apart
    first = np.minimum(asked.prompt + walks.world.prefill, walks.end)
    new = walks.new_steps(asked, apart + 1)
    common = (new.after <= apart[new.walk]) & walks.starts[rows[new.walk], new.after]
    cut = first.copy()
    cut[new.walk[common]] = new.after[common]  # the last of each walk stays
    old = walks.old_steps(rows, first, cut)
    inside = new.at < cut[new.walk]
    new = Steps(new.walk[inside], new.at[inside], new.after[inside])
    counts = [np.bincount(steps.walk, minlength=len(rows)) for steps in (old, new)]
    logs = np.concatenate([[0.0], np.cumsum(np.log1p(np.arange(walks.end + 1)))])
    return np.stack([cut - first, *counts, *(_far(s, asked.prompt, logs) for s in (old, new))])


def _far(steps: Steps, prompt: Ints, logs: Floats) -> Floats:
    """Sum over steps of the mean over their tokens of the log distance from the prompt."""
    start = prompt[steps.walk]
    total = logs[steps.after - start] - logs[steps.at - start]
    return np.bincount(steps.walk, total / (steps.after - steps.at), len(prompt))


def _whole(walks: Walks, free: Requests) -> Ints:
    """The four columns of whole outputs, the new build's free."""
    n = len(walks.rows)
    steps = walks.new_steps(free, np.full(n, walks.end), free=True)
    tokens = np.full(n, walks.world.tokens)
    old = walks.starts[:, : walks.end].sum(axis=1)
    return np.stack([tokens, old, tokens, np.bincount(steps.walk, minlength=n)], axis=1)


def pairs_of(found: Sample, rows: slice, world: World) -> tuple[Pairs, Scale]:
    """What the shipped rule is given for some of the samples."""
    n = len(found.tokens[rows])
    names, strata = tuple(map(str, range(n))), ("a",) * n
    whole, prefix = found.whole[rows].T.astype(float), found.prefix[rows].T.astype(float)
    everything = float(whole[0].sum())
    sums = PairedSums("whole", names, strata, *whole, 1.0)
    begun = PairedSums("prefix", names, strata, *prefix, float(prefix[0].sum()) / everything)
    tokens, old, new = (c[rows].astype(float) for c in (found.tokens, found.old, found.new))
    share = float(tokens.sum()) / everything
    followed = ReplayedSums(
        PairedSums("replay", names, strata, tokens, old, tokens, new, share),
        found.old_distance[rows],
        found.new_distance[rows],
        int(found.divergences[rows].sum()),
        int(found.given_up[rows].sum()),
    )
    diverged = int((found.divergences[rows] > 0).sum())
    long = found.long[rows].T.astype(float)
    scale = Scale(whole[0], whole[1], long[0], long[1], len(world.accept) + 1.0)
    return Pairs(sums, begun, diverged, n, (), (), replay=followed), scale
