"""A soak: one engine repeats the same samples, round after round, and every round is kept apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.failures import FailureLimit, refuse_failed
from pytest_speedbench.measure.load import ClosedLoop
from pytest_speedbench.measure.passes import counts_by_slice, send_parts
from pytest_speedbench.measure.results import ArmResult, Emitted, Pass, SoakRound
from pytest_speedbench.measure.rounds import plan_parts, warm_up
from pytest_speedbench.measure.window import timed_round
from pytest_speedbench.plan.soak import MIN_ROUNDS
from pytest_speedbench.splits import Sample

SoakProgress = Callable[[int, float, int, int], None]
"""(round, seconds since the first one began, samples finished, samples) — for display."""


def run_soak(
    loop: ClosedLoop,
    samples: Sequence[Sample],
    batch_size: int,
    rounds: int,
    seconds: float,
    progress: SoakProgress = lambda *_: None,
) -> ArmResult:
    """Sends all samples ``rounds`` times, or until ``seconds`` of the engine's clock are over.

    A round is never cut off, and there are at least four. The traces of the first one are kept. An
    error after the fourth ends the soak and is kept in the result: hours may have been measured.

    Raises:
        MeasurementMismatch, EngineDied: as :func:`~pytest_speedbench.measure.rounds.run_rounds`,
            within the first four rounds.
    """
    result = ArmResult(loop.speculation, alternated=False)
    result.warmup_requests = warm_up(loop, samples, batch_size)
    (parts,) = plan_parts(samples, batch_size, 0, counts_by_slice(loop, batch_size))
    limit = FailureLimit(loop.max_failed)
    origin, spent = 0.0, 0.0
    while len(result.soak) < max(rounds, MIN_ROUNDS) or spent < seconds:

        def show(done: int, total: int, number: int = len(result.soak), now: float = spent) -> None:
            progress(number + 1, now, done, total)

        for part in parts:
            limit.plan(part.samples)
        try:
            passes = send_parts(loop, [part.samples for part in parts], batch_size, show, limit)
        except EngineError as error:
            if len(result.soak) < MIN_ROUNDS:
                raise
            result.broke_off = str(error)
            return result
        for pass_ in passes:
            result.take(pass_, first=not result.rounds)
        refuse_failed(result, loop.max_failed)
        traces = [turn.trace for pass_ in passes for turn in pass_.turns]
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
    for pass_ in passes:
        for turn in pass_.turns:
            trace = turn.trace
            own = Emitted(trace.tokens, trace.decoded_tokens, trace.decoding_steps)
            found[turn.category] = found.get(turn.category, Emitted()) + own
        for name, counted in pass_.counted.items():
            found[name] = Emitted(found[name].tokens, counted.tokens, counted.steps)
    return found
