"""The journal of a session: each finished case at once, in a file that survives a kill.

One file a process (a session, or an xdist worker of one), locked while the process lives. When the
session has saved its records the journal is removed; one that is left behind, without a lock, is of
a session that was killed, and becomes a saved run whose records are marked partial.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pytest_speedbench.baselines.entries import benchmark_entry, run_document
from pytest_speedbench.baselines.files import LocalFiles, open_regular
from pytest_speedbench.baselines.index import cache_folder
from pytest_speedbench.baselines.numbering import save_new
from pytest_speedbench.baselines.schema import Record, parse_record
from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.errors import RecordError

FOLDER = ".speedbench-journal"
SUFFIX = ".jsonl"
RECOVERED = "recovered from the journal of a session that was interrupted"


@dataclass(frozen=True, slots=True)
class Entry:
    """One case of a journal: the test that measured it, and its record."""

    name: str
    nodeid: str
    group: str
    record: Record


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was recovered: the saved run's place, and how many cases are in it."""

    place: str
    cases: int


def journal_folder(store: Store) -> Path:
    """Beside the saved runs, or in the user's cache folder for a storage that is not a folder."""
    if isinstance(store.files, LocalFiles):
        return Path(store.files.shown()) / FOLDER
    return cache_folder() / "journal"


@dataclass
class Journal:
    """The journal of this process.

    Attributes:
        folder: where journals lie.
        session: names the session; the same for all of its xdist workers.
        head: what every record of the session has in common (``machine_info``, ``commit_info``).
        machine: the folder of this machine in the storage.
        problem: why nothing can be written; empty as long as it can.
    """

    folder: Path
    session: str
    head: dict[str, Any]
    machine: str = ""
    problem: str = ""
    _file: IO[str] | None = field(default=None, init=False)

    def add(self, entry: Entry) -> None:
        """Writes a case; the later entry of the same case counts. A full disk is a problem, and no
        error: the case is still in memory."""
        line = {
            "name": entry.name,
            "nodeid": entry.nodeid,
            "group": entry.group,
            "record": entry.record.model_dump(mode="json", by_alias=True),
        }
        try:
            if self._file is None:
                self._file = self._open()
            self._write(line)
        except OSError as error:
            self.problem = f"cannot write the journal in {self.folder}: {error.strerror or error}"

    def hold(self) -> None:
        """Locks a file of this process, so that no other session recovers those of its workers."""
        try:
            if self._file is None:
                self._file = self._open()
        except OSError as error:
            self.problem = f"cannot write the journal in {self.folder}: {error.strerror or error}"

    def _open(self) -> IO[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = self.folder / f"{self.session}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
            file = path.open("x", encoding="utf-8")
            if _lock(file) and path.exists():
                break
            file.close()  # somebody took the empty file for one that was left behind
        self._file = file
        self._write({"journal": 1, "machine": self.machine, **self.head})
        return file

    def _write(self, line: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Gives up the lock; the file stays."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def discard(self) -> None:
        """Removes the journals of the session, its workers' included: all is saved."""
        self.close()
        for path in self.folder.glob(f"{self.session}-*{SUFFIX}"):
            with contextlib.suppress(OSError):
                path.unlink()

    def others_are_open(self) -> bool:
        """Whether another process of the session still writes its journal."""
        own = Path(self._file.name) if self._file is not None else None
        for path in self.folder.glob(f"{self.session}-*{SUFFIX}"):
            with _unlocked(path) as file:
                if file is None and path != own and path.exists():
                    return True
        return False

    def left_behind(self) -> list[Entry]:
        """The cases in journals of this session whose process has ended: of crashed workers."""
        found: dict[tuple[str, str], Entry] = {}
        for path in sorted(self.folder.glob(f"{self.session}-*{SUFFIX}")):
            with _unlocked(path) as file:
                if file is not None:
                    found |= {(e.group, str(e.record.case)): e for e in _entries(file)}
        return list(found.values())


def recover(store: Store) -> list[Recovered]:
    """Turns the journals of killed sessions into saved runs; those of live ones are left alone.

    Records are marked partial, so that they are never a default reference.

    Raises:
        OSError: a run cannot be saved; its journal stays.
    """
    folder = journal_folder(store)
    if not folder.is_dir():
        return []
    sessions = dict.fromkeys(_session_of(path) for path in sorted(folder.glob(f"*{SUFFIX}")))
    found = (_recover(store, folder, session) for session in sessions)
    return [recovered for recovered in found if recovered is not None]


def _session_of(path: Path) -> str:
    return path.name.removesuffix(SUFFIX).rsplit("-", 2)[0]


def _recover(store: Store, folder: Path, session: str) -> Recovered | None:
    """One session, all its journals together; None where a process of it lives, or it has nothing.

    The locks are held until the run is saved, so that two sessions do not recover the same one.
    """
    paths = sorted(folder.glob(f"{session}-*{SUFFIX}"))
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(_unlocked(path)) for path in paths]
        if any(file is None for file in files):
            return None
        heads = [_head(file) for file in files if file is not None]
        entries = {
            (entry.group, str(entry.record.case)): entry
            for file in files
            if file is not None
            for entry in _entries(file)
        }
        recovered = None
        head = next((head for head in heads if head), None)
        if entries and head is not None:
            recovered = _save(store, head, list(entries.values()))
        for path in paths:
            path.unlink(missing_ok=True)
        return recovered


def _save(store: Store, head: dict[str, Any], entries: list[Entry]) -> Recovered | None:
    benchmarks = []
    for entry in entries:
        notes = [*entry.record.notes, RECOVERED]
        record = entry.record.model_copy(update={"partial": True, "notes": notes})
        benchmark = benchmark_entry(entry.name, entry.nodeid, record)
        if benchmark is not None:
            benchmarks.append(benchmark)
    if not benchmarks:
        return None
    machine = Path(str(head.get("machine") or "recovered")).name
    name = save_new(store.files, machine, "recovered", run_document(head, benchmarks))
    return Recovered(store.files.shown(name), len(benchmarks))


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _unlocked(path: Path) -> Iterator[IO[str] | None]:
    """The journal, locked by us; None where its process lives, or it is gone."""
    try:
        file = os.fdopen(open_regular(path), encoding="utf-8", errors="replace")
    except OSError:
        yield None
        return
    with file:
        yield file if _lock(file) and path.exists() else None


def _head(file: IO[str]) -> dict[str, Any] | None:
    file.seek(0)
    first = _parsed(file.readline())
    return first if first is not None and first.get("journal") == 1 else None


def _entries(file: IO[str]) -> Iterator[Entry]:
    """The whole entries of a journal: a line that was cut off, or is damaged, is left out."""
    file.seek(0)
    for line in file:
        data = _parsed(line)
        if data is None or "record" not in data:
            continue
        try:
            record = parse_record(data["record"])
        except RecordError:
            continue
        yield Entry(str(data["name"]), str(data["nodeid"]), str(data["group"]), record)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        data = json.loads(line)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None
