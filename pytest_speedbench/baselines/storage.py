"""Finds saved runs in pytest-benchmark's storage: by number, name, file, commit or branch.

Files that are cut off, of a later schema or not ours are named and left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_speedbench.baselines import git
from pytest_speedbench.baselines.schema import EXTRA_KEY, CaseKey, Record, parse_record
from pytest_speedbench.errors import BaselineError, GitError, RecordError

# What pytest-benchmark writes outside of a repository, and in one without a commit.
_NO_COMMIT = frozenset({"", "unversioned", "unknown"})


@dataclass(frozen=True, slots=True)
class SavedRun:
    """One file of the storage with the records in it, by case."""

    path: Path
    commit: str
    dirty: bool
    branch: str
    time: str
    records: dict[CaseKey, Record] = field(default_factory=dict)
    twins: tuple[Record, ...] = ()
    """Records whose key one of ``records`` has already: another drafter, or other sampling."""

    def candidates(self, key: CaseKey) -> list[Record]:
        """Every record of a case."""
        first = [self.records[key]] if key in self.records else []
        return first + [record for record in self.twins if record.case == key]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def number(self) -> str:
        return self.name.partition("_")[0]

    @property
    def known_commit(self) -> bool:
        """Whether the run was measured in a repository with a commit."""
        return self.commit not in _NO_COMMIT

    def __str__(self) -> str:
        known = self.known_commit
        commit = f", commit {self.commit[:9]}" if known else ""
        changed = " with changes" if known and self.dirty else ""
        return f"{self.number} of {self.time[:16].replace('T', ' ')}{commit}{changed}"


def read_run(path: Path) -> SavedRun:
    """Reads one saved file.

    Raises:
        BaselineError: unreadable, cut off, not a benchmark file, or of a later schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BaselineError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise BaselineError(
            f"{path} is not JSON ({error}); was it cut off? Restore it, or delete it"
        ) from error
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), list):
        raise BaselineError(
            f"{path} is not a file of pytest-benchmark: it has no list 'benchmarks'"
        )
    commit = data.get("commit_info")
    commit = commit if isinstance(commit, dict) else {}
    records: dict[CaseKey, Record] = {}
    twins = []
    for record in _records(path, data["benchmarks"]):
        if records.setdefault(record.case, record) is not record:
            twins.append(record)
    return SavedRun(
        path,
        str(commit.get("id") or ""),
        bool(commit.get("dirty")),
        str(commit.get("branch") or ""),
        str(data.get("datetime") or ""),
        records,
        tuple(twins),
    )


def _records(path: Path, benchmarks: list[Any]) -> Iterator[Record]:
    for benchmark in benchmarks:
        extra = benchmark.get("extra_info") if isinstance(benchmark, dict) else None
        if not isinstance(extra, dict) or EXTRA_KEY not in extra:
            continue  # somebody else's benchmark in the same file
        try:
            yield parse_record(extra[EXTRA_KEY])
        except RecordError as error:
            raise BaselineError(
                f"{path}, {benchmark.get('name', 'a benchmark')}: {error}"
            ) from error


@dataclass
class Store:
    """All saved runs below one storage folder; ``problems`` names the files that were left out."""

    folder: Path
    problems: list[str] = field(default_factory=list)
    option: str = "--speed-compare="
    """What stands before an unknown reference in the message: where the user wrote it."""

    def runs(self) -> list[SavedRun]:
        """Readable runs that hold records of ours, oldest first."""
        self.problems.clear()
        return sorted(self._readable(), key=lambda run: (run.time, run.name))

    def _readable(self) -> Iterator[SavedRun]:
        for path in sorted(self.folder.rglob("*.json")):
            try:
                run = read_run(path)
            except BaselineError as error:
                self.problems.append(str(error))
                continue
            if run.records:
                yield run

    def find(self, reference: str, working_folder: Path) -> SavedRun:
        """The run that ``reference`` names: a file, a number, a name, a commit or a branch.

        Raises:
            BaselineError: nothing has this name, or its file cannot be read; the message lists
                what there is.
        """
        path = Path(reference).expanduser()
        if path.is_file():
            return _with_records(read_run(path))
        by_name = self._by_name(reference)
        if by_name is not None:
            return _with_records(read_run(by_name))
        runs = self.runs()
        commit = git.resolve(reference, working_folder)
        if commit is None:
            raise BaselineError(self._unknown(reference, runs))
        return self._by_commit(commit, reference, runs, working_folder)

    def _by_name(self, reference: str) -> Path | None:
        """The newest file whose number, whole name, or name without the number matches."""
        number = reference.zfill(4) if reference.isdigit() else None
        found = None
        for path in sorted(self.folder.rglob("*.json")):
            head, _, tail = path.stem.partition("_")
            if number is not None:
                if head == number:
                    found = path
            elif reference in (path.stem, tail):
                found = path
        return found

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

    def _unknown(self, reference: str, runs: list[SavedRun]) -> str:
        return (
            f"{self.option}{reference}: no file, no run number or name in {self.folder}, and "
            f"no commit or branch. {_list(runs)}"
        )


def _with_records(run: SavedRun) -> SavedRun:
    if not run.records:
        raise BaselineError(f"{run.path} holds no records of pytest-speedbench")
    return run


def _list(runs: list[SavedRun]) -> str:
    if not runs:
        return "Nothing is saved there yet: run once with --benchmark-autosave"
    return "Saved: " + ", ".join(run.name[:24] for run in runs[-6:])
