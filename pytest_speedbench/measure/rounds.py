"""Rounds: two or more arms (with and without speculation) measured in alternation.

A speedup compares two arms that met the same weather. Each round sends the same samples through
every arm, the order of the arms turning from round to round, so that a slow drift of the machine
(heat, neighbours) cancels. Ramp and drain are left out of a round's throughput: only the time in
which all slots are busy counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING

from pytest_speedbench.engines.protocol import Counters, EngineError, Speculation, Trace
from pytest_speedbench.measure.check import check_counters, check_traces
from pytest_speedbench.measure.early import BlockWatch, Decider, EarlyStop
from pytest_speedbench.measure.load import ClosedLoop, Enough, Progress, Turn
from pytest_speedbench.splits import Sample

if TYPE_CHECKING:
    from pytest_speedbench.measure.soak import SoakRound

# A steady window that holds less than this share of the tokens says little about the round.
_STEADY_SHARE = 0.5
# A round sends this many requests for each slot, so that ramp and drain are a small part of it.
_REQUESTS_PER_SLOT = 4
# Warm-up outputs are short: they are there to compile, to allocate and to draft.
WARMUP_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Round:
    """Throughput of one arm in one round.

    ``tokens`` and ``seconds`` are those of the steady window when ``steady``, otherwise of the
    whole round, ramp and drain included (too few samples to fill the batch for long).
    ``acceptance_length`` and ``step_time`` are those of all requests of the round, for telling
    what a changed speedup is due to; None where no request had a decoding step.
    """

    tokens: int
    seconds: float
    steady: bool
    requests: int
    acceptance_length: float | None = None
    step_time: float | None = None

    @property
    def output_tps(self) -> float:
        """Output tokens per second."""
        return self.tokens / self.seconds


@dataclass(slots=True)
class ArmResult:
    """What one arm measured: the traces of each sample's first pass, and every round's timing.

    ``repeated`` is how many conversations a round sends where samples are sent more than once to
    hold the batch size; 0 where none is. ``counters`` is the growth of the engine's own totals over the rounds; ``alternated`` tells
    whether the arms took turns; ``early`` how far an early decision has gone: then nothing was
    timed, and ``turns`` are those of the complete blocks that were looked at; ``soak`` holds every
    round of a soak.
    """

    speculation: Speculation
    turns: list[Turn] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    counters: Counters | None = None
    warmup_requests: int = 0
    repeated: int = 0
    alternated: bool = True
    early: EarlyStop | None = None
    soak: list[SoakRound] = field(default_factory=list)


RoundProgress = Callable[[Speculation, int, int, int, int], None]
"""(arm, round, rounds, samples finished, samples) — for display."""


def plan_rounds(
    samples: Sequence[Sample], batch_size: int, rounds: int
) -> list[tuple[Sample, ...]]:
    """Which samples each round sends.

    With enough samples to fill the batch at least twice in every round, the samples are dealt
    over the rounds, in order, and each is sent once. Otherwise each round sends all of them, and
    where that is too few to hold the batch, sends them again from the first one on.
    ``rounds`` is 0 where nothing is timed: each sample is sent once.
    """
    if rounds == 0:
        return [tuple(samples)]
    if rounds > 1 and len(samples) >= 2 * batch_size * rounds:
        return [tuple(samples[r::rounds]) for r in range(rounds)]
    return [_enough(samples, batch_size)] * rounds


def _enough(samples: Sequence[Sample], batch_size: int) -> tuple[Sample, ...]:
    """``samples``, repeated in their order to a steady load of ``batch_size`` requests.

    One slot is always busy. Samples that cannot fill the batch once are not repeated: copies of one
    prompt side by side are no load that anybody has.
    """
    if batch_size == 1 or len(samples) < batch_size:
        return tuple(samples)
    return tuple(islice(cycle(samples), max(len(samples), _REQUESTS_PER_SLOT * batch_size)))


def run_rounds(
    loops: Sequence[ClosedLoop],
    samples: Sequence[Sample],
    batch_size: int,
    rounds: int,
    progress: RoundProgress = lambda *_: None,
) -> list[ArmResult]:
    """Measures every arm over the same rounds of samples; results in the order of ``loops``.

    Raises:
        MeasurementMismatch: traces and engine counters disagree.
        EngineDied: an engine ended or fell silent.
    """
    arms = [_Arm(loop, ArmResult(loop.speculation, alternated=len(loops) > 1)) for loop in loops]
    plan = plan_rounds(samples, batch_size, rounds)
    for arm in arms:
        arm.result.warmup_requests = warm_up(arm.loop, samples, batch_size)
        arm.result.repeated = len(plan[0]) if len(plan[0]) > len(samples) else 0
    for number, block in enumerate(plan):
        first_pass = number == 0 or block != plan[0]
        for arm in arms if number % 2 == 0 else reversed(arms):
            show = partial(progress, arm.loop.speculation, number + 1, len(plan))
            arm.round(block, batch_size, first_pass, show)
    return [arm.result for arm in arms]


@dataclass(slots=True)
class _Arm:
    loop: ClosedLoop
    result: ArmResult

    def round(
        self, samples: Sequence[Sample], batch_size: int, first_pass: bool, progress: Progress
    ) -> None:
        turns, grown = checked_pass(self.loop, samples, batch_size, progress)
        if grown is not None:
            self.result.counters = (self.result.counters or Counters()) + grown
        self.result.rounds.append(steady_round([turn.trace for turn in turns], batch_size))
        if first_pass:
            self.result.turns += [turn for turn in turns if turn.copy == 0]


def run_until_decided(
    loop: ClosedLoop,
    samples: Sequence[Sample],
    batch_size: int,
    decider: Decider,
    progress: Progress = lambda done, of: None,
) -> ArmResult:
    """One pass over the samples, in balanced order, that ends when ``decider`` has enough.

    Raises:
        MeasurementMismatch, EngineDied: as :func:`run_rounds`.
    """
    watch = BlockWatch(samples, decider)
    turns, grown = checked_pass(loop, watch.order, batch_size, progress, watch.enough)
    kept = [turn for turn in turns if turn.sample in watch.seen]
    return ArmResult(loop.speculation, kept, [], grown, alternated=False, early=watch.stop)


def checked_pass(
    loop: ClosedLoop,
    samples: Sequence[Sample],
    batch_size: int,
    progress: Progress,
    enough: Enough | None = None,
) -> tuple[list[Turn], Counters | None]:
    """The turns that came to an end, and what the engine's counters grew by meanwhile."""
    before = loop.engine.counters()
    turns = [t for t in loop.run(samples, batch_size, progress, enough) if t.complete]
    after = loop.engine.counters()
    traces = [turn.trace for turn in turns]
    check_traces(traces, loop.speculation)
    if before is None or after is None:
        return turns, None
    check_counters(traces, loop.speculation, after - before)
    return turns, after - before


def warm_up(loop: ClosedLoop, samples: Sequence[Sample], batch_size: int) -> int:
    """Sends the first samples at the run's own batch size, and forgets them; returns how many."""
    full = loop.sampling
    loop.sampling = replace(full, max_tokens=min(full.max_tokens, WARMUP_TOKENS))
    try:
        chosen = samples[: max(2, batch_size)]
        loop.run([replace(s, turns=s.turns[:1]) for s in chosen], batch_size)
    finally:
        loop.sampling = full
    return len(chosen)


def steady_round(traces: Sequence[Trace], batch_size: int) -> Round:
    """The round's throughput while all slots were busy.

    Ramp: until as many requests as slots have their first token. Drain: from the
    finish on after which the slots are never all busy again. With one slot nothing is left out.
    """
    if not any(trace.times for trace in traces):
        raise EngineError("no request of the round gave any output")
    start, end = steady_window(traces, batch_size)
    total = sum(trace.tokens for trace in traces)
    inside = sum(
        size
        for trace in traces
        for size, moment in zip(trace.chunks, trace.times, strict=True)
        if start < moment <= end
    )
    steps = _tokens_per_step(traces), _seconds_per_step(traces)
    if end > start and inside >= _STEADY_SHARE * total:
        return Round(inside, end - start, True, len(traces), *steps)
    first = min(trace.submitted for trace in traces)
    last = max(trace.times[-1] for trace in traces if trace.times)
    return Round(total, last - first, False, len(traces), *steps)


def _tokens_per_step(traces: Sequence[Trace]) -> float | None:
    steps = sum(len(trace.steps) for trace in traces)
    return sum(sum(trace.steps) for trace in traces) / steps if steps else None


def _seconds_per_step(traces: Sequence[Trace]) -> float | None:
    """As the metric ``step_time``: the first event of each request left out."""
    timed = [trace.times for trace in traces if len(trace.times) > 1]
    seconds = sum(times[-1] - times[0] for times in timed)
    return seconds / sum(len(times) - 1 for times in timed) if seconds > 0 else None


def steady_window(traces: Sequence[Trace], batch_size: int) -> tuple[float, float]:
    """Start and end (seconds) of the time in which all slots were busy; may be empty."""
    sent = sorted(trace.submitted for trace in traces if trace.times)
    ends = sorted(trace.times[-1] for trace in traces if trace.times)
    if batch_size == 1:
        return sent[0], ends[-1]
    firsts = sorted(trace.times[0] for trace in traces if trace.times)
    start = firsts[min(batch_size, len(firsts)) - 1]
    full = (e for e in ends if bisect_left(sent, e) - bisect_left(ends, e) >= batch_size)
    end = max(full, default=start)
    return start, end
