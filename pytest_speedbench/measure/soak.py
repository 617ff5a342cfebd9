"""A soak: one engine repeats the same samples, round after round, and every round is kept apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_speedbench.measure.load import ClosedLoop
from pytest_speedbench.measure.passes import Pass, counts_by_slice, send_parts
from pytest_speedbench.measure.rounds import ArmResult, plan_parts, warm_up
from pytest_speedbench.measure.window import timed_round
from pytest_speedbench.plan.soak import MIN_ROUNDS
from pytest_speedbench.splits import ALL, Sample

SoakProgress = Callable[[int, float, int, int], None]
"""(round, seconds since the first one began, samples finished, samples) — for display."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """What the requests of one slice gave in one round; ``stepped`` tokens came from ``steps``
    decoding steps, None where nobody knows; the prefill's own are in ``tokens`` too."""

    tokens: int = 0
    stepped: int = 0
    steps: int | None = 0

    def __add__(self, other: Emitted) -> Emitted:
        mine, theirs = self.steps, other.steps
        return Emitted(
            self.tokens + other.tokens,
            self.stepped + other.stepped,
            None if mine is None or theirs is None else mine + theirs,
        )


@dataclass(frozen=True, slots=True)
class DriftPoint:
    """One round of a soak, for a test or a plot.

    ``start`` is in seconds since the first round began; ``acceptance_length`` belongs to the slice,
    ``step_time`` (seconds) to the run; None where the round had no decoding step, or the engine
    does not tell of any.
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
    (parts,) = plan_parts(samples, batch_size, 0, counts_by_slice(loop, batch_size))
    origin, spent = 0.0, 0.0
    while len(result.soak) < max(rounds, MIN_ROUNDS) or spent < seconds:

        def show(done: int, of: int, number: int = len(result.soak), now: float = spent) -> None:
            progress(number + 1, now, done, of)

        passes = send_parts(loop, [part.samples for part in parts], batch_size, show)
        for done in passes:
            result.take(done, not result.rounds)
        traces = [turn.trace for done in passes for turn in done.turns]
        if not result.rounds:
            origin = min(trace.submitted for trace in traces)
        result.rounds.append(timed_round(passes, batch_size))
        start = min(trace.submitted for trace in traces) - origin
        spent = max(trace.times[-1] for trace in traces if trace.times) - origin
        step_time = result.rounds[-1].step_time
        result.soak.append(SoakRound(start, spent, step_time, _by_category(passes)))
    return result


def _by_category(passes: Sequence[Pass]) -> dict[str, Emitted]:
    found: dict[str, Emitted] = {}
    for done in passes:
        for turn in done.turns:
            trace = turn.trace
            own = Emitted(trace.tokens, trace.decoded_tokens, trace.decoding_steps)
            found[turn.category] = found.get(turn.category, Emitted()) + own
        for name, counted in done.counted.items():
            found[name] = Emitted(found[name].tokens, counted.tokens, counted.steps)
    return found
