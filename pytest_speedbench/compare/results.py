"""What a session has measured and decided, as data: what every report is made of."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_speedbench.baselines.outcome import ChangeRecord, VerdictRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import SavedRun
from pytest_speedbench.compare.attribution import Attribution, attribute_records
from pytest_speedbench.compare.changes import Change
from pytest_speedbench.compare.comparison import Comparison
from pytest_speedbench.compare.family import Family
from pytest_speedbench.compare.match import Match, identity_of, match_in
from pytest_speedbench.compare.side_by_side import match_side
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.errors import NoData, count_of

_DEFAULT_STORAGE = ".benchmarks"  # of the commands, as of pytest-benchmark


@dataclass
class CaseResult:
    """One test: its record and its verdicts.

    Attributes:
        nodeid: the test; empty for a saved run.
        name: what the test or the case is called.
        key: the case, as text.
        group: distinguishes runs whose cases have the same key.
        record: what was measured.
        verdicts: those of the gate, and of the test's own comparisons and checks.
        attribution: what a change of the run's speedup against its baseline is due to.
        beside: how the latest run compares, where another one is the reference.
        false_asserts: comparisons of the test that were false; they count where the test fails by
            an assertion.
        changes: how the run differs from its baseline, likeliest causes of a change first.
        spent: on what the case has spent its share of α: comparison → place.
        baseline: the record compared with, without its requests where no report shows them.
    """

    nodeid: str
    name: str
    key: str
    group: str
    record: Record
    verdicts: list[Verdict] = field(default_factory=list)
    attribution: Attribution | None = None
    beside: str = ""
    false_asserts: list[str] = field(default_factory=list)
    changes: tuple[Change, ...] = ()
    spent: Mapping[str, int] = field(default_factory=dict)
    baseline: Record | None = None

    def add(self, verdict: Verdict) -> bool:
        """Keeps ``verdict``; False where the same one is there already."""
        if verdict in self.verdicts:
            return False
        self.verdicts.append(verdict)
        return True

    @property
    def final_record(self) -> Record:
        """The record with its verdicts, as it is saved."""
        saved: dict[str, Any] = {
            "verdicts": [record_of(verdict) for verdict in self.verdicts],
            "changes": [ChangeRecord(**change.as_dict()) for change in self.changes],
        }
        if self.record.gate is not None and self.spent:
            saved["gate"] = self.record.gate.model_copy(update={"spent": dict(self.spent)})
        return self.record.model_copy(update=saved)

    def as_dict(self) -> dict[str, Any]:
        """Plain builtins, so that an xdist worker can send it to the controller."""
        return {
            "nodeid": self.nodeid,
            "name": self.name,
            "key": self.key,
            "group": self.group,
            "record": self.record.model_dump(mode="json", by_alias=True),
            "baseline": self.baseline and self.baseline.model_dump(mode="json", by_alias=True),
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
            "attribution": self.attribution.as_dict() if self.attribution else None,
            "beside": self.beside,
            "changes": [change.as_dict() for change in self.changes],
            "spent": dict(self.spent),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CaseResult:
        """The inverse of :meth:`as_dict`."""
        return cls(
            nodeid=data["nodeid"],
            name=data["name"],
            key=data["key"],
            group=data["group"],
            record=Record.model_validate(data["record"]),
            verdicts=[Verdict.from_dict(verdict) for verdict in data["verdicts"]],
            attribution=Attribution.from_dict(data["attribution"]) if data["attribution"] else None,
            beside=data["beside"],
            changes=tuple(Change(**change) for change in data["changes"]),
            spent=data["spent"],
            baseline=Record.model_validate(data["baseline"]) if data["baseline"] else None,
        )


@dataclass
class SessionResults:
    """Everything that a report shows of a session, or of a saved run.

    Attributes:
        cases: one entry a test.
        family: how α was divided, one sentence.
        comparing: whether the session compared with saved runs.
        failure: why the session fails although no test did; empty if it does not.
        problems: files that could not be read or written.
        remarks: what workers of pytest-xdist would have said after collection.
        saved: files that hold the records.
        report: the HTML report of the session, for links to it; empty without one.
        skipped: reason → how many tests were skipped for it.
        reported: tests whose messages of failure stand above the report.
    """

    cases: list[CaseResult] = field(default_factory=list)
    family: str = ""
    comparing: bool = False
    failure: str = ""
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)
    report: str = ""
    skipped: dict[str, int] = field(default_factory=dict)
    reported: frozenset[str] = frozenset()

    @property
    def verdicts(self) -> list[Verdict]:
        """All verdicts, test by test."""
        return [verdict for case in self.cases for verdict in case.verdicts]

    @property
    def promote_command(self) -> str:
        """The command that makes this run what later runs are compared with."""
        # A place is STORAGE/MACHINE/FILE; the storage may be an address.
        place = self.saved[0].rsplit("/", 2) if self.saved else []
        if len(place) < 3:  # not saved, or a file that was named by its path
            return "speedbench baseline promote REF --reason TEXT"
        storage, _, file = place
        command = f"speedbench baseline promote {PurePosixPath(file).stem} --reason TEXT"
        if storage in (_DEFAULT_STORAGE, str(Path.cwd() / _DEFAULT_STORAGE)):
            return command
        return f"{command} --storage {shlex.quote(storage)}"

    @classmethod
    def of_saved_run(cls, run: SavedRun, baselines: Sequence[SavedRun] = ()) -> SessionResults:
        """A saved run, as the session that measured it reported it.

        Args:
            run: the saved run.
            baselines: saved runs among which those are looked for that it was compared with.
        """
        named = {str(saved): saved for saved in baselines}
        records = (*run.measured, *run.reference_build)
        cases = [_saved_case(record, _match_of(record, run, named)) for record in records]
        return cls(
            cases,
            _family_of(records),
            comparing=any(case.verdicts for case in cases),
            problems=list(unfinished(run.measured)),
            saved=[run.path],
        )

    @classmethod
    def of_comparison(cls, comparison: Comparison) -> SessionResults:
        """Two saved runs that were compared just now."""
        cases = [
            CaseResult(
                nodeid="",
                name=str(judged.new.case),
                key=str(judged.new.case),
                group=_group_of(judged.new),
                record=judged.new,
                verdicts=list(judged.verdicts),
                attribution=judged.attribution,
                changes=judged.changes,
                baseline=judged.old,
            )
            for judged in comparison.cases
        ]
        family = comparison.judge.family.describe()
        return cls(cases, family, comparing=True, saved=[comparison.new.path])


def _family_of(records: Sequence[Record]) -> str:
    """How the session of ``records`` divided α; empty where they do not say it."""
    gate = next((record.gate for record in records if record.gate), None)
    return Family(gate.alpha, gate.cases).describe() if gate else ""


def unfinished(records: Sequence[Record]) -> Iterator[str]:
    """A line if the session was ended before all of its cases were measured."""
    ended = [record.gate for record in records if record.gate and record.interrupted]
    if ended:
        yield (
            f"the session was interrupted: {len(records)} of {count_of(ended[0].cases, 'case')} "
            "were measured; never a default baseline"
        )


def _saved_case(record: Record, match: Match) -> CaseResult:
    key = str(record.case)
    verdicts = [verdict_of(saved, key) for saved in record.verdicts]
    changes = tuple(Change(c.field, c.old, c.new) for c in record.changes)
    case = CaseResult(
        nodeid="",
        name=key,
        key=key,
        group=_group_of(record),
        record=record,
        verdicts=verdicts,
        changes=changes,
    )
    case.baseline = match.record
    with suppress(NoData):
        case.attribution = attribute_records(record, match)
    return case


def _match_of(record: Record, run: SavedRun, named: Mapping[str, SavedRun]) -> Match:
    """What a record was compared with: the reference build beside it, or a saved run."""
    identity = identity_of(record)
    if record.side is not None:
        beside = (
            None
            if record.side.reference
            else match_side(identity, record.side, run.reference_build)
        )
        return beside or Match()
    old = next((named[v.baseline] for v in record.verdicts if v.baseline in named), None)
    return Match() if old is None else match_in(old, identity)


def _group_of(record: Record) -> str:
    build = record.side.session if record.of_reference_build and record.side else ""
    return f"{str(record.case).rpartition(':')[0]} {build}"


def merged(cases: Iterable[CaseResult]) -> list[CaseResult]:
    """One entry a case, however many tests have looked at it; their verdicts together."""
    found: dict[tuple[str, str], CaseResult] = {}
    for case in cases:
        known = found.get((case.group, case.key))
        if known is None:
            found[case.group, case.key] = CaseResult(**{**vars(case), "verdicts": [*case.verdicts]})
            continue
        known.attribution = known.attribution or case.attribution
        known.changes = known.changes or case.changes
        known.spent = {**known.spent, **case.spent}
        known.baseline = known.baseline or case.baseline
        for verdict in case.verdicts:
            known.add(verdict)
    return list(found.values())


def record_of(verdict: Verdict) -> VerdictRecord:
    """A verdict as a record keeps it."""
    data = verdict.as_dict()
    del data["case"]
    return VerdictRecord.model_validate(data)


def verdict_of(saved: VerdictRecord, case: str) -> Verdict:
    """The inverse of :func:`record_of`."""
    data = saved.model_dump(include=set(VerdictRecord.model_fields))
    return Verdict(case, **{**data, "outcome": Outcome(data["outcome"])})
