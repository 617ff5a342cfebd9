"""The saved runs of a session, and which of them each case is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pytest_speedbench.baselines import git
from pytest_speedbench.baselines.promoted import promoted_run, promotions
from pytest_speedbench.baselines.storage import SavedRun, Store
from pytest_speedbench.compare.eligible import Eligibility
from pytest_speedbench.compare.match import Identity, Match, find_baseline, match_in
from pytest_speedbench.errors import BaselineError, warn
from pytest_speedbench.plan.table import LATEST


@dataclass
class Baselines:
    """What ``--speed-compare`` names, case by case.

    * nothing: the promoted run, and for a case that it lacks the latest eligible record
    * a branch or a commit: the eligible record of the nearest ancestor; none of the current commit
      for a branch
    * a file, a number, a name, or the name of a promoted run: that run, whatever its verdict was

    Attributes:
        store: the saved runs.
        folder: where git looks for commits.
        reference: the value of the option; None where it is not given.
        problems: what is wrong with the promoted run, for the report.
    """

    store: Store
    folder: Path
    reference: str | None
    problems: list[str] = field(default_factory=list)
    _warned: bool = field(default=False, init=False)

    @property
    def _name(self) -> str | None:
        """What the option names; None where it is not given, or given without a value."""
        return None if self.reference == LATEST else self.reference

    @cached_property
    def named(self) -> SavedRun | None:
        """The one run that the option names; None where it names none or a commit.

        Raises:
            BaselineError: nothing has this name, or its file cannot be read.
        """
        name = self._name
        if name is None:
            return None
        promoted = promotions(self.store)
        if name in promoted:
            return promoted_run(self.store, name)
        if self.store.has(name) or self._commit is None:
            return self.store.find(name, self.folder, promoted)
        return None

    @cached_property
    def _commit(self) -> str | None:
        return None if self._name is None else git.resolve(self._name, self.folder)

    @cached_property
    def promoted(self) -> SavedRun | None:
        """The run promoted as ``default``, for a session that names none."""
        if self._name is not None:
            return None
        try:
            return promoted_run(self.store)
        except BaselineError as error:
            self.problems.append(str(error))
            return None

    @cached_property
    def runs(self) -> list[SavedRun]:
        """The runs to choose from, the one to prefer last.

        Raises:
            BaselineError: the option names nothing, or git cannot say what is an ancestor.
        """
        if self.named is not None:
            return [self.named]
        runs = self.store.runs()
        if self._commit is None:
            return runs
        clean = [run for run in runs if run.known_commit and not run.dirty]
        order = git.ancestors(self._commit, {run.commit for run in clean}, self.folder)
        known = [run for run in clean if run.commit in order]
        return sorted(known, key=lambda run: -order[run.commit])

    def resolve(self) -> None:
        """Looks for what the option names, before anything is measured.

        Raises:
            BaselineError, GitError: as ``runs``.
        """
        _ = self.runs, self.promoted

    @cached_property
    def eligibility(self) -> Eligibility:
        """Which records may be a reference that nobody has named."""
        # A commit is named by the beginning of its hash; any other name that git knows is a branch.
        branch = self._commit is not None and not self._commit.startswith(str(self.reference))
        here = git.resolve("HEAD", self.folder) or ""
        return Eligibility(git.is_clean(self.folder), here if branch else "")

    def match(self, identity: Identity) -> Match:
        """The saved record that a case is compared with, or why there is none; warns once of files
        that could not be read."""
        if self.named is None:
            _ = self.runs  # reads the files, and notes what is wrong with them
            self._warn_of_unreadable()
        return self.find(identity)

    def find(self, identity: Identity) -> Match:
        """As :meth:`match`, without a warning."""
        return replace(self._find(identity), earlier=lambda: self._saved)

    @cached_property
    def _saved(self) -> list[SavedRun]:
        """Every saved run, oldest first."""
        return self.store.runs()

    def _find(self, identity: Identity) -> Match:
        if self.named is not None:
            return self._remarked(match_in(self.named, identity))
        latest = find_baseline(identity, self.runs, self.eligibility)
        if self.promoted is not None:
            match = match_in(self.promoted, identity)
            if match.record is not None:
                another = latest.comparable and str(latest.run) != str(match.run)
                return replace(match, beside=latest.run if another else None)
        return latest

    def _remarked(self, match: Match) -> Match:
        """``match`` with a remark where its record would not have been chosen by itself."""
        if match.record is None or match.run is None:
            return match
        return replace(match, remark=self.eligibility.objection(match.record, match.run))

    def _warn_of_unreadable(self) -> None:
        """One warning a file, at the first comparison."""
        if self._warned:
            return
        self._warned = True
        for problem in self.store.problems:
            warn(f"left out as a baseline: {problem}")
        for remark in self.store.remarks:
            warn(remark)

    @property
    def count(self) -> int:
        """How many saved records there are to compare with."""
        try:
            return sum(len(run.summaries) for run in self.runs)
        except BaselineError:
            return 0
