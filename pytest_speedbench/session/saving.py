"""Saves records through pytest-benchmark: its storage, its file names, its options.

pytest-benchmark writes what is in its session's list of benchmarks. Ours are put there before it
saves, so ``--benchmark-save``, ``-autosave``, ``-storage`` and ``-json`` work as they always do,
under xdist too, where it would save nothing of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_speedbench.baselines.schema import EXTRA_KEY, Record

if TYPE_CHECKING:
    from pytest_speedbench.compare.results import CaseResult

_KEY = pytest.StashKey["Saving"]()


def saving_of(config: pytest.Config) -> Saving:
    """The session's link to pytest-benchmark; made, and guarded, at the first call."""
    if _KEY not in config.stash:
        config.stash[_KEY] = Saving(config)
    return config.stash[_KEY]


class Saving:
    """Puts records into pytest-benchmark's session, and survives a storage that cannot be written.

    ``saved`` are the files that were written, ``problems`` what went wrong.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._benchmark: Any = getattr(config, "_benchmarksession", None)
        self._tag: Callable[[], str] = _tag
        self._ours: list[Any] = []
        self.saved: list[Path] = []
        self.problems: list[str] = []
        if self._benchmark is not None:
            self._guard()

    @property
    def folder(self) -> Path:
        """Where saved runs lie; the default folder for a storage that is no folder."""
        storage = getattr(self._benchmark, "storage", None)
        return Path(getattr(storage, "path", ".benchmarks"))

    @property
    def asked(self) -> bool:
        """Whether this session saves."""
        return self._benchmark is not None and bool(
            self._benchmark.save or self._benchmark.autosave or self._benchmark.json
        )

    def add(self, results: Iterable[CaseResult]) -> None:
        """Adds the record of each case, its verdicts with it."""
        if self._benchmark is None:
            self.problems.append("pytest-benchmark is switched off, so nothing can be saved")
            return
        for result in results:
            entry = _entry(result)
            if entry is not None:
                self._ours.append(entry)
        self._benchmark.benchmarks.extend(self._ours)

    def save_anyway(self) -> None:
        """Saves this session although nobody asked: it is the first baseline."""
        if self._benchmark is not None and not (self._benchmark.save or self._benchmark.autosave):
            self._benchmark.autosave = self._tag()

    def hide_from_table(self) -> None:
        """Takes our cases out of pytest-benchmark's own table, unless it compares."""
        if self._benchmark is None or self._benchmark.compare or not self._benchmark.groups:
            return
        names = {entry.fullname for entry in self._ours}
        groups = [
            (name, [bench for bench in group if bench["fullname"] not in names])
            for name, group in self._benchmark.groups
        ]
        self._benchmark.groups = [(name, group) for name, group in groups if group]

    def _guard(self) -> None:
        storage, save_json = self._benchmark.storage, self._benchmark.save_json
        save = storage.save

        def guarded_save(output: Any, name: str) -> None:
            before = self._files()
            try:
                save(output, name)
            except OSError as error:
                self._problem(storage, error)
                self._forget_partial(self._files() - before)
            else:
                self.saved += sorted(self._files() - before)

        def guarded_json(output: Any) -> None:
            # A path, or an open file in versions of pytest-benchmark before 5.3.
            json = self._benchmark.json
            target = Path(json if isinstance(json, str | Path) else json.name)
            try:
                save_json(output)
            except OSError as error:
                self._problem(target, error)
            else:
                self.saved.append(target)

        storage.save, self._benchmark.save_json = guarded_save, guarded_json

    def _problem(self, where: object, error: OSError) -> None:
        self.problems.append(
            f"NOT SAVED: {where}: {error.strerror or error}; the numbers above are all there is "
            "(another place: --benchmark-storage=DIR)"
        )

    def _forget_partial(self, files: Iterable[Path]) -> None:
        for file in files:
            with contextlib.suppress(OSError):
                file.unlink()

    def _files(self) -> set[Path]:
        return set(self.folder.rglob("*.json")) if self.folder.is_dir() else set()


def _entry(result: CaseResult) -> Any | None:
    """One case as pytest-benchmark keeps benchmarks; None without a single timed request."""
    from pytest_benchmark.stats import Metadata

    seconds = list(seconds_per_token(result.record))
    if not seconds:
        return None
    fixture = SimpleNamespace(
        name=result.name,
        fullname=result.nodeid,
        group=_group(result.record),
        param=result.name.partition("[")[2].rstrip("]") or None,
        params=result.record.case.model_dump(),
        extra_info={EXTRA_KEY: result.final_record.model_dump(mode="json", by_alias=True)},
        cprofile_stats=None,
        has_error=False,
    )
    entry = Metadata(fixture, iterations=1, options={"unit": "seconds per output token"})
    for value in seconds:
        entry.stats.update(value)
    return entry


def _group(record: Record) -> str:
    case = record.case
    method = case.method if case.method == "none" else f"{case.method} dl{case.dl}"
    return f"speedbench {case.engine} {method} bs{case.bs}"


def seconds_per_token(record: Record) -> Iterable[float]:
    """Seconds per output token of each request: what pytest-benchmark's statistics are about."""
    for request in record.requests:
        if request.tokens and request.last > request.sent:
            yield (request.last - request.sent) / request.tokens


def _tag() -> str:
    from pytest_benchmark.utils import get_tag

    return str(get_tag())
