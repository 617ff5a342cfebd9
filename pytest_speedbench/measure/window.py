"""The timing of one round: ramp and drain are left out of its throughput.

Only the time in which all slots are busy counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.arrivals import decoding_span
from pytest_speedbench.measure.results import Pass, Round, total

# A steady window that holds less than this share of the tokens says little about the round.
_STEADY_SHARE = 0.5


def timed_round(passes: Sequence[Pass], batch_size: int) -> Round:
    """A round of one pass, or of several that were sent one after another: each has its own ramp
    and drain."""
    traces = [[turn.trace for turn in pass_.turns] for pass_ in passes]
    windows = [steady_round(part, batch_size) for part in traces]
    length, step_time = _steps(passes, [trace for part in traces for trace in part])
    return Round(
        tokens=sum(window.tokens for window in windows),
        seconds=sum(window.seconds for window in windows),
        steady=all(window.steady for window in windows),
        requests=sum(window.requests for window in windows),
        acceptance_length=length,
        step_time=step_time,
        at_once=max(window.at_once for window in windows),
    )


def _steps(passes: Sequence[Pass], traces: Sequence[Trace]) -> tuple[float | None, float | None]:
    """AL and step time (seconds), from what requests report or from the counters."""
    counted = total(part for pass_ in passes for part in pass_.counted.values())
    if any(pass_.unknown for pass_ in passes):
        return None, None
    if not counted.steps:
        return _tokens_per_step(traces), _seconds_per_step(traces)
    seconds = sum(span.seconds for trace in traces if (span := decoding_span(trace)))
    return counted.acceptance_length, seconds / counted.steps if seconds > 0 else None


def steady_round(traces: Sequence[Trace], batch_size: int) -> Round:
    """The round's throughput alone, while all slots were busy.

    Ramp: until as many requests as slots have their first token. Drain: from the finish on after
    which the slots are never all busy again. With one slot nothing is left out.

    Raises:
        EngineError: no request gave any output.
    """
    if not any(trace.times for trace in traces):
        raise EngineError(
            f"no request of the round gave any output, of {len(traces)} answers: send one prompt "
            "to the engine by hand, and check its stop tokens, its chat template and "
            "--speed-prompt-form"
        )
    start, end = steady_window(traces, batch_size)
    every = sum(trace.tokens for trace in traces)
    inside = sum(
        size
        for trace in traces
        for size, moment in zip(trace.chunks, trace.times, strict=True)
        if start < moment <= end
    )
    at_once = _most_at_once(traces)
    if end > start and inside >= _STEADY_SHARE * every:
        return Round(inside, end - start, True, len(traces), at_once=at_once)
    first = min(trace.submitted for trace in traces)
    last = max(trace.times[-1] for trace in traces if trace.times)
    return Round(every, last - first, False, len(traces), at_once=at_once)


def _most_at_once(traces: Sequence[Trace]) -> int:
    spans = [(trace.times[0], trace.times[-1]) for trace in traces if trace.times]
    # At the same moment, beginnings come before ends.
    events = sorted([(first, -1) for first, _ in spans] + [(last, 1) for _, last in spans])
    return max(accumulate(-change for _, change in events))


def _tokens_per_step(traces: Sequence[Trace]) -> float | None:
    steps = _sum_known([trace.decoding_steps for trace in traces])
    return sum(trace.decoded_tokens for trace in traces) / steps if steps else None


def _seconds_per_step(traces: Sequence[Trace]) -> float | None:
    """As the metric ``step_time``: the first event of each request left out."""
    spans = [span for trace in traces if (span := decoding_span(trace))]
    steps = _sum_known([span.steps for span in spans])
    return sum(span.seconds for span in spans) / steps if steps else None


def _sum_known(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


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
