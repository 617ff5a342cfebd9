"""The earlier sessions that a stored timing is held against: eligible ones, of the same machine.

Rounds of one session share its clocks, temperature and neighbours, so one session is one number,
and the baseline's alone says nothing of how much sessions differ. The sessions at the same level
do: those before the run under test, back to the last one that was *improved* in the metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import SavedRun
from pytest_speedbench.compare.eligible import ANY
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.errors import NoData

MOST_SESSIONS = 20
Values = Callable[[Record], list[float]]
"""The rounds of a record, in one metric."""


def earlier_rounds(
    new: Record, match: Match, metric: str, values: Values
) -> dict[str, list[list[float]]]:
    """The rounds of each earlier session, oldest first, by run: :func:`timing_key` names it.

    Runs of other cases are there too, since they show how much sessions of this machine differ.

    Args:
        new: the record under test.
        match: its baseline, and the saved runs before it.
        metric: the gated metric.
        values: reads the rounds of a record.
    """
    found: dict[str, list[list[float]]] = {}
    for run in reversed(list(islice(_sessions(new, match, metric), MOST_SESSIONS))):
        taken = set()
        for record in run.records.values():
            key = timing_key(record)
            if key in taken or not _counts(record, run, new):
                continue
            with suppress(NoData):  # it was measured without the metric
                found[key] = [*found.get(key, ()), values(record)]
                taken.add(key)
    return found


def timing_key(record: Record) -> str:
    """What throughput belongs to: the case without its slice, and what a round sends."""
    sampling = record.sampling.model_dump_json()
    requests = sorted({round_.requests for round_ in record.rounds})
    return f"{record.case.model_copy(update={'slice': ''})} {sampling} {requests}"


def _sessions(new: Record, match: Match, metric: str) -> Iterator[SavedRun]:
    """Newest first; the baseline's own always."""
    runs = list(match.earlier())
    if match.run is not None and not any(_same(match.run, run) for run in runs):
        runs.append(match.run)
    for run in reversed(runs):
        if new.machine.fingerprint in {head.machine.fingerprint for head in run.summaries}:
            yield run
        verdicts = [v for head in run.summaries if head.case == new.case for v in head.verdicts]
        if any(v.metric == metric and v.outcome == Outcome.IMPROVED for v in verdicts):
            return


def _same(run: SavedRun, other: SavedRun) -> bool:
    return (run.name, run.time) == (other.name, other.time)


def _counts(record: Record, run: SavedRun, new: Record) -> bool:
    """Whether a record is eligible, timed and of the machine of ``new``."""
    same_machine = record.machine.fingerprint == new.machine.fingerprint
    return bool(record.rounds) and same_machine and not ANY.objection(record, run)


def before(run: SavedRun, runs: Callable[[], Sequence[SavedRun]]) -> Callable[[], list[SavedRun]]:
    """Those of ``runs`` that were saved before ``run``; all others where its time is unknown."""

    def earlier() -> list[SavedRun]:
        others = [other for other in runs() if not _same(run, other)]
        moment = run.moment
        if moment is None:
            return others
        return [other for other in others if other.moment is None or other.moment < moment]

    return earlier
