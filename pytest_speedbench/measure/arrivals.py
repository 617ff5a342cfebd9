"""When the output of a request arrived, and what can be timed by it.

A stream may come in bursts (a proxy that buffers it), or hold tokens back (a parser of reasoning).
Then the time between two arrivals is not the engine's, and a rate over it may be anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_speedbench.engines.protocol import Trace

# A burst: all output within this share of the request's time, at more tokens per second than any
# engine decodes for one user.
_BURST_SHARE = 0.05
_BURST_TPS = 1000.0


@dataclass(frozen=True, slots=True)
class Span:
    """What came after the first arrival: ``tokens``, in ``steps`` decoding steps (None: unknown)
    and ``seconds``."""

    tokens: int
    steps: int | None
    seconds: float


def decoding_span(trace: Trace) -> Span | None:
    """None where nothing came after the first arrival, and for a stream in bursts."""
    if not trace.times or trace.times[-1] <= trace.times[0] or in_burst(trace):
        return None
    first = _arrived_first(trace)
    tokens = trace.tokens - sum(trace.chunks[:first])
    return Span(tokens, _steps_after(trace, first), trace.times[-1] - trace.times[0])


def in_burst(trace: Trace) -> bool:
    """Whether the output came in one burst, long after it was decoded."""
    if len(trace.times) < 2:
        return False
    seconds = trace.times[-1] - trace.times[0]
    tokens = trace.tokens - trace.chunks[0]
    together = seconds <= _BURST_SHARE * (trace.times[-1] - trace.submitted)
    return together and tokens > _BURST_TPS * seconds


def first_token_shown(trace: Trace) -> bool:
    """Whether the first arrival is that of the first token, so that there is a TTFT."""
    return bool(trace.times) and not trace.hidden_tokens and not in_burst(trace)


def _arrived_first(trace: Trace) -> int:
    """Chunks that arrived at the first moment, together."""
    first = trace.times[0]
    return next((at for at, time in enumerate(trace.times) if time > first), len(trace.times))


def _steps_after(trace: Trace, first: int) -> int | None:
    """Decoding steps after the first arrival, of ``first`` chunks.

    The first chunk is the prefill's own, or the first step where the prefill has none.
    """
    if trace.totals is None:
        return len(trace.times) - first
    if trace.totals.steps is None or trace.hidden_tokens:
        return None
    steps = max(0, trace.totals.steps - (not trace.prefill_tokens))
    after = len(trace.times) - 1
    return steps if first == 1 else round(steps * (len(trace.times) - first) / after)
