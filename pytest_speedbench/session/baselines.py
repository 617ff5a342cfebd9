"""The saved runs of a session, and which of them each case is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pytest_speedbench.baselines.storage import SavedRun, Store
from pytest_speedbench.compare.match import Identity, Match, find_baseline, match_in
from pytest_speedbench.errors import BaselineError, warn
from pytest_speedbench.plan.table import LATEST


@dataclass
class Baselines:
    """What ``--speed-compare`` names: one saved run, or for each case the latest eligible one.

    ``reference`` is the value of the option; ``folder`` is where git looks for commits.
    """

    store: Store
    folder: Path
    reference: str | None
    _warned: bool = field(default=False, init=False)

    @cached_property
    def runs(self) -> list[SavedRun]:
        """The run that the option names, or every saved one, oldest first.

        Raises:
            BaselineError: the named run does not exist or cannot be read.
        """
        if self._named:
            assert self.reference is not None
            return [self.store.find(self.reference, self.folder)]
        return self.store.runs()

    @property
    def _named(self) -> bool:
        return self.reference not in (None, LATEST)

    def match(self, identity: Identity) -> Match:
        """The saved record that a case is compared with, or why there is none."""
        if self._named:
            return match_in(self.runs[0], identity)
        runs = self.runs
        self._warn_of_unreadable()
        return find_baseline(identity, runs)

    def _warn_of_unreadable(self) -> None:
        """One warning a file, at the first comparison."""
        problems = [] if self._warned else list(self.store.problems)
        remarks = [] if self._warned else self.store.remarks
        self._warned = self._warned or bool(problems)
        for problem in problems:
            warn(f"left out as a baseline: {problem}")
        for remark in remarks:
            warn(remark)

    @property
    def count(self) -> int:
        """How many saved records there are to compare with."""
        try:
            return sum(len(run.summaries) for run in self.runs)
        except BaselineError:
            return 0
