"""The one judge: a session, ``speedbench compare`` and :func:`pytest_speedbench.compare` call it.

It knows margins and the family of comparisons. What it is given, a new record and its match among
the saved ones, comes from whoever calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.attribution import Attribution, attribute_records
from pytest_speedbench.compare.changes import Change, changes
from pytest_speedbench.compare.degeneration import guard
from pytest_speedbench.compare.drift import METRIC as DRIFT
from pytest_speedbench.compare.family import Family
from pytest_speedbench.compare.gate import Levels, gate
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.replay_ties import wrong_tokens
from pytest_speedbench.compare.verdict import Verdict
from pytest_speedbench.errors import NoData
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH, GATED_METRICS
from pytest_speedbench.stats import (
    AlphaSequence,
    Decision,
    comparison,
    sequence_level,
)
from pytest_speedbench.stats.rule import DEFECTS_PART, REACH

DEFAULT_MARGINS: Mapping[str, float] = {ACCEPTANCE_LENGTH: 0.02}


@dataclass(frozen=True, slots=True)
class JudgedCase:
    """One case against its baseline: a verdict for every gated metric.

    Attributes:
        new: the record under test.
        match: the baseline, and what the two must not be compared on.
        verdicts: one for each gated metric, in the order in which α is spent; those on the answers
            themselves after them.
        attribution: what a change of the run's speedup is due to.
        no_attribution: why there is none.
        changes: how the run differs from its baseline, likeliest causes of a change first.
    """

    new: Record
    match: Match
    verdicts: tuple[Verdict, ...]
    attribution: Attribution | None = None
    no_attribution: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def old(self) -> Record | None:
        """The baseline, if there is one."""
        return self.match.record

    @property
    def acceptance(self) -> Verdict | None:
        """The verdict on AL; None where AL is not gated."""
        return verdict_on(ACCEPTANCE_LENGTH, self.verdicts)

    @property
    def compared(self) -> bool:
        """Whether any metric was compared with the baseline."""
        return any(verdict.compared for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class Judge:
    """Margins and error rates that every case is held to.

    Attributes:
        margins: ``METRIC`` or ``METRIC/SLICE`` → loss that is still accepted, as a share.
        family: the selected cases, over which α is divided.
        reach: smallest share of samples that a loss is assumed to affect.
    """

    margins: Mapping[str, float]
    family: Family
    reach: float = REACH

    def margins_of(self, method: str, slice_name: str) -> dict[str, float]:
        """Every gated metric of a case with its margin, in the order in which α is spent.

        A margin of the slice comes before the general one. A run without SD has no speedup.
        """
        found = {}
        for metric in GATED_METRICS:
            own = self.margins.get(f"{metric}/{slice_name}", self.margins.get(metric))
            if own is not None and not (metric == "speedup" and method == "none"):
                found[metric] = own
        return found

    def spending(
        self,
        method: str,
        slice_name: str,
        *,
        soak: bool = False,
        comparing: bool = True,
        spent: Mapping[str, int] | None = None,
    ) -> AlphaSequence:
        """How a case spends its α: the drift of a soak, gated metrics, then asserts.

        Where nothing is compared unless a test asks for it (not ``comparing``), the first margin
        that is asked for a gated metric has its place. ``spent`` is what its session has spent.
        """
        known = [DRIFT] if soak else []
        for metric, margin in self.margins_of(method, slice_name).items():
            known.append(comparison(metric, margin) if comparing else metric)
        return self.family.sequence(known, spent)

    def verdict(
        self,
        new: Record,
        match: Match,
        metric: str,
        margin: float,
        spending: AlphaSequence,
        decided: Decision | None = None,
    ) -> Verdict:
        """One metric of one case; ``decided`` is what an early decision has found for AL."""
        levels = self.levels(metric, margin, spending)
        return gate(str(new.case), new, match, metric, margin, levels, decided)

    def levels(self, metric: str, margin: float, spending: AlphaSequence) -> Levels:
        """The error rates of one comparison."""
        return self.levels_at(spending.level(comparison(metric, margin), of=metric))

    def levels_at(self, fail_alpha: float) -> Levels:
        """The error rates of a comparison whose share of α for a false *fail* is given."""
        return Levels(self.family.alpha, fail_alpha, self.reach)

    def guards(self, new: Record, match: Match) -> tuple[Verdict, ...]:
        """What is wrong with the answers, whatever the metrics: *degenerate* where they became
        worse than the baseline's, *fail* where they have tokens that the target would not choose.
        """
        case, family = str(new.case), self.family
        alpha = sequence_level(family.share, 1) * DEFECTS_PART
        found = guard(case, new, match, family.cases), wrong_tokens(case, new, match, alpha)
        return tuple(verdict for verdict in found if verdict is not None)

    def judge(self, new: Record, match: Match) -> JudgedCase:
        """Every gated metric of one case, and what a change of its speedup is due to."""
        margins = self.margins_of(new.spec.method, new.case.slice)
        spent = new.gate.spent if new.gate else None
        spending = self.spending(new.spec.method, new.case.slice, soak=bool(new.drift), spent=spent)
        verdicts = tuple(
            self.verdict(new, match, metric, margin, spending) for metric, margin in margins.items()
        )
        verdicts = (*verdicts, *self.guards(new, match))
        if match.record is None:
            return JudgedCase(new, match, verdicts)
        case = JudgedCase(new, match, verdicts, changes=changes(match.record, new))
        try:
            return replace(case, attribution=attribute_records(new, match))
        except NoData as error:
            return replace(case, no_attribution=str(error))


def verdict_on(metric: str, verdicts: Iterable[Verdict]) -> Verdict | None:
    """The verdict on ``metric``, None where there is none."""
    return next((verdict for verdict in verdicts if verdict.metric == metric), None)
