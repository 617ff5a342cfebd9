"""A run of ours against one that another tool has measured."""

from __future__ import annotations

from dataclasses import replace

from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.match import Match, not_verified
from pytest_speedbench.stats.data import RequestTrace, StepTrace


def imported_note(new: Record, match: Match) -> str:
    """Which side was imported, and what was not verified; empty where neither was."""
    sides = [record.imported for record in (match.record, new) if record and record.imported]
    if not sides:
        return ""
    sources = " and ".join(f"{one.tool}'s {one.source}" for one in sides)
    names = dict.fromkeys(name.replace("_", " ") for name in not_verified(*sides))
    return f"imported from {sources}; not verified: {', '.join(names)}"


def comparable_traces(old: Record, new: Record) -> tuple[list[RequestTrace], list[RequestTrace]]:
    """The requests of both sides, counted alike: where a tool leaves out the last step of each
    request, it is left out on the other side too.

    Raises:
        RecordError: a request of a record is damaged.
    """
    whole = [record.imported is None or record.imported.last_steps for record in (old, new)]
    traces = traces_of(old), traces_of(new)
    if all(whole):
        return traces
    first, second = (
        [_without_last_step(trace) for trace in side] if complete else side
        for side, complete in zip(traces, whole, strict=True)
    )
    return first, second


def _without_last_step(trace: RequestTrace) -> RequestTrace:
    """Totals are left as they are: the size of their last step is not known."""
    if not isinstance(trace, StepTrace) or not len(trace.steps):
        return trace
    last = int(trace.steps[-1])
    return replace(
        trace,
        steps=trace.steps[:-1],
        token_ids=None if trace.token_ids is None else trace.token_ids[:-last],
        drafted=None if trace.drafted is None else trace.drafted[:-1],
        accepted=None if trace.accepted is None else trace.accepted[:-1],
    )
