"""Our traces against the engine's own counts. A disagreement is an error.

For every request with T tokens emitted by decoding steps, ``drafted`` and ``accepted`` of the steps
that had a draft, and DL the draft length:

* a step emits its accepted tokens and one bonus token, so sum(step - 1) = sum(accepted), but for
  the last step, which ``max_tokens`` or a stop token may have cut by up to DL tokens;
* over all requests the engine's lifetime counters grow by exactly the sums of what it reported
  per request.

Of a request with totals alone: D steps emit at least D tokens and at most D (DL + 1), and
T = D + accepted but for the cut of the last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_speedbench.engines.protocol import Counters, RequestTotals, Speculation, Trace
from pytest_speedbench.errors import UNUSABLE_COUNTS, MeasurementMismatch

_NO_DRAFT: tuple[None, int] = (None, 0)
# Draft tokens of a step, the nodes of a tree: no engine verifies as many at once.
_MOST_DRAFTED = 4096


def align_drafts(trace: Trace) -> tuple[list[int], list[int]] | None:
    """(drafted, accepted) of every decoding step, 0 for a step without a draft.

    The engine reports only the steps that had a draft. A step of s > 1 tokens accepted s - 1; which
    of the one-token steps drafted in vain is unknown, and makes no difference to any sum: the
    earliest that fits is taken. None where the engine reports no drafts.

    Raises:
        MeasurementMismatch: no assignment fits.
    """
    if trace.drafted is None or trace.accepted is None:
        return None
    if len(trace.drafted) != len(trace.accepted):
        raise _misfit(trace)
    steps = trace.steps
    if every_step_drafts(steps, trace.accepted):
        return list(trace.drafted), list(trace.accepted)
    drafted, accepted = [0] * len(steps), [0] * len(steps)
    reported = zip(trace.drafted, trace.accepted, strict=True)
    proposed, taken = next(reported, _NO_DRAFT)
    for at, size in enumerate(steps):
        cut = at == len(steps) - 1 and size <= taken
        if proposed is not None and (size == taken + 1 or cut):
            drafted[at], accepted[at] = proposed, taken
            proposed, taken = next(reported, _NO_DRAFT)
        elif size != 1:
            raise _misfit(trace)
    if proposed is not None:
        raise _misfit(trace)
    return drafted, accepted


def every_step_drafts(steps: Sequence[int], accepted: Sequence[int]) -> bool:
    """Whether the drafts are those of all steps in order, the usual case; the last step may have
    been cut."""
    if len(steps) != len(accepted) or not steps:
        return not steps and not accepted
    full = [taken + 1 for taken in accepted]
    return list(steps[:-1]) == full[:-1] and steps[-1] <= full[-1]


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
        _check_shares(trace)
        if trace.totals is not None:
            _check_totals(trace, trace.totals, speculation)
            continue
        if trace.prefill_tokens and trace.chunks[:1] not in ([], [trace.prefill_tokens]):
            raise MeasurementMismatch(
                f"request {trace.request_id}: its first event holds {trace.chunks[0]} tokens, but "
                f"the prefill emits {trace.prefill_tokens}; steps cannot be counted by events: "
                "the adapter has to give totals"
            )
        longest = max(trace.steps, default=1)
        if longest > speculation.draft_length + 1:
            raise MeasurementMismatch(
                f"request {trace.request_id}: a step emitted {longest} tokens; with {speculation} "
                f"at most {speculation.draft_length + 1} are possible"
            )
        _check_drafts(trace, speculation)
        align_drafts(trace)


def _check_drafts(trace: Trace, speculation: Speculation) -> None:
    for drafted, accepted in zip(trace.drafted or (), trace.accepted or (), strict=False):
        most = min(drafted, speculation.draft_length)
        if not 0 <= accepted <= most or drafted > _MOST_DRAFTED:
            raise MeasurementMismatch(
                f"request {trace.request_id}: the engine says that a step accepted {accepted} of "
                f"{drafted} draft tokens, with {speculation}; {UNUSABLE_COUNTS}"
            )


def _check_shares(trace: Trace) -> None:
    for what, some, of in (
        ("prompt tokens came from its prefix cache", trace.cached_tokens, trace.prompt_tokens),
        ("output tokens were hidden, as reasoning may be", trace.hidden_tokens, trace.tokens),
    ):
        if not 0 <= (some or 0) <= of:
            raise MeasurementMismatch(
                f"request {trace.request_id}: the engine says {some} of {of} {what}; "
                f"{UNUSABLE_COUNTS}"
            )


def check_prompt(trace: Trace, prompt_ids: Sequence[int]) -> None:
    """The prompt as the engine counts it, where it was sent as token ids: nothing may be added.

    Raises:
        MeasurementMismatch: another number of tokens.
    """
    if trace.prompt_tokens != len(prompt_ids):
        raise MeasurementMismatch(
            f"request {trace.request_id}: the engine counts {trace.prompt_tokens} prompt tokens, "
            f"{len(prompt_ids)} were sent as ids. It adds tokens, such as a second BOS, or drops "
            "some, so its prompts differ from those of other engines: use a version that takes "
            "token ids as they are"
        )


def _check_totals(trace: Trace, totals: RequestTotals, speculation: Speculation) -> None:
    steps, drafted, accepted = totals.steps, totals.draft_tokens, totals.accepted_tokens
    emitted, most = trace.decoded_tokens, speculation.draft_length
    wrong = ""
    if drafted is not None and accepted is not None and not 0 <= accepted <= drafted:
        wrong = f"accepted {accepted} of {drafted} draft tokens"
    elif drafted is not None and drafted > _MOST_DRAFTED * max(1, emitted):
        wrong = f"drafted {drafted} tokens"
    elif steps is not None and not steps <= emitted <= steps * (most + 1):
        wrong = f"took {steps} decoding steps, each of 1 to {most + 1} tokens with {speculation}"
    elif steps is not None and accepted is not None and not 0 <= steps + accepted - emitted <= most:
        wrong = f"took {steps} decoding steps and accepted {accepted} draft tokens"
    if wrong:
        raise MeasurementMismatch(
            f"request {trace.request_id}: the engine says it {wrong}, but {emitted} tokens came "
            "after the prefill's; these cannot belong together"
        )


def check_counters(
    traces: Sequence[Trace], speculation: Speculation, grown: Counters | None
) -> None:
    """All traces of a run against the growth of the engine's counters over the run.

    Raises:
        MeasurementMismatch: the totals differ by more than cut-off last steps explain.
    """
    if grown is None or not speculation.active:
        return
    check_output(traces, grown)
    ours = [_counts(trace) for trace in traces]
    reported = [counts for counts in ours if counts is not None]
    if len(reported) < len(ours):
        _check_accepted(traces, speculation, grown)
    elif any(trace.totals is not None for trace in traces):
        total = sum(reported, Counters())
        compared = replace(grown, drafts=0, output_tokens=None)
        if replace(total, drafts=0) != compared:
            raise _disagreement(compared, replace(total, drafts=0))
    elif (total := sum(reported, Counters())) != replace(grown, output_tokens=None):
        raise _disagreement(grown, total)


def _counts(trace: Trace) -> Counters | None:
    """What the engine reported of one request, in its counters' terms; None where it reported
    nothing."""
    if trace.totals is not None:
        drafted, accepted = trace.totals.draft_tokens, trace.totals.accepted_tokens
        if drafted is None or accepted is None:
            return None
        return Counters(0, drafted, accepted, 0)
    if trace.drafted is None or trace.accepted is None:
        return None
    return Counters(len(trace.drafted), sum(trace.drafted), sum(trace.accepted), 0)


def _disagreement(grown: Counters, ours: Counters) -> MeasurementMismatch:
    return MeasurementMismatch(
        f"the engine's counters grew by {_described(grown)}, its requests add up to "
        f"{_described(ours)}; is another client using this engine?"
    )


def check_output(traces: Sequence[Trace], grown: Counters, unseen: int = 0) -> None:
    """The output tokens that the engine counted, where it does: those of ``traces``, and up to
    ``unseen`` more of answers that were broken off.

    Raises:
        MeasurementMismatch: fewer, or more.
    """
    ours = sum(trace.tokens for trace in traces)
    if grown.output_tokens is not None and not 0 <= grown.output_tokens - ours <= unseen:
        broken = f" and up to {unseen} more, in answers that were broken off" if unseen else ""
        raise MeasurementMismatch(
            f"the engine emitted {grown.output_tokens} output tokens, our requests {ours}{broken}; "
            "is another client using this engine?"
        )


def _check_accepted(traces: Sequence[Trace], speculation: Speculation, grown: Counters) -> None:
    """Requests that do not report their accepted tokens: by their output, where steps are known."""
    steps = [trace.decoding_steps for trace in traces]
    known = [count for count in steps if count is not None]
    if len(known) < len(steps):
        return
    emitted = sum(trace.decoded_tokens for trace in traces) - sum(known)
    cut = speculation.draft_length * len(traces)
    if not emitted <= grown.accepted_tokens <= emitted + cut:
        raise MeasurementMismatch(
            f"the engine counted {grown.accepted_tokens} accepted draft tokens, our traces "
            f"{emitted} (and at most {cut} more in last steps that were cut off)"
        )


def _described(counters: Counters) -> str:
    return (
        f"{counters.drafts} drafts, {counters.draft_tokens} drafted and "
        f"{counters.accepted_tokens} accepted tokens"
    )
