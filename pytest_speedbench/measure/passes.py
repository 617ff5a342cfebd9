"""One pass of samples through an engine, held against the engine's own counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_speedbench.engines.protocol import Counters, RequestTotals, Speculation
from pytest_speedbench.errors import ForeignTrafficError
from pytest_speedbench.measure.check import (
    check_counters,
    check_output,
    check_prompt,
    check_traces,
)
from pytest_speedbench.measure.counted import count
from pytest_speedbench.measure.failures import FailureLimit, count_failed, too_many_failed
from pytest_speedbench.measure.load import ClosedLoop, Enough, Progress
from pytest_speedbench.measure.results import Counted, Pass, Turn
from pytest_speedbench.splits import Sample


def counts_by_slice(loop: ClosedLoop, batch_size: int) -> bool:
    """Whether acceptance comes from counters alone, with more than one request in flight."""
    if loop.reported.counts or batch_size == 1:
        return False
    return not loop.speculation.active or loop.engine.counters() is not None


def checked_pass(
    loop: ClosedLoop,
    samples: Sequence[Sample],
    batch_size: int,
    progress: Progress,
    enough: Enough | None = None,
    limit: FailureLimit | None = None,
) -> Pass:
    """Sends ``samples`` and holds what came back against the engine's own counts.

    Raises:
        MeasurementMismatch, EngineDied: as :func:`run_rounds`.
    """
    before = loop.engine.counters()
    every = loop.run(samples, batch_size, progress, enough, limit)
    after = loop.engine.counters()
    turns = [turn for turn in every if turn.complete]
    failed = count_failed(turn.trace for turn in every)
    traces = [turn.trace for turn in turns]
    grown = None if before is None or after is None else after - before
    foreign = str(loop.engine.info.details.get("counters", ""))
    # The counters hold what was decoded of the failed ones, too.
    pass_ = Pass(turns, None if failed else grown, failed, foreign=foreign)
    if not loop.reported.counts and loop.speculation.active:
        pass_ = _from_counters(loop, pass_, grown, batch_size)
    check_traces(traces, loop.speculation)
    if loop.reported.prompt_form == "token_ids":
        for turn in turns:
            check_prompt(turn.trace, turn.prompt_ids)
    if loop.reported.counts and grown is not None:
        if failed:
            check_output(traces, grown, failed.total() * loop.sampling.max_tokens)
        else:
            check_counters(traces, loop.speculation, grown)
    return pass_


def send_parts(
    loop: ClosedLoop,
    parts: Sequence[Sequence[Sample]],
    batch_size: int,
    progress: Progress,
    limit: FailureLimit | None = None,
) -> list[Pass]:
    """A pass for each of ``parts``, one after another; ``progress`` counts over all of them.

    Raises:
        EngineError: every answer of a pass was broken off, so that there is nothing to time.
        MeasurementMismatch, EngineDied: as :func:`checked_pass`.
    """
    passes: list[Pass] = []
    sent, total = 0, sum(map(len, parts))
    for part in parts:

        def show(finished: int, _: int, before: int = sent) -> None:
            progress(before + finished, total)

        pass_ = checked_pass(loop, part, batch_size, show, limit=limit)
        if pass_.failed and not pass_.turns:
            raise too_many_failed(pass_.failed, sum(pass_.failed.values()), loop.max_failed)
        passes.append(pass_)
        sent += len(part)
    return passes


def _from_counters(loop: ClosedLoop, pass_: Pass, grown: Counters | None, batch_size: int) -> Pass:
    """Acceptance of each request that ran alone, or of the one slice that was sent."""
    if pass_.failed and batch_size > 1:
        why = "the engine's counters hold what was decoded of answers that were broken off"
        return replace(pass_, unknown=why)
    if grown is None:  # none are kept, or the engine states why they must not be used
        return replace(pass_, unknown=pass_.foreign)
    try:
        if batch_size == 1:
            return replace(pass_, hidden=_count_each(loop, pass_.turns))
        return replace(pass_, counted=_count_slice(pass_.turns, loop.speculation, grown))
    except ForeignTrafficError as error:
        for turn in pass_.turns:
            turn.trace.totals = RequestTotals()
        return replace(pass_, unknown=str(error))


def _count_each(loop: ClosedLoop, turns: Sequence[Turn]) -> int:
    """Gives each request its totals; returns how many steps may be hidden behind cuts."""
    hidden = 0
    for turn in turns:
        own = loop.grown.get(turn.trace.request_id)
        if own is None:
            raise ForeignTrafficError("the engine's counters went away")
        counted = count([turn.trace], 1, loop.speculation, own)
        turn.trace.totals = counted.totals
        hidden += counted.hidden
    return hidden


def _count_slice(
    turns: Sequence[Turn], speculation: Speculation, grown: Counters
) -> dict[str, Counted]:
    slices = {turn.category for turn in turns}
    if len(slices) > 1:
        raise ForeignTrafficError("counters cannot separate slices that ran together")
    samples = len({turn.sample for turn in turns})
    return {name: count([t.trace for t in turns], samples, speculation, grown) for name in slices}
