"""The two arms of a side-by-side session: the reference build's record plays the baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pytest_speedbench.baselines.provenance import SideRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import SavedRun
from pytest_speedbench.compare.match import Identity, Match, compare_identity
from pytest_speedbench.engines.packages import UNKNOWN

NAME = "reference build"


def match_side(identity: Identity, side: SideRecord, records: Iterable[Record]) -> Match | None:
    """The record that a case was measured beside, as its baseline; None where it is not there.

    Args:
        identity: the case of the build under test.
        side: its record's.
        records: those of reference builds.
    """
    for record in records:
        if record.case == identity.case and record.side and record.side.session == side.session:
            match = compare_identity(record, _as_run(record), identity)
            apart = filter(None, (*match.timing, side.apart))
            return replace(match, timing=tuple(apart))
    return None


def of_one_pair(old: Record, new: Record) -> bool:
    """Whether two records were measured side by side."""
    return old.side is not None and new.side is not None and old.side.session == new.side.session


def _as_run(record: Record) -> SavedRun:
    """Names the record in verdicts."""
    commit = "" if record.engine.commit == UNKNOWN else record.engine.commit
    return SavedRun(NAME, commit, False, "", "", (record,), lambda: (record,))
