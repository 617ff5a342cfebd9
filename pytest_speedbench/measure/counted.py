"""Acceptance of requests that report none themselves, from the growth of the engine's counters.

A decoding step emits its accepted tokens and one more, so that over any set of requests

    Σ(N - n0) = D + accepted - cut,

with ``cut`` the accepted tokens that a length limit or a stop token took off last steps, at most DL
a request. Where every step drafts, D is the number of drafts; otherwise it lies between
Σ(N - n0) - accepted and as many more as the cuts can hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import Counters, Speculation, Trace
from pytest_speedbench.errors import ForeignTrafficError, MeasurementMismatch
from pytest_speedbench.measure.results import Counted

_FOREIGN = "is another client using this engine?"
_LACKING = (
    "its counters lag, or many steps had no draft, as where it lowers the draft length under load; "
    "without a count of its output tokens these cannot be distinguished"
)


@dataclass(frozen=True, slots=True)
class Output:
    """Output of some requests: ``tokens``, of which ``decoded`` came from decoding steps, those of
    ``decoding`` requests."""

    requests: int
    tokens: int
    decoded: int
    decoding: int


def count(
    traces: Sequence[Trace], samples: int, speculation: Speculation, grown: Counters
) -> Counted:
    """What ``grown``, read around exactly these requests, means for them together.

    Raises:
        MeasurementMismatch: a counter that fell, or more accepted than drafted.
        ForeignTrafficError: growth that these requests do not explain.
    """
    output = Output(
        len(traces),
        sum(trace.tokens for trace in traces),
        sum(trace.decoded_tokens for trace in traces),
        sum(trace.decoded_tokens > 0 for trace in traces),
    )
    return count_output(output, samples, speculation, grown)


def count_output(
    output: Output, samples: int, speculation: Speculation, grown: Counters
) -> Counted:
    """Like :func:`count`, for requests whose traces are not available."""
    _check_growth(grown)
    tokens, cut = output.decoded, speculation.draft_length * output.decoding
    _check_ours(output, cut, speculation, grown)
    steps = max(grown.drafts, tokens - grown.accepted_tokens)
    # More steps than drafts: some had none, and cut-off last steps may hide more of them.
    exact = steps == grown.drafts > 0 and traits(speculation.method).every_step
    return Counted(
        samples=samples,
        requests=output.requests,
        tokens=tokens,
        steps=steps,
        hidden=0 if exact else min(tokens, tokens - grown.accepted_tokens + cut) - steps,
        drafts=grown.drafts,
        draft_tokens=grown.draft_tokens,
        accepted_tokens=grown.accepted_tokens,
    )


def _check_growth(grown: Counters) -> None:
    if min(grown.drafts, grown.draft_tokens, grown.accepted_tokens, grown.output_tokens or 0) < 0:
        raise MeasurementMismatch(
            f"the engine's counters fell during the run ({grown}): was it restarted? Run again"
        )
    if grown.accepted_tokens > grown.draft_tokens > 0:
        raise MeasurementMismatch(
            f"the engine counted {grown.accepted_tokens} accepted of {grown.draft_tokens} drafted "
            "tokens; its counters cannot be used: try another version of the engine"
        )


def _check_ours(output: Output, cut: int, speculation: Speculation, grown: Counters) -> None:
    """Foreign requests, and counters that lag behind, do not fit what was emitted.

    A method that drafts in every step may still have steps without a draft: at the end of the
    context, after a preemption, or where the server lowers the draft length to 0 under load. An
    engine that counts its output tokens shows foreign traffic by them; without that count, more
    than one such step per request cannot be distinguished from counters that lag.
    """
    tokens = output.decoded
    if grown.output_tokens not in (None, output.tokens):
        raise ForeignTrafficError(
            f"the engine emitted {grown.output_tokens} tokens, our requests {output.tokens}: "
            f"{_FOREIGN}"
        )
    counted = grown.drafts + grown.accepted_tokens
    drafts_count = (
        grown.output_tokens is None and grown.drafts > 0 and traits(speculation.method).every_step
    )
    lacking = drafts_count and tokens > counted + output.decoding
    if counted - cut > tokens or lacking:
        why = _LACKING if lacking else _FOREIGN
        raise ForeignTrafficError(
            f"the engine counted {grown.drafts} drafts with {grown.accepted_tokens} accepted "
            f"tokens, which does not fit the {tokens} tokens that our requests decoded: {why}"
        )
