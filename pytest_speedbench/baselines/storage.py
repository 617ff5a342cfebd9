"""Finds saved runs in a storage: by number, name, file, commit or branch.

A storage is a folder, as pytest-benchmark keeps it, or an address that fsspec knows. Files that are
cut off, of a later schema or not ours are named and left alone. What a reference or a history needs
comes from an index (:mod:`~.index`); the records of a run are read when they are asked for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from pytest_speedbench.baselines import git
from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.files import Files, open_files, read_regular
from pytest_speedbench.baselines.index import Entry, refresh
from pytest_speedbench.baselines.names import beginning_with, named
from pytest_speedbench.baselines.requests import RequestRecord
from pytest_speedbench.baselines.schema import EXTRA_KEY, Record, RecordSummary, parse_record
from pytest_speedbench.errors import BaselineError, GitError, RecordError, did_you_mean

# What pytest-benchmark writes outside of a repository, and in one without a commit.
_NO_COMMIT = frozenset({"", "unversioned", "unknown"})
# What a summary leaves out of a record: what is long, and serves comparing alone.
_COMPRESSED = (b"\xfd7zXZ", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh")
"""How files of xz, gzip, zstandard and bzip2 begin."""
_LEFT_OUT = {"rounds", "reference_rounds", "drift", "warmup", "counted", "arm", "requests"}
_MOST_NAMED = 6
# Clocks of machines differ; a record from further ahead has a wrong time.
_SKEW = timedelta(minutes=10)


@dataclass(frozen=True, eq=False)
class SavedRun:
    """One file of a storage, with the records in it.

    Attributes:
        path: where the file lies, for messages; without credentials.
        commit: full id of the measured commit; see ``known_commit``.
        dirty: whether there were uncommitted changes.
        branch: its branch.
        time: when it was saved, ISO 8601, by the clock of the machine that saved it.
        summaries: the head of every record, read from the index.
    """

    path: str
    commit: str
    dirty: bool
    branch: str
    time: str
    summaries: tuple[RecordSummary, ...]
    read: Callable[[], tuple[Record, ...]]
    """Reads all records of the file; ``records`` and ``twins`` call it once."""
    place: str = ""
    """Its name in the storage; empty for a file that was named by its path."""

    @cached_property
    def _all(self) -> tuple[Record, ...]:
        return self.read()

    @cached_property
    def records(self) -> dict[CaseKey, Record]:
        """The records by case, without those of the reference build of a side-by-side session.

        Raises:
            BaselineError: the file cannot be read any more.
        """
        found: dict[CaseKey, Record] = {}
        for record in self._own:
            found.setdefault(record.case, record)
        return found

    @cached_property
    def twins(self) -> tuple[Record, ...]:
        """Records whose key one of ``records`` has already: another drafter, or other sampling."""
        return tuple(r for r in self._own if self.records[r.case] is not r)

    @property
    def measured(self) -> tuple[Record, ...]:
        """All of ``records`` and ``twins``."""
        return (*self.records.values(), *self.twins)

    @cached_property
    def _own(self) -> tuple[Record, ...]:
        return tuple(record for record in self._all if not record.of_reference_build)

    @cached_property
    def reference_build(self) -> tuple[Record, ...]:
        """The records of the build that a side-by-side session compared with."""
        return tuple(record for record in self._all if record.of_reference_build)

    @cached_property
    def keys(self) -> frozenset[CaseKey]:
        """The cases of the run; known without reading its file."""
        return frozenset(summary.case for summary in self.summaries)

    def candidates(self, key: CaseKey) -> list[Record]:
        """Every record of a case."""
        return [record for record in self._own if record.case == key] if key in self.keys else []

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).stem

    @property
    def number(self) -> str:
        head = self.name.partition("_")[0]
        return head if head.isdigit() else self.name

    @property
    def known_commit(self) -> bool:
        """Whether the run was measured in a repository with a commit."""
        return self.commit not in _NO_COMMIT

    @cached_property
    def moment(self) -> datetime | None:
        """``time``, where it can be read; UTC where it names no zone."""
        try:
            found = datetime.fromisoformat(self.time)
        except ValueError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def __repr__(self) -> str:
        """One line: its records are megabytes."""
        return f"<SavedRun {self}>"

    def __str__(self) -> str:
        known = self.known_commit
        commit = f", commit {self.commit[:9]}" if known else ""
        changed = " with changes" if known and self.dirty else ""
        when = f" of {self.time[:16].replace('T', ' ')}" if self.time else ""
        return f"{self.number}{when}{commit}{changed}"


def read_run(path: Path) -> SavedRun:
    """Reads one saved file.

    Raises:
        BaselineError: unreadable, cut off, not a benchmark file, or of a later schema.
    """
    return parse_run(lambda: read_regular(path), str(path))


def parse_run(read: Callable[[], bytes], shown: str) -> SavedRun:
    """The saved run in the bytes that ``read`` returns; ``shown`` names the file in messages.

    Raises:
        BaselineError: as :func:`read_run`.
    """
    content = b""
    try:
        content = read()
        data = json.loads(content.decode("utf-8"))
    except OSError as error:
        raise BaselineError(f"cannot read {shown}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        if shown.endswith((".yaml", ".yml")):
            raise BaselineError(
                f"{shown} is not a saved run: a table of averages has no requests to compare, only "
                "numbers for asserts (speedbench import prints them)"
            ) from error
        if content.startswith(_COMPRESSED):
            raise BaselineError(
                f"{shown} is compressed, and saved runs are plain JSON: unpack it first"
            ) from error
        raise BaselineError(
            f"{shown} is not JSON ({error}); was it cut off? Restore it, or delete it"
        ) from error
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), list):
        raise BaselineError(
            f"{shown} is not a file of pytest-benchmark: it has no list 'benchmarks'"
        )
    commit = data.get("commit_info")
    commit = commit if isinstance(commit, dict) else {}
    records = tuple(_records(shown, data["benchmarks"]))
    _share_requests(records)
    return SavedRun(
        shown,
        str(commit.get("id") or ""),
        bool(commit.get("dirty")),
        str(commit.get("branch") or ""),
        str(data.get("datetime") or ""),
        tuple(record for record in records if not record.of_reference_build),
        lambda: records,
    )


def _records(shown: str, benchmarks: list[Any]) -> Iterator[Record]:
    for benchmark in benchmarks:
        extra = benchmark.get("extra_info") if isinstance(benchmark, dict) else None
        if not isinstance(extra, dict) or EXTRA_KEY not in extra:
            continue  # somebody else's benchmark in the same file
        try:
            yield parse_record(extra[EXTRA_KEY])
        except RecordError as error:
            raise BaselineError(
                f"{shown}, {benchmark.get('name', 'a benchmark')}: {error}"
            ) from error


def _share_requests(records: Iterable[Record]) -> None:
    """Keeps each request once where slices of a run have it in common, as ``all`` and a category
    do: it is then decoded once."""
    known: dict[tuple[str, int, float], RequestRecord] = {}
    for record in records:
        for place, request in enumerate(record.requests):
            first = known.setdefault((request.sample, request.turn, request.sent), request)
            if first == request:
                record.requests[place] = first


class Store:
    """All saved runs of one storage.

    Attributes:
        folder: the storage, for messages; without credentials.
        files: its files.
        problems: the files that were left out, one line each.
        remarks: what is odd about those that were not, one line each.
        option: what stands before an unknown reference in the message: where the user wrote it.
    """

    def __init__(self, location: Path | str, option: str = "--speed-compare=") -> None:
        self.files: Files = open_files(location)
        self.folder = self.files.shown()
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self.option = option

    def runs(self) -> list[SavedRun]:
        """Readable runs that hold records of ours, oldest first.

        Raises:
            BaselineError: the storage cannot be listed.
        """
        self.problems.clear()
        self.remarks.clear()
        found = [self._run(entry) for entry in self._entries()]
        return self._in_order([run for run in found if run is not None])

    def find(self, reference: str, working_folder: Path, others: Iterable[str] = ()) -> SavedRun:
        """The run that ``reference`` names: a file, a number, a name, a commit, a branch, or the
        beginning of one name. ``others`` are names that the caller knows, for a suggestion.

        Raises:
            BaselineError: nothing has this name, or its file cannot be read; the message lists
                what there is.
        """
        path = os.path.expanduser(reference)
        if os.path.isfile(path):  # False also for what no path can be
            return _with_records(read_run(Path(path)))
        by_name = named(self.names(), reference)
        if by_name is not None:
            return _with_records(self.read(by_name))
        runs = self.runs()
        commit = git.resolve(reference, working_folder)
        if commit is None:
            return _with_records(self.read(self._by_beginning(reference, runs, others)))
        return self._by_commit(commit, reference, runs, working_folder)

    def has(self, reference: str) -> bool:
        """Whether ``reference`` is a file, or the number or name of a saved run.

        Raises:
            BaselineError: the storage cannot be listed.
        """
        return (
            os.path.isfile(os.path.expanduser(reference))
            or named(self.names(), reference) is not None
        )

    def names(self) -> list[str]:
        """The names of all files, relative to the storage.

        Raises:
            BaselineError: the storage cannot be listed.
        """
        try:
            return sorted(self.files.list())
        except OSError as error:
            raise self._unlisted(error) from error

    def _entries(self) -> list[Entry]:
        try:
            return refresh(self.files, self._index)
        except OSError as error:
            raise self._unlisted(error) from error

    def _unlisted(self, error: OSError) -> BaselineError:
        return BaselineError(f"cannot list {self.folder}: {error.strerror or error}")

    def read(self, name: str) -> SavedRun:
        """The run in the file of this name, relative to the storage; all of it is read.

        Raises:
            BaselineError: as :func:`read_run`.
        """
        found = parse_run(lambda: self.files.read(name), self.files.shown(name))
        return replace(found, place=name)

    def _index(self, name: str, stamp: str) -> Entry:
        try:
            run = self.read(name)
        except BaselineError as error:
            return Entry(name, stamp, str(error))
        heads = [_summary(record) for record in run.summaries]
        return Entry(name, stamp, "", run.commit, run.branch, run.dirty, run.time, heads)

    def _run(self, entry: Entry) -> SavedRun | None:
        """The run of an entry; None where its file cannot be read or holds nothing of ours."""
        try:
            heads = tuple(RecordSummary.model_validate(head) for head in entry.records)
        except ValidationError:  # somebody has edited the index
            return self._run(self._index(entry.name, entry.stamp))
        if entry.problem:
            self.problems.append(entry.problem)
        if not heads:
            return None

        def read() -> tuple[Record, ...]:
            run = self.read(entry.name)
            return (*run.measured, *run.reference_build)

        return SavedRun(
            self.files.shown(entry.name),
            entry.commit,
            entry.dirty,
            entry.branch,
            entry.time,
            heads,
            read,
            entry.name,
        )

    def _in_order(self, runs: list[SavedRun]) -> list[SavedRun]:
        """By time; a time that cannot be right is taken as that of the run saved before it."""
        latest = datetime.now(UTC) + _SKEW
        moments: dict[str, tuple[datetime, str]] = {}
        before: dict[PurePosixPath, datetime] = {}
        for run in sorted(runs, key=lambda run: run.place):
            folder, moment = PurePosixPath(run.place).parent, run.moment
            if moment is not None and moment > latest:
                self.remarks.append(
                    f"{run.path}: saved at {run.time[:16]}, which is in the future; is a clock "
                    "wrong? It is ordered by its number"
                )
                moment = None
            before[folder] = moment or before.get(folder, datetime.min.replace(tzinfo=UTC))
            moments[run.place] = before[folder], run.name
        return sorted(runs, key=lambda run: moments[run.place])

    def _by_beginning(self, reference: str, runs: list[SavedRun], others: Iterable[str]) -> str:
        """The file whose name alone begins so.

        Raises:
            BaselineError: no name does, or several do.
        """
        found = beginning_with(self.names(), reference)
        if not found:
            raise BaselineError(self._unknown(reference, runs, others))
        if len(found) > 1:
            names = ", ".join(list(found)[-_MOST_NAMED:])
            raise BaselineError(
                f"{self.option}{reference}: several runs have names that begin with this: {names}"
            )
        return next(iter(found.values()))

    def _by_commit(
        self, commit: str, reference: str, runs: list[SavedRun], working_folder: Path
    ) -> SavedRun:
        clean = {run.commit: run for run in runs if run.commit and not run.dirty}
        try:
            nearest = git.nearest_ancestor(commit, clean, working_folder)
        except GitError as error:
            raise BaselineError(str(error)) from error
        if nearest is None:
            raise BaselineError(
                f"no record of {reference} ({commit[:12]}) or of a commit before it in "
                f"{self.folder}; runs with uncommitted changes do not count for a commit. "
                f"{_list(runs)}"
            )
        return clean[nearest]

    def _unknown(self, reference: str, runs: list[SavedRun], others: Iterable[str]) -> str:
        names = [name for run in runs for name in (run.name, run.name.partition("_")[2])]
        # nightly-bs8 is no misspelt nightly-bs32, but another run.
        alike = [name for name in (*names, *others) if _numbers(name) == _numbers(reference)]
        hint = did_you_mean(reference, alike) or "."
        return (
            f"{self.option}{reference}: no file, no run number or name in {self.folder}, and "
            f"no commit or branch{hint} {_list(runs)}"
        )


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"[0-9]+", name)]


def _summary(record: RecordSummary) -> dict[str, Any]:
    """A record without what is long."""
    head = record.model_dump(mode="json", by_alias=True, exclude=_LEFT_OUT)
    head["split"]["rows"] = None
    head["engine"]["details"] = {}
    return head


def _with_records(run: SavedRun) -> SavedRun:
    if not run.summaries:
        raise BaselineError(f"{run.path} holds no records of pytest-speedbench")
    return run


def _list(runs: Iterable[SavedRun]) -> str:
    names = [run.name for run in runs][-_MOST_NAMED:]
    if not names:
        return "Nothing is saved there yet: run once with --benchmark-autosave"
    return "Saved: " + ", ".join(names)
