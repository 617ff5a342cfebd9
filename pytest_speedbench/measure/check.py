"""Our traces against the engine's own counts. A disagreement is an error: one of the two lies.

For every request with T tokens emitted by decoding steps, ``drafted`` and ``accepted`` of the steps
that had a draft, and DL the draft length:

* a step emits its accepted tokens and one bonus token, so sum(step - 1) = sum(accepted), but for
  the last step, which ``max_tokens`` or a stop token may have cut by up to DL tokens;
* over all requests the engine's lifetime counters grow by exactly the sums of what it told per
  request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_speedbench.engines.protocol import Counters, EngineError, Speculation, Trace


class MeasurementMismatch(EngineError):
    """The traces and the engine's own counters disagree."""


def align_drafts(trace: Trace) -> tuple[list[int], list[int]] | None:
    """(drafted, accepted) of every decoding step, 0 for a step without a draft.

    The engine tells only of steps that had a draft. A step of s > 1 tokens accepted s - 1; which of
    the one-token steps drafted in vain cannot be told, and makes no difference to any sum: the
    earliest that fits is taken. None where the engine does not tell.

    Raises:
        MeasurementMismatch: no assignment fits.
    """
    if trace.drafted is None or trace.accepted is None:
        return None
    if len(trace.drafted) != len(trace.accepted):
        raise _misfit(trace)
    steps = trace.steps
    drafted, accepted = [0] * len(steps), [0] * len(steps)
    at = 0
    for proposed, taken in zip(trace.drafted, trace.accepted, strict=True):
        while at < len(steps) and not _fits(steps, at, taken):
            if steps[at] != 1:
                raise _misfit(trace)
            at += 1
        if at == len(steps):
            raise _misfit(trace)
        drafted[at], accepted[at] = proposed, taken
        at += 1
    if any(size != 1 for size in steps[at:]):
        raise _misfit(trace)
    return drafted, accepted


def _fits(steps: Sequence[int], at: int, accepted: int) -> bool:
    last = at == len(steps) - 1
    return steps[at] == accepted + 1 or (last and steps[at] <= accepted + 1)


def _misfit(trace: Trace) -> MeasurementMismatch:
    return MeasurementMismatch(
        f"request {trace.request_id}: the engine says it accepted {trace.accepted} draft tokens, "
        f"but its decoding steps emitted {trace.steps}; these cannot belong together"
    )


def check_traces(traces: Sequence[Trace], speculation: Speculation) -> None:
    """Every trace on its own: lengths add up, and no step emits more than DL + 1 tokens.

    Raises:
        MeasurementMismatch: a trace contradicts itself or its engine's per-request counts.
    """
    for trace in traces:
        ids = len(trace.token_ids)
        if ids not in (0, trace.tokens) or len(trace.chunks) != len(trace.times):
            raise MeasurementMismatch(
                f"request {trace.request_id}: chunks hold {trace.tokens} tokens, the output {ids}"
            )
        longest = max(trace.steps, default=1)
        if longest > speculation.draft_length + 1:
            raise MeasurementMismatch(
                f"request {trace.request_id}: a step emitted {longest} tokens; with {speculation} "
                f"at most {speculation.draft_length + 1} are possible"
            )
        align_drafts(trace)


def check_counters(
    traces: Sequence[Trace], speculation: Speculation, grown: Counters | None
) -> None:
    """All traces of a run against the growth of the engine's counters over the run.

    Raises:
        MeasurementMismatch: the totals differ by more than cut-off last steps explain.
    """
    if grown is None or not speculation.active:
        return
    told = [trace for trace in traces if trace.drafted is not None and trace.accepted is not None]
    if len(told) == len(traces):
        ours = Counters(
            sum(len(trace.drafted or ()) for trace in told),
            sum(sum(trace.drafted or ()) for trace in told),
            sum(sum(trace.accepted or ()) for trace in told),
        )
        if ours != replace(grown, output_tokens=None):
            raise MeasurementMismatch(
                f"the engine's counters grew by {_words(grown)}, its requests add up to "
                f"{_words(ours)}; is somebody else using this engine?"
            )
        return
    emitted = sum(sum(trace.steps) - len(trace.steps) for trace in traces)
    cut = speculation.draft_length * len(traces)
    if not emitted <= grown.accepted_tokens <= emitted + cut:
        raise MeasurementMismatch(
            f"the engine counted {grown.accepted_tokens} accepted draft tokens, our traces "
            f"{emitted} (and at most {cut} more in last steps that were cut off)"
        )


def _words(counters: Counters) -> str:
    return (
        f"{counters.drafts} drafts, {counters.draft_tokens} drafted and "
        f"{counters.accepted_tokens} accepted tokens"
    )
