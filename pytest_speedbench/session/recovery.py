"""The journal of a pytest session: written as cases finish, removed when all is saved."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_speedbench.baselines.entries import run_head
from pytest_speedbench.baselines.journal import Entry, Journal, journal_folder, recover
from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.errors import BaselineError, count_of
from pytest_speedbench.session.saving import saving_of

_POLL_SECONDS = 0.05
_KEY = pytest.StashKey["SessionJournal"]()


@dataclass
class SessionJournal:
    """The journal of this process; writes nothing in a session that will not save.

    ``session`` is the same in the controller and the workers of one pytest-xdist run.
    """

    config: pytest.Config
    session: str
    _journal: Journal | None = field(default=None, init=False)

    @classmethod
    def of(cls, config: pytest.Config, session: str = "") -> SessionJournal:
        """The journal of the session; made at the first call, which may name the session."""
        if _KEY not in config.stash:
            config.stash[_KEY] = cls(config, session or _new_session())
        return config.stash[_KEY]

    def add(self, case: CaseResult) -> None:
        """Writes a case as it stands now."""
        if self._journal is None:
            self._journal = self._make()
        entry = Entry(case.name, case.nodeid, case.group, case.final_record)
        self._journal.add(entry)

    def hold(self) -> None:
        """Marks the session as live in its controller, until that has saved: its workers' journals
        are not recovered meanwhile, even if they have ended."""
        if self._journal is None:
            self._journal = self._make()
        self._journal.hold()

    def _make(self) -> Journal:
        from pytest_benchmark.utils import get_machine_id

        commit = self.config.hook.pytest_benchmark_generate_commit_info(config=self.config)
        return Journal(self._folder, self.session, run_head(commit), str(get_machine_id()))

    @property
    def _folder(self) -> Path:
        return journal_folder(Store(saving_of(self.config).location))

    def _journal_of_session(self) -> Journal:
        """This process's journal, or one that only names the session's files."""
        return self._journal or Journal(self._folder, self.session, {})

    @property
    def problems(self) -> list[str]:
        """Why the journal could not be written."""
        problem = self._journal.problem if self._journal is not None else ""
        return [problem] if problem else []

    def others_are_open(self) -> bool:
        """Whether another process of the session, an xdist worker, still writes its journal."""
        return self._journal_of_session().others_are_open()

    def wait_for_others(self, seconds: float) -> None:
        """Waits until no other process writes its journal, or the time is over."""
        deadline = time.monotonic() + seconds
        while self.others_are_open() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def missing(self, known: Iterable[CaseResult]) -> list[CaseResult]:
        """Cases that crashed workers measured and never reported."""
        have = {(case.group, case.key) for case in known}
        left = self._journal_of_session().left_behind()
        cases = [CaseResult(e.name, e.nodeid, str(e.record.case), e.group, e.record) for e in left]
        return [case for case in cases if (case.group, case.key) not in have]

    def close(self) -> None:
        """Gives up the lock: a worker's cases are with the controller now."""
        if self._journal is not None:
            self._journal.close()

    def discard(self) -> None:
        """All is saved, or nothing was to be saved."""
        self._journal_of_session().discard()


def _new_session() -> str:
    """A name for a session; under pytest-xdist the id that controller and workers share."""
    shared = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return shared or f"{time.strftime('%Y%m%d%H%M%S')}{secrets.token_hex(4)}"


def recover_interrupted(config: pytest.Config) -> list[str]:
    """Saves what killed sessions had finished; one line each, for the report."""
    store = Store(saving_of(config).location)
    try:
        return [
            f"recovered {count_of(found.cases, 'case')} of an interrupted session: {found.place}"
            for found in recover(store)
        ]
    except (OSError, BaselineError) as error:
        return [f"cannot recover an interrupted session in {store.folder}: {error}"]
