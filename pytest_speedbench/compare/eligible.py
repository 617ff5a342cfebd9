"""Which saved records may be the default reference.

A run that was judged bad must not become what later runs are judged by, nor a category that did not
pass beside an ``all`` that failed. *Incomparable*, *undecided* and *no baseline* leave a record
eligible, so that a new model or split starts its own line. What another tool measured is none: much
of it cannot be verified. Nor is what ``speedbench tune`` or ``speedbench analyze`` measured, on few
samples and a grid of their own. A record that is named explicitly is used whatever this module
says, with a remark. Records of the reference build of a side-by-side session are not even among
those of a saved run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.outcome import VerdictRecord
from pytest_speedbench.baselines.schema import RecordSummary
from pytest_speedbench.baselines.storage import SavedRun
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.splits import ALL

_BAD = (Outcome.FAIL, Outcome.SPECULATION_OFF, Outcome.DEGENERATE)
_HELD = (Outcome.PASS, Outcome.IMPROVED)


@dataclass(frozen=True, slots=True)
class Eligibility:
    """The rule for one session.

    Attributes:
        clean: whether the working tree of this session has no uncommitted changes; then runs of a
            tree that had some are left out.
        skip_commit: records of this commit are left out, for ``--speed-compare=BRANCH``; empty for
            none.
    """

    clean: bool = False
    skip_commit: str = ""

    def objection(self, record: RecordSummary, run: SavedRun) -> str:
        """Why ``record`` of ``run`` is not a default reference; empty where it is one."""
        if record.imported:
            return f"it was imported from {record.imported.source}"
        if record.command:
            return f"it was measured by {record.command}"
        if record.partial or record.interrupted:
            return "its run was not finished"
        if record.speculation_off:
            return "its speculation was off"
        for verdict in record.verdicts:
            if verdict.outcome in _BAD:
                return f"its verdict was {verdict.metric}: {verdict.outcome}"
        for verdict in _verdicts_of_whole(record, run):
            if verdict.outcome in _BAD:
                return f"the verdict of {ALL}, beside it, was {verdict.metric}: {verdict.outcome}"
        if self.clean and run.dirty:
            return "it was measured with uncommitted changes, and this tree has none"
        if self.skip_commit and run.commit == self.skip_commit:
            return "it is of the current commit"
        return ""


def _verdicts_of_whole(record: RecordSummary, run: SavedRun) -> Sequence[VerdictRecord]:
    """The verdicts of ``all`` beside it where the slice of ``record`` did not show that it held."""
    if any(verdict.outcome in _HELD for verdict in record.verdicts):
        return ()
    whole = record.case.model_copy(update={"slice": ALL})
    return next((one.verdicts for one in run.summaries if one.case == whole), ())


ANY = Eligibility()
"""The rule without what only a session knows."""


def latest_eligible(runs: Sequence[SavedRun]) -> set[str]:
    """The places of the runs (oldest first) with the latest eligible record of a case.

    Without them a later session would find no baseline, and would pass.
    """
    found: dict[CaseKey, str] = {}
    for run in runs:
        found |= {
            record.case: run.place for record in run.summaries if not ANY.objection(record, run)
        }
    return set(found.values())
