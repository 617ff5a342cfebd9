"""Checks of one case that need no baseline: is the output lossless, does a soak drift?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pytest_speedbench.compare.api import read_share
from pytest_speedbench.compare.cache_neutral import METRIC as CACHE_NEUTRAL
from pytest_speedbench.compare.cache_neutral import cache_neutral_verdict
from pytest_speedbench.compare.drift import METRIC as DRIFT
from pytest_speedbench.compare.drift import drift_verdict
from pytest_speedbench.compare.gate import Levels
from pytest_speedbench.compare.never_worse import METRIC as NEVER_WORSE
from pytest_speedbench.compare.never_worse import Pair, never_worse_verdict
from pytest_speedbench.errors import NoData, UsageError, warn
from pytest_speedbench.measure.run import Run
from pytest_speedbench.plan.cases import Case, RunKey
from pytest_speedbench.session.keys import key_of
from pytest_speedbench.session.lossless import LosslessCheck
from pytest_speedbench.session.pruning import PruningCheck, Settle
from pytest_speedbench.session.target_scores import TargetScores
from pytest_speedbench.stats import AlphaSequence, comparison
from pytest_speedbench.stats.draft_length import Arm, BestDraftLength, best_of_arms


@dataclass
class CaseChecks:
    """The checks of one measured case. ``spending`` gives each its α."""

    target: TargetScores
    case: Case
    run: Run
    key: str
    spending: AlphaSequence
    settle: Settle
    pruning: PruningCheck
    checked_drift: bool = False

    # -- draft length -----------------------------------------------------------------------

    def best_draft_length(self) -> BestDraftLength:
        """The best of the session's draft lengths that differ from the case in nothing else.

        Raises:
            NoData: nothing was timed, or a single draft length without the arm without SD.
        """
        bench, own = self.target.bench, self.case.run
        arms = {}
        for run in bench.inputs.plan:
            length = run.speculation.draft_length
            same = replace(run.speculation, draft_length=own.speculation.draft_length)
            if not length or replace(run, speculation=same) != own:
                continue
            measured = bench.run(run)
            plain = measured.reference.rounds if measured.reference else []
            arms[length] = Arm(
                tuple(r.output_tps for r in measured.arm.rounds),
                tuple(r.output_tps for r in plain),
                measured.arm.alternated,
            )
        return best_of_arms(arms)

    # -- losslessness -----------------------------------------------------------------------

    def lossless(self, tolerance: float | None, copies: int) -> None:
        """Raises GateFailure where the output is not the target's own.

        Raises:
            NoData: nothing to compare with.
            UsageError: a tolerance, or a number of copies, that cannot be used.
        """
        __tracebackhide__ = True
        check = LosslessCheck(self.target, self.case, self.run, self.key, self.spending)
        self.settle(*check.result(tolerance, copies))

    # -- prefix cache -----------------------------------------------------------------------

    def cache_neutral(self, margin: float) -> None:
        """Raises GateFailure where AL falls by more than ``margin`` with a warm prefix cache.

        Nothing to decide in the uncached case of a grid that has the cached one.

        Raises:
            NoData: there was no pass without the cache, or no SD.
        """
        __tracebackhide__ = True
        asked, plan = self.case.run, self.target.bench.inputs.plan
        if not asked.speculation.active:
            raise NoData("a run without SD has no acceptance that a prefix cache could change")
        if not asked.prefix_caching and replace(asked, prefix_caching=True) in plan:
            return
        settings = self.target.bench.settings
        own = self.spending.level(comparison(CACHE_NEUTRAL, margin))
        levels = Levels(settings.alpha, own, settings.reach)
        run = self.run
        if run.cold is not None:
            run = replace(run, replay=self.target.bench.along_cold(self.case.run))
        self.settle(cache_neutral_verdict(key_of(self.case), run, self.case.slice, margin, levels))

    # -- speed against other draft lengths ---------------------------------------------------

    def never_worse(self, than: object, margin: float) -> None:
        """Raises GateFailure where the case is slower than one of ``than``.

        Raises:
            NoData: the arms cannot take turns.
            UsageError: an arm that cannot be.
        """
        __tracebackhide__ = True
        run = self.case.run
        asked = None if than is None else _read_arms(than)
        if not run.speculation.active:
            raise NoData("a run without SD has no draft length to compare with others")
        scheduled = self.target.bench.inputs.scheduled(run)
        default = ("none", run.speculation.draft_length) if scheduled else ("none",)
        pairs = {self._arm_name(name): self._turns(self._arm(name)) for name in asked or default}
        own = self.spending.level(comparison(NEVER_WORSE, margin))
        alpha = self.target.bench.settings.alpha
        self.settle(never_worse_verdict(self.key, pairs, margin, own, alpha))

    def _turns(self, arm: RunKey) -> Pair:
        """The arms of the run itself where it took turns with ``arm``."""
        reference = self.run.reference
        if arm == self.case.run.base() and reference is not None and self.run.arm.alternated:
            return self.run.arm, reference
        return self.target.bench.in_turns(self.case.run, arm)

    def _arm_name(self, name: str | int) -> str:
        return "no SD" if name == "none" else f"static dl{name}"

    def _arm(self, name: str | int) -> RunKey:
        run = self.case.run
        if isinstance(name, str):
            return run.base()
        return replace(
            run, speculation=replace(run.speculation, draft_length=name), fixed_length=True
        )

    # -- drift ------------------------------------------------------------------------------

    def no_drift(self, alpha: str | float | None = None) -> None:
        """Raises GateFailure where AL falls or step time rises over a soak.

        Raises:
            NoData: the run is no soak.
            UsageError: an α that is not a share.
        """
        __tracebackhide__ = True
        points = self.run.view(self.case.slice).drift
        if not points:
            raise NoData("no soak, so no trend: @pytest.mark.speed(soak='30m'), or soak=20 rounds")
        own = self.spending.level(DRIFT) if alpha is None else read_share("alpha", alpha)
        self.checked_drift = True
        broke_off = self.run.arm.broke_off
        if "\n" in broke_off:  # the verdict has the first line
            warn(broke_off)
        self.settle(drift_verdict(self.key, points, own, broke_off))


def _read_arms(than: object) -> list[str | int]:
    """What ``than`` names, each once: ``"none"`` or draft lengths, one or several."""
    given = list(than) if isinstance(than, Iterable) and not isinstance(than, str) else [than]
    if not given:
        raise UsageError(f"than={than!r}: expected at least one of 'none' and draft lengths")
    arms: list[str | int] = []
    for arm in given:
        if arm == "none":
            arms.append("none")
        elif isinstance(arm, int) and not isinstance(arm, bool) and arm >= 1:
            arms.append(arm)
        else:
            raise UsageError(f"than={arm!r}: expected 'none', or a draft length of 1 or more")
    return list(dict.fromkeys(arms))
