"""A model of a storage that sessions save to, are killed over, prune and promote in.

Nothing measured is lost but by a prune that was asked for, and no run that failed or was not
finished becomes a default reference.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pytest_speedbench.baselines.archive import prune
from pytest_speedbench.baselines.entries import benchmark_entry, run_document
from pytest_speedbench.baselines.files import LocalFiles
from pytest_speedbench.baselines.index import NAME as INDEX
from pytest_speedbench.baselines.journal import Entry, Journal, journal_folder, recover
from pytest_speedbench.baselines.numbering import save_new
from pytest_speedbench.baselines.outcome import GateRecord, VerdictRecord
from pytest_speedbench.baselines.promoted import demote, promote, promoted_run, promotions
from pytest_speedbench.baselines.storage import SavedRun, Store
from pytest_speedbench.compare.eligible import latest_eligible
from pytest_speedbench.compare.match import find_baseline, identity_of
from pytest_speedbench.errors import BaselineError
from tests.compare.saved_runs import record

from .mutations import share

CASES = {name: record(name, samples=range(1), rounds=0) for name in ("math", "qa")}
MACHINE = "machine"
DISK_FULL = OSError(28, "No space left on device")
outcomes = st.sampled_from(["pass", "improved", "undecided", "no baseline", "fail", "fail"])
cases = st.lists(
    st.tuples(st.sampled_from(sorted(CASES)), outcomes, st.booleans()), min_size=1, max_size=3
)


class Sessions(RuleBasedStateMachine):
    """Each measured case has a number, which is a note in its record."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.measured = 0
        self.saved: set[str] = set()
        self.left: dict[str, set[str]] = {}
        """Numbers in journals of killed sessions, by session."""
        self.live: dict[str, tuple[Journal, set[str]]] = {}
        self.good: set[str] = set()
        """Numbers of cases that may become a default reference once they are saved."""

    def teardown(self) -> None:
        for journal, _ in self.live.values():
            journal.close()
        shutil.rmtree(self.folder)

    @property
    def store(self) -> Store:
        return Store(self.folder)

    # -- sessions -----------------------------------------------------------------------------

    def _measure(self, found: list[tuple[str, str, bool]]) -> tuple[Journal, list[Entry]]:
        journal = Journal(journal_folder(self.store), f"s{self.measured}", {}, MACHINE)
        entries = []
        for name, outcome, finished in found:
            self.measured += 1
            changes = {
                "notes": [str(self.measured)],
                "verdicts": [VerdictRecord(metric="acceptance_length", outcome=outcome)],
                "gate": GateRecord(
                    alpha=0.01, cases=1, reach=0.12, session="passed" if finished else "interrupted"
                ),
            }
            whole = CASES[name].model_copy(update=changes)
            entries.append(Entry("t", "t", str(self.measured), whole))
            if finished and outcome != "fail":
                self.good.add(str(self.measured))
            journal.add(entries[-1])
        return journal, entries

    @rule(found=cases)
    def session_that_saves(self, found: list[tuple[str, str, bool]]) -> None:
        journal, entries = self._measure(found)
        self._save(entries)
        journal.discard()
        self.saved |= _numbers(entries)

    def _save(self, entries: list[Entry]) -> None:
        kept = [benchmark_entry(entry.name, entry.nodeid, entry.record) for entry in entries]
        save_new(self.store.files, MACHINE, "night", run_document({}, kept))

    @rule(found=cases)
    def session_that_is_killed(self, found: list[tuple[str, str, bool]]) -> None:
        journal, entries = self._measure(found)
        journal.close()
        self.left[journal.session] = _numbers(entries)

    @rule(found=cases)
    def session_whose_disk_is_full(self, found: list[tuple[str, str, bool]]) -> None:
        journal, entries = self._measure(found)
        with suppress(OSError), full_disk():
            self._save(entries)
        journal.close()
        self.left[journal.session] = _numbers(entries)

    @rule(found=cases)
    def session_that_goes_on(self, found: list[tuple[str, str, bool]]) -> None:
        journal, entries = self._measure(found)
        self.live[journal.session] = journal, _numbers(entries)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(sorted(self.live)))
        journal, numbers = self.live.pop(session)
        journal.close()
        self.left[session] = numbers

    @precondition(lambda self: self.left)
    @rule(data=st.data(), rest=st.binary(max_size=9))
    def last_line_is_torn(self, data: st.DataObject, rest: bytes) -> None:
        session = data.draw(st.sampled_from(sorted(self.left)))
        (path,) = journal_folder(self.store).glob(f"{session}-*")
        with path.open("ab") as file:
            file.write(b'{"name": "' + rest)

    # -- what else happens to a storage -------------------------------------------------------

    @rule()
    def recover(self) -> None:
        recover(self.store)
        self.good -= set().union(*self.left.values())
        self.saved |= set().union(*self.left.values())
        self.left.clear()

    @precondition(lambda self: self.left)
    @rule()
    def recover_on_a_full_disk(self) -> None:
        with suppress(OSError), full_disk():
            recover(self.store)

    @precondition(lambda self: self.saved)
    @rule(data=st.data(), name=st.sampled_from(["default", "release"]))
    def promote(self, data: st.DataObject, name: str) -> None:
        promote(self.store, data.draw(st.sampled_from(self.store.runs())), name)

    @rule(name=st.sampled_from(["default", "release"]))
    def demote(self, name: str) -> None:
        with suppress(BaselineError):
            demote(self.store, name)

    @rule(keep=st.integers(1, 3))
    def prune(self, keep: int) -> None:
        before = self._references()
        promoted = {pointer.run for pointer in promotions(self.store).values()}
        removed = prune(self.store, keep, promoted | latest_eligible(self.store.runs()))
        assert not promoted & {run.place for run in removed}
        assert self._references() == before
        self.saved = {number for run in self.store.runs() for number in _of(run)}
        assert {key for run in removed for key in run.keys} <= {
            key for run in self.store.runs() for key in run.keys
        }

    @rule(content=st.binary(max_size=20), length=st.integers(0, 500))
    def index_is_damaged(self, content: bytes, length: int) -> None:
        index = self.folder / INDEX
        before = index.read_bytes()[:length] if index.exists() else b""
        index.write_bytes(before + content)

    # -- what holds ---------------------------------------------------------------------------

    @invariant()
    def nothing_measured_is_lost(self) -> None:
        store = self.store
        assert {number for run in store.runs() for number in _of(run)} == self.saved
        assert store.problems == []
        waiting = set(self.left) | set(self.live)
        journals = journal_folder(store).glob("*")
        assert {path.name.rsplit("-", 2)[0] for path in journals} == waiting

    def _references(self) -> dict[str, str | None]:
        """By case, the number of its default reference."""
        runs = self.store.runs()
        found = {name: find_baseline(identity_of(case), runs) for name, case in CASES.items()}
        return {name: m.record.notes[0] if m.record else None for name, m in found.items()}

    @invariant()
    def no_failed_or_unfinished_run_is_a_default_reference(self) -> None:
        assert set(self._references().values()) <= {None, *self.good}

    @invariant()
    def promoted_runs_are_there(self) -> None:
        for name in promotions(self.store):
            assert promoted_run(self.store, name) is not None


def _numbers(entries: list[Entry]) -> set[str]:
    return {entry.record.notes[0] for entry in entries}


def _of(run: SavedRun) -> set[str]:
    return {found.notes[0] for found in (*run.records.values(), *run.twins)}


@contextmanager
def full_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFiles, "create", _refuse)
        yield


def _refuse(*arguments: object) -> None:
    raise DISK_FULL


TestSessions = Sessions.TestCase
TestSessions.settings = settings(share(5), stateful_step_count=12)
