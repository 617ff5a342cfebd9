"""What gate_replay.py simulates: sessions of a world, decided by the shipped rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from chunks import Counts
from replay_worlds import Sample, World, draw, pairs_of

from pytest_speedbench.measure.early import MOST_LOOKS
from pytest_speedbench.stats.decision import Conclusion, verdict_of
from pytest_speedbench.stats.pairing import Pairs
from pytest_speedbench.stats.rule import REACH, Rule
from pytest_speedbench.stats.scale import Scale
from pytest_speedbench.stats.sequential import looks_after

BATCH = 8_800  # samples drawn at once
TRUTH = 20  # batches from which a true loss is taken
CATEGORIES = 11  # a block has a sample of each
WHOLE = 880  # samples of a full split
LOOKS = [CATEGORIES * blocks for blocks in looks_after(WHOLE // CATEGORIES, MOST_LOOKS)]


@dataclass(frozen=True, slots=True)
class Ways:
    """How a session is decided: its name in the counts, and what the rule is given."""

    replay: bool
    healthy: float | None = None
    reach: float = REACH

    @property
    def name(self) -> str:
        known = "" if self.healthy is None else f", healthy {self.healthy:g}"
        return f"{'replay' if self.replay else 'without'}{known}, reach {self.reach:g}"


WITH, WITHOUT = Ways(True), Ways(False)
BOTH = (WITH, WITHOUT)


@dataclass(frozen=True, slots=True)
class Cell:
    """Sessions of so many samples, decided at their end at each of some margins."""

    world: World
    margins: tuple[float, ...]
    samples: int
    ways: tuple[Ways, ...] = BOTH

    def run(self, sessions: int, seed: int) -> Counts:
        """How many end in each verdict, under :meth:`count`'s names; and what replay compared."""
        found: Counter[str] = Counter({"sessions": sessions})
        for drawn, number in _drawn(self.world, self.samples, sessions, seed):
            rows = slice(number * self.samples, (number + 1) * self.samples)
            pairs, scale = pairs_of(drawn, rows, self.world)
            for margin in self.margins:
                for way in self.ways:
                    found[self.count(margin, way, _verdict(pairs, scale, margin, way))] += 1
            assert pairs.replay is not None
            found["old"] += float(pairs.replay.sums.old_steps.sum())
            found["new"] += float(pairs.replay.sums.new_steps.sum())
        return dict(found)

    def count(self, margin: float, way: Ways, verdict: Conclusion) -> str:
        """Under which name a verdict is counted."""
        return f"{self.margins.index(margin)} {way.name} {verdict}"


def _drawn(world: World, samples: int, sessions: int, seed: int) -> Iterator[tuple[Sample, int]]:
    rng = np.random.default_rng([seed, samples])
    left = sessions
    while left:
        together = min(left, max(1, BATCH // samples))
        drawn = draw(world, together * samples, rng)
        for number in range(together):
            yield drawn, number
        left -= together


def _verdict(pairs: Pairs, scale: Scale, margin: float, way: Ways) -> Conclusion:
    rule = Rule(margin, reach=way.reach, healthy_divergence=way.healthy)
    return verdict_of(pairs if way.replay else replace(pairs, replay=None), scale, rule)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Sessions that look as an early decision does, until they have a verdict."""

    world: World
    margin: float

    def run(self, sessions: int, seed: int) -> Counts:
        """How many end in each verdict, and how often each share of ``WHOLE`` free outputs, in
        parts of a thousand, was decoded until then."""
        found: Counter[str] = Counter({"sessions": sessions})
        for drawn, number in _drawn(self.world, WHOLE, sessions, seed):
            for way in BOTH:
                size, verdict = self._first(drawn, number * WHOLE, way)
                rows = slice(number * WHOLE, number * WHOLE + size)
                tokens = int(drawn.decoded[rows].sum()) if way.replay else size * self.world.tokens
                found[f"{way.name} {verdict}"] += 1
                found[f"{way.name} tokens {round(1000 * tokens / WHOLE / self.world.tokens)}"] += 1
        return dict(found)

    def _first(self, drawn: Sample, start: int, way: Ways) -> tuple[int, Conclusion]:
        """Samples at the first look with a verdict; the bets are set by the whole baseline."""
        _, scale = pairs_of(drawn, slice(start, start + WHOLE), self.world)
        for size in LOOKS:
            pairs, _ = pairs_of(drawn, slice(start, start + size), self.world)
            verdict = _verdict(pairs, scale, self.margin, way)
            if verdict is not Conclusion.UNDECIDED:
                return size, verdict
        return WHOLE, Conclusion.UNDECIDED


def median_tokens(counts: Counts, way: Ways) -> float:
    """Median share of the tokens of ``WHOLE`` free outputs."""
    start = f"{way.name} tokens "
    shares = sorted((int(k[len(start) :]), n) for k, n in counts.items() if k.startswith(start))
    seen = 0.0
    for share, times in shares:
        seen += times
        if 2 * seen >= counts["sessions"]:
            return share / 1000
    raise ValueError(f"no tokens counted for {way.name}")


@dataclass(frozen=True, slots=True)
class Bias:
    """Outputs of a healthy rebuild; a session is ``OUTPUTS`` of them."""

    world: World

    OUTPUTS = 40

    def run(self, sessions: int, seed: int) -> Counts:
        """Sums over all outputs."""
        found: Counter[str] = Counter()
        rng, left = np.random.default_rng([seed, 1]), sessions * self.OUTPUTS
        while left:
            part = draw(self.world, min(left, BATCH), rng)
            extra = (part.new - part.old).astype(float)
            found.update(
                texts=len(extra),
                tokens=int(part.tokens.sum()),
                old=int(part.old.sum()),
                extra=extra.sum(),
                squares=(extra**2).sum(),
                divergences=int(part.divergences.sum()),
                decoded=int(part.decoded.sum()),
            )
            left -= len(extra)
        return dict(found)


def true_loss(world: World) -> float:
    """Loss of AL along one text, no ties: of whole outputs too, as texts have one law."""
    sharp, rng, old, new = replace(world, ties=0.0, agree=1.0), np.random.default_rng(99), 0, 0
    for _ in range(TRUTH):
        part = draw(sharp, BATCH, rng)
        old, new = old + int(part.whole[:, 1].sum()), new + int(part.whole[:, 3].sum())
    return 1 - old / new
