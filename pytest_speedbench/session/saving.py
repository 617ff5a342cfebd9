"""Saves records through pytest-benchmark: its storage, its file names, its options.

pytest-benchmark writes what is in its session's list of benchmarks. Ours are put there before it
saves, so ``--benchmark-save``, ``-autosave``, ``-storage`` and ``-json`` work as they always do,
under xdist too, where it would save nothing of its own. It has no hook for that: what is used of
its session is listed in ``USED``, and a test fails where a version no longer has it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_speedbench.baselines.entries import benchmark_entry

if TYPE_CHECKING:
    from pytest_speedbench.compare.results import CaseResult
    from pytest_speedbench.session.storage import SharedStorage

_KEY = pytest.StashKey["Saving"]()
# Attributes of the plugin that pytest-benchmark registers under its name.
USED = ("autosave", "benchmarks", "compare", "json", "save", "save_json", "storage")


def saving_of(config: pytest.Config) -> Saving:
    """The session's link to pytest-benchmark; made at the first call."""
    if _KEY not in config.stash:
        config.stash[_KEY] = Saving(config)
    return config.stash[_KEY]


class Saving:
    """Puts records into pytest-benchmark's session, and survives a storage that cannot be written.

    ``saved`` names the files that were written, ``problems`` what went wrong.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._benchmark: Any = config.pluginmanager.get_plugin("pytest-benchmark")
        self._shared: SharedStorage | None = None
        self._ours: list[Any] = []
        self._saved: list[str] = []
        self._problems: list[str] = []
        self._address = ""
        if self._benchmark is not None:
            self._prepare(config)

    def _prepare(self, config: pytest.Config) -> None:
        from pytest_benchmark.storage.file import FileStorage

        from pytest_speedbench.session.storage import ADDRESS, SharedStorage

        self._address = config.stash.get(ADDRESS, "")
        if isinstance(self._benchmark.storage, FileStorage):
            self._shared = SharedStorage.instead_of(self._benchmark.storage, self._address)
            self._benchmark.storage = self._shared
        self._guard_json()
        config.pluginmanager.register(self)

    @property
    def location(self) -> Path | str:
        """Where saved runs lie; the default folder for a storage that we cannot read."""
        if self._address:
            return self._address
        return Path(".benchmarks") if self._shared is None else Path(self._shared.path)

    @property
    def saved(self) -> list[str]:
        return [*(self._shared.saved if self._shared else []), *self._saved]

    @property
    def problems(self) -> list[str]:
        return [*(self._shared.problems if self._shared else []), *self._problems]

    @property
    def asked(self) -> bool:
        """Whether this session saves."""
        return self._benchmark is not None and bool(
            self._benchmark.save or self._benchmark.autosave or self._benchmark.json
        )

    def add(self, results: Iterable[CaseResult]) -> None:
        """Adds the record of each case, its verdicts with it."""
        if self._benchmark is None:
            self._problems.append("pytest-benchmark is switched off, so nothing can be saved")
            return
        for result in results:
            entry = benchmark_entry(result.name, result.nodeid, result.final_record)
            if entry is not None:
                self._ours.append(entry)
        self._benchmark.benchmarks.extend(self._ours)

    def save_anyway(self) -> None:
        """Saves this session although nobody asked: it is the first baseline."""
        if self._benchmark is not None and not (self._benchmark.save or self._benchmark.autosave):
            self._benchmark.autosave = _tag()

    @pytest.hookimpl(wrapper=True)
    def pytest_benchmark_group_stats(self) -> Generator[None, Any, Any]:
        """Takes our cases out of pytest-benchmark's own table, unless it compares."""
        groups = yield
        if self._benchmark.compare or not groups:
            return groups
        names = {entry.fullname for entry in self._ours}
        left = [(name, [b for b in group if b["fullname"] not in names]) for name, group in groups]
        return [(name, group) for name, group in left if group]

    def _guard_json(self) -> None:
        from pytest_benchmark.utils import get_machine_id

        from pytest_speedbench.session.storage import keep_unsaved

        save_json = self._benchmark.save_json

        def guarded(output: Any) -> None:
            target = Path(self._benchmark.json)
            try:
                save_json(output)
            except OSError as error:
                kept = keep_unsaved(output, get_machine_id(), target.stem or "run")
                other = "the results are only in this output (another file: --benchmark-json=PATH)"
                reason = error.strerror or error
                self._problems.append(f"NOT SAVED: {target}: {reason}; {kept or other}")
            else:
                self._saved.append(str(target))

        self._benchmark.save_json = guarded


def _tag() -> str:
    from pytest_benchmark.utils import get_tag

    return str(get_tag())
