"""New against baseline: has a metric fallen by more than its margin?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.imported import comparable_traces, imported_note
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.replay import replayed_between
from pytest_speedbench.compare.side_by_side import of_one_pair
from pytest_speedbench.compare.timing import gate_side_by_side, gate_stored
from pytest_speedbench.compare.verdict import COMPARED, Outcome, Verdict
from pytest_speedbench.errors import NoData, RecordError, count_of
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH
from pytest_speedbench.quantities import about
from pytest_speedbench.stats import (
    Conclusion,
    Decision,
    non_inferiority,
)
from pytest_speedbench.stats.rule import REACH
from pytest_speedbench.stats.simulation import upper_limit


@dataclass(frozen=True, slots=True)
class Levels:
    """Error rates of one comparison.

    Attributes:
        alpha: bound on a false *pass* of the case.
        fail_alpha: bound on a false *fail* of this comparison, its part of the family's α.
        reach: smallest share of samples that a loss is assumed to affect.
    """

    alpha: float
    fail_alpha: float
    reach: float = REACH


def gate(
    case: str,
    new: Record,
    match: Match,
    metric: str,
    margin: float,
    levels: Levels,
    decided: Decision | None = None,
) -> Verdict:
    """Compares one metric of ``new`` with its baseline.

    ``decided`` is the verdict on AL that an early decision has reached: it stands, whatever the
    samples that came after it would say.
    """
    verdict = _untested(new, match, metric) or _tested(new, match, metric, margin, levels, decided)
    verdict = as_category(verdict, new)
    baseline = str(match.run) if match.run else ""
    alpha = levels.fail_alpha if verdict.outcome in COMPARED else None
    part = match.part if match.comparable else ""
    unverified = imported_note(new, match) if match.comparable else ""
    remark = f"named explicitly, although {match.remark}" if match.remark and not unverified else ""
    reason = "; ".join(filter(None, (verdict.reason, part, remark, unverified)))
    return replace(verdict, case=case, margin=margin, baseline=baseline, alpha=alpha, reason=reason)


def is_beside_all(record: Record) -> bool:
    """Whether the case is a category whose whole split is judged in the same session."""
    return record.gate is not None and record.gate.beside_all


def as_category(verdict: Verdict, record: Record) -> Verdict:
    """The verdict of a case that may be a category beside ``all``: such a one is never undecided,
    since the whole split is what is judged."""
    if verdict.outcome is Outcome.UNDECIDED and is_beside_all(record):
        return replace(verdict, outcome=Outcome.NOT_GATED)
    return verdict


def _untested(new: Record, match: Match, metric: str) -> Verdict | None:
    """Why nothing can be tested, if so."""
    if new.speculation_off:
        return Verdict("", metric, Outcome.SPECULATION_OFF, new.speculation_off)
    if match.record is None:
        return Verdict("", metric, Outcome.NO_BASELINE, match.nearest or "no record of this case")
    if match.incomparable:
        return Verdict("", metric, Outcome.INCOMPARABLE, "; ".join(match.incomparable))
    if metric != ACCEPTANCE_LENGTH and match.timing:
        return Verdict("", metric, Outcome.NOT_GATED, "; ".join(match.timing))
    return None


def _tested(
    new: Record,
    match: Match,
    metric: str,
    margin: float,
    levels: Levels,
    decided: Decision | None,
) -> Verdict:
    old = match.record
    assert old is not None
    if metric != ACCEPTANCE_LENGTH:
        rates = margin, levels.alpha, levels.fail_alpha
        if of_one_pair(old, new):
            return gate_side_by_side(old, new, metric, *rates)
        return gate_stored(new, match, metric, *rates)
    return _gate_acceptance(old, new, margin, levels, decided)


def _gate_acceptance(
    old: Record, new: Record, margin: float, levels: Levels, decided: Decision | None
) -> Verdict:
    unknown = _steps_unknown(old, new)
    if unknown is not None:
        return unknown
    try:
        replayed = replayed_between(old, new)
        decision = decided or non_inferiority(
            *comparable_traces(old, new),
            margin=margin,
            alpha=levels.alpha,
            fail_alpha=levels.fail_alpha,
            healthy_divergence=healthy_divergence(old, new),
            reach=levels.reach,
            greedy=not (old.sampling.temperature or new.sampling.temperature),
            draft_length=longest_draft(old, new),
            replayed=replayed,
        )
    except RecordError as error:
        return Verdict("", ACCEPTANCE_LENGTH, Outcome.INCOMPARABLE, str(error))
    except NoData as error:
        return Verdict("", ACCEPTANCE_LENGTH, Outcome.UNDECIDED, str(error))
    note = ""
    if decided is None and replayed is None and any(r.replay for r in new.requests):
        note = "only whole outputs are compared, since replay followed another run's text"
    verdict = Verdict(
        "",
        ACCEPTANCE_LENGTH,
        Outcome(decision.conclusion.value),
        "; ".join(filter(None, (_reason(decision, is_beside_all(new)), note))),
        shown_low=decision.shown[0],
        shown_high=decision.shown[1],
    )
    finding = decision.carried_by
    if finding is None:
        return verdict
    ratio, coverage = finding.ratio, finding.coverage
    return replace(verdict, ratio=ratio.value, low=ratio.low, high=ratio.high, coverage=coverage)


def _steps_unknown(old: Record, new: Record) -> Verdict | None:
    """Why no test of AL can be made, where an engine does not report each request's steps."""
    silent = [side for side, record in (("there", old), ("here", new)) if _no_steps(record)]
    if not silent:
        return None
    outcome, reason = Outcome.UNDECIDED, f"the engine reports no decoding steps {silent[0]}"
    if any(record.counted is not None for record in (old, new)):
        reason = (
            "AL comes from the engine's counters, for the slice as a whole, so its spread over "
            "samples is unknown and no change is certain; at BS 1 the counters give it for each "
            "request"
        )
    elif len(silent) == 2:
        outcome, reason = (
            Outcome.NOT_GATED,
            "timing only: the engine reports no decoding steps; gate output_tps or speedup "
            "(--speed-compare-fail)",
        )
    return Verdict("", ACCEPTANCE_LENGTH, outcome, reason, _counted_ratio(old, new))


def _no_steps(record: Record) -> bool:
    totals = [request.totals for request in record.requests if request.totals is not None]
    return any(total.steps is None for total in totals)


def _counted_ratio(old: Record, new: Record) -> float | None:
    """New / old AL as the reports show them; None where one has none."""
    before, after = old.metric(ACCEPTANCE_LENGTH), new.metric(ACCEPTANCE_LENGTH)
    return after.value / before.value if before and after else None


def _reason(decision: Decision, beside_all: bool) -> str:
    undecided = decision.conclusion is Conclusion.UNDECIDED
    parts = [_too_few(decision) if beside_all and undecided else decision.reason]
    if decision.more_samples is not None:
        more = count_of(about(decision.more_samples), "more sample")
        parts.append(f"about {more} like these would settle it")
    sides = {"the baseline": decision.only_old, "the new run": decision.only_new}
    alone = [f"{count_of(len(own), 'sample')} only in {side}" for side, own in sides.items() if own]
    return "; ".join(filter(None, (*parts, ", ".join(alone))))


def _too_few(decision: Decision) -> str:
    """Why a category has not even a bound; nothing where its samples give one."""
    finding = decision.carried_by
    if finding is None:
        return decision.reason
    ratio = finding.ratio
    return "" if ratio.low is not None else f"{count_of(ratio.n, 'sample')}, too few for a bound"


def longest_draft(old: Record, new: Record) -> int:
    """The larger draft length of two runs: no step emits more than one token beyond it."""
    return max(old.spec.draft_length, new.spec.draft_length)


def healthy_divergence(old: Record, new: Record) -> float | None:
    """How often outputs of healthy builds diverge: at most this share, at 95%.

    By those *without* SD of the two builds; a conversation is compared while it is the same. Where
    a side has none, and no target was asked about the tokens that differ, by those in which ``old``
    diverged from the baseline that it passed against. None where that is not known either.
    """
    theirs = {(r.sample, r.turn): r.plain for r in old.requests}
    diverged: set[str] = set()
    compared = 0
    for request in sorted(new.requests, key=lambda r: r.turn):
        before = theirs.get((request.sample, request.turn), "")
        if not (before and request.plain) or request.sample in diverged:
            continue
        compared += 1
        if before != request.plain:
            diverged.add(request.sample)
    return upper_limit(len(diverged), compared) if compared else _of_stored_rebuild(old, new)


def _of_stored_rebuild(old: Record, new: Record) -> float | None:
    passed = any(v.metric == ACCEPTANCE_LENGTH and v.outcome == "pass" for v in old.verdicts)
    free = [r.replay for r in old.requests if r.replay is not None and r.replay.free]
    if not (passed and free) or any(r.replay.scored for r in new.requests if r.replay):
        return None
    return upper_limit(sum(bool(r.resumed or r.given_up) for r in free), len(free))
