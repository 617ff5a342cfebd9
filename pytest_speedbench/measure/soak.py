"""A soak: one engine repeats the same samples, round after round, and every round is kept apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_speedbench.engines.protocol import Counters
from pytest_speedbench.measure.load import ClosedLoop, Turn
from pytest_speedbench.measure.rounds import ArmResult, checked_pass, steady_round, warm_up
from pytest_speedbench.soak import MIN_ROUNDS
from pytest_speedbench.splits import ALL, Sample

SoakProgress = Callable[[int, float, int, int], None]
"""(round, seconds since the first one began, samples finished, samples) — for display."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """What the requests of one slice gave in one round; ``stepped`` tokens came from ``steps``
    decoding steps, the prefill's own are in ``tokens`` too."""

    tokens: int = 0
    stepped: int = 0
    steps: int = 0

    def __add__(self, other: Emitted) -> Emitted:
        return Emitted(
            self.tokens + other.tokens, self.stepped + other.stepped, self.steps + other.steps
        )


@dataclass(frozen=True, slots=True)
class DriftPoint:
    """One round of a soak, for a test or a plot.

    ``start`` is in seconds since the first round began; ``acceptance_length`` belongs to the slice,
    ``step_time`` (seconds) to the run; None where the round had no decoding step.
    """

    start: float
    acceptance_length: float | None
    step_time: float | None
    tokens: int


@dataclass(frozen=True, slots=True)
class SoakRound:
    """One round; ``end`` and ``start`` are seconds since the first round began."""

    start: float
    end: float
    step_time: float | None
    by_category: Mapping[str, Emitted] = field(default_factory=dict)

    def point(self, slice_name: str) -> DriftPoint:
        """What a plot shows of one category, or of ``all``."""
        chosen = [e for name, e in self.by_category.items() if slice_name in (ALL, name)]
        total = sum(chosen, Emitted())
        length = total.stepped / total.steps if total.steps else None
        return DriftPoint(self.start, length, self.step_time, total.tokens)


def run_soak(
    loop: ClosedLoop,
    samples: Sequence[Sample],
    batch_size: int,
    rounds: int,
    seconds: float,
    progress: SoakProgress = lambda *_: None,
) -> ArmResult:
    """Sends all samples ``rounds`` times, or until ``seconds`` of the engine's clock are over.

    A round is never cut off, and there are at least four. The traces of the first one are kept.

    Raises:
        MeasurementMismatch, EngineDied: as :func:`~pytest_speedbench.measure.rounds.run_rounds`.
    """
    result = ArmResult(loop.speculation, alternated=False)
    result.warmup_requests = warm_up(loop, samples, batch_size)
    origin, spent = 0.0, 0.0
    while len(result.soak) < max(rounds, MIN_ROUNDS) or spent < seconds:

        def show(done: int, of: int, number: int = len(result.soak), now: float = spent) -> None:
            progress(number + 1, now, done, of)

        turns, grown = checked_pass(loop, samples, batch_size, show)
        traces = [turn.trace for turn in turns]
        round_ = steady_round(traces, batch_size)
        if not result.rounds:
            result.turns, origin = turns, min(trace.submitted for trace in traces)
        if grown is not None:
            result.counters = (result.counters or Counters()) + grown
        start = min(trace.submitted for trace in traces) - origin
        spent = max(trace.times[-1] for trace in traces if trace.times) - origin
        result.rounds.append(round_)
        result.soak.append(SoakRound(start, spent, round_.step_time, _by_category(turns)))
    return result


def _by_category(turns: Sequence[Turn]) -> dict[str, Emitted]:
    found: dict[str, Emitted] = {}
    for turn in turns:
        steps = turn.trace.steps
        own = Emitted(turn.trace.tokens, sum(steps), len(steps))
        found[turn.category] = found.get(turn.category, Emitted()) + own
    return found
