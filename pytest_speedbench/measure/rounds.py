"""Rounds: two or more arms (with and without speculation) measured in alternation.

A speedup compares two arms measured under the same conditions. Each round sends the same samples
through every arm, the order of the arms turning from round to round, so that a slow drift of the
machine (heat, neighbours) cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice

from pytest_speedbench.engines.protocol import Speculation
from pytest_speedbench.measure.failures import FailureLimit, refuse_failed
from pytest_speedbench.measure.load import ClosedLoop, Progress
from pytest_speedbench.measure.passes import counts_by_slice, send_parts
from pytest_speedbench.measure.results import ArmResult
from pytest_speedbench.measure.window import timed_round
from pytest_speedbench.splits import Sample

# A round sends this many requests for each slot, so that ramp and drain are a small part of it.
_REQUESTS_PER_SLOT = 4
# Where nothing is timed, a short warm-up will do: it finds an engine that fails early.
UNTIMED_WARMUP_TOKENS = 32

RoundProgress = Callable[[Speculation, int, int, int, int], None]
"""(arm, round, rounds, samples finished, samples) — for display. The warm-up is round 0; a pass
that fills the prefix cache is round 0 of 0."""
Restart = Callable[[int], Sequence[ClosedLoop]]
"""Number of a round, from 0 → its arms on engines that were started for it."""


def plan_rounds(
    samples: Sequence[Sample], batch_size: int, rounds: int
) -> list[tuple[Sample, ...]]:
    """Which samples each round sends.

    With enough samples to fill the batch at least twice in every round, the samples are spread
    over the rounds, those of each category evenly, and each is sent once. Otherwise each round
    sends all of them, and where that is too few to hold the batch, sends them again from the first
    one on.
    ``rounds`` is 0 where nothing is timed: each sample is sent once.
    """
    if rounds == 0:
        return [tuple(samples)]
    if rounds > 1 and len(samples) >= 2 * batch_size * rounds:
        return _deal(samples, rounds)
    return [_repeated(samples, batch_size)] * rounds


def _deal(samples: Sequence[Sample], rounds: int) -> list[tuple[Sample, ...]]:
    """Category by category, as interleaved ones would meet the same rounds again and again; within
    a round they keep their order."""
    categories: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        categories.setdefault(sample.category, []).append(number)
    numbers = [number for own in categories.values() for number in own]
    return [tuple(samples[n] for n in sorted(numbers[r::rounds])) for r in range(rounds)]


def _repeated(samples: Sequence[Sample], batch_size: int) -> tuple[Sample, ...]:
    """``samples``, repeated in their order to a steady load of ``batch_size`` requests.

    One slot is always busy. Samples that cannot fill the batch once are not repeated: copies of one
    prompt side by side are not a realistic load.
    """
    if batch_size == 1 or len(samples) < batch_size:
        return tuple(samples)
    return tuple(islice(cycle(samples), max(len(samples), _REQUESTS_PER_SLOT * batch_size)))


@dataclass(frozen=True, slots=True)
class Part:
    """The samples that one round sends without a break; ``first`` the first time they are sent."""

    samples: tuple[Sample, ...]
    first: bool


def plan_parts(
    samples: Sequence[Sample], batch_size: int, rounds: int, by_slice: bool
) -> list[list[Part]]:
    """The parts of every round: one, or one after another for each slice.

    Counters that are read around a slice do not separate a sample's first time from its copies:
    there a round that repeats samples sends each of them equally often.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.category if by_slice else "", []).append(sample)
    plans = []
    for group in groups.values():
        plan = plan_rounds(group, batch_size, rounds)
        if by_slice and len(plan[0]) > len(group):
            plan = [tuple(group) * -(-len(plan[0]) // len(group))] * len(plan)
        plans.append([Part(block, not n or block != plan[0]) for n, block in enumerate(plan)])
    return [list(parts) for parts in zip(*plans, strict=True)]


def run_rounds(
    loops: Sequence[ClosedLoop],
    samples: Sequence[Sample],
    batch_size: int,
    rounds: int,
    progress: RoundProgress = lambda *_: None,
    restart: Restart | None = None,
    prefix_caching: bool = False,
) -> list[ArmResult]:
    """Measures every arm over the same rounds of samples; results in the order of ``loops``.

    Where an arm reports acceptance by its counters alone, every arm sends slice after slice. With
    ``restart`` every round but the first has engines of its own. With ``prefix_caching`` a cold
    pass, without the cache, and one that fills it go before the rounds of new engines.

    Raises:
        MeasurementMismatch: traces and engine counters disagree.
        EngineDied: an engine ended or fell silent.
        EngineError: an engine broke off more answers than allowed.
    """
    arms = [
        _Arm(
            loop,
            ArmResult(loop.speculation, alternated=len(loops) > 1),
            FailureLimit(loop.max_failed),
        )
        for loop in loops
    ]
    by_slice = any(counts_by_slice(loop, batch_size) for loop in loops)
    plan = plan_parts(samples, batch_size, rounds, by_slice)
    (once,) = plan_parts(samples, batch_size, 0, by_slice)
    sent = sum(len(part.samples) for part in plan[0])
    for arm in arms:
        arm.result.repeated = sent if sent > len(samples) else 0
        for parts in plan:
            arm.limit.plan(sample for part in parts for sample in part.samples)
    for number, parts in enumerate(plan):
        if restart is not None and number:
            for arm, loop in zip(arms, restart(number), strict=True):
                arm.loop = loop
        if number == 0 or restart is not None:  # new engines
            for arm in arms:
                show = partial(progress, arm.loop.speculation, 0, len(plan))
                arm.result.warmup_requests = warm_up(
                    arm.loop, samples, batch_size, show, timed=rounds > 0
                )
                if prefix_caching:
                    arm.fill_cache(once, batch_size, progress)
        for arm in arms if number % 2 == 0 else reversed(arms):
            show = partial(progress, arm.loop.speculation, number + 1, len(plan))
            arm.round(parts, batch_size, 0 if restart is None else number, show)
    for arm in arms:
        refuse_failed(arm.result, arm.loop.max_failed)
    return [arm.result for arm in arms]


@dataclass(slots=True)
class _Arm:
    loop: ClosedLoop
    result: ArmResult
    limit: FailureLimit

    def fill_cache(self, parts: Sequence[Part], batch_size: int, progress: RoundProgress) -> None:
        """A cold pass, whose turns are kept, and one that leaves its prompts in the cache."""
        show = partial(progress, self.loop.speculation, 0, 0)
        samples = [part.samples for part in parts]
        for sent in 2 * samples:
            self.limit.plan(sent)
        self.loop.uncached = True
        try:
            cold = send_parts(self.loop, samples, batch_size, show, self.limit)
        finally:
            self.loop.uncached = False
        self.result.cold = [turn for pass_ in cold for turn in pass_.turns]
        for pass_ in cold + send_parts(self.loop, samples, batch_size, show, self.limit):
            self.result.count(pass_)

    def round(self, parts: Sequence[Part], batch_size: int, start: int, progress: Progress) -> None:
        samples = [part.samples for part in parts]
        passes = send_parts(self.loop, samples, batch_size, progress, self.limit)
        for part, pass_ in zip(parts, passes, strict=True):
            self.result.take(pass_, first=part.first)
        self.result.rounds.append(replace(timed_round(passes, batch_size), start=start))


def warm_up(
    loop: ClosedLoop,
    samples: Sequence[Sample],
    batch_size: int,
    progress: Progress = lambda *_: None,
    *,
    timed: bool = True,
) -> int:
    """Sends the first samples and the longest one, and forgets them; returns how many.

    At the run's own batch size and, where it is ``timed``, to its own output length: engines
    compile, capture and allocate by both. Only the longest sample goes through all its turns.
    """
    full = loop.sampling
    longest = max(samples, key=_length)
    chosen = [s for s in samples if s is not longest][: max(2, batch_size) - 1]
    if not timed:
        tokens = min(full.max_tokens, UNTIMED_WARMUP_TOKENS)
        loop.sampling = replace(full, max_tokens=tokens, min_tokens=min(full.min_tokens, tokens))
    sent = [longest, *(replace(s, turns=s.turns[:1]) for s in chosen)]
    try:
        loop.run(sent, batch_size, progress)
    finally:
        loop.sampling = full
    return 1 + len(chosen)


def _length(sample: Sample) -> int:
    """The length of all prompts: in tokens where the sample has ids, otherwise in characters."""
    return len(sample.token_ids or ()) or sum(map(len, sample.turns))
