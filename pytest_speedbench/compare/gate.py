"""New against baseline: has a metric fallen by more than its margin?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import MetricRecord, Record, RoundRecord
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.errors import RecordError
from pytest_speedbench.measure.metrics import METRICS
from pytest_speedbench.stats import Decision, Estimate, NoData, non_inferiority
from pytest_speedbench.stats.rule import REACH
from pytest_speedbench.stats.simulation import upper_limit


@dataclass(frozen=True, slots=True)
class Levels:
    """Error rates of one comparison: ``alpha`` bounds a false pass, ``fail_alpha``, the case's
    part of the session's α, a false fail; ``reach`` is how rare a loss they reckon with."""

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
    if new.speculation_off:
        return Verdict(case, metric, Outcome.SPECULATION_OFF, new.speculation_off, margin=margin)
    verdict = _gate(case, new, match, metric, margin, levels, decided)
    if match.part and match.comparable:
        return replace(verdict, reason="; ".join(filter(None, (verdict.reason, match.part))))
    return verdict


def _gate(
    case: str,
    new: Record,
    match: Match,
    metric: str,
    margin: float,
    levels: Levels,
    decided: Decision | None,
) -> Verdict:
    old = match.record
    if old is None:
        return Verdict(case, metric, Outcome.NO_BASELINE, "no record of this case", margin=margin)
    name = str(match.run) if match.run else ""
    if match.incomparable:
        reason = "; ".join(match.incomparable)
        return Verdict(case, metric, Outcome.INCOMPARABLE, reason, margin=margin, baseline=name)
    if metric == "acceptance_length":
        return _gate_acceptance(case, old, new, margin, levels, name, decided)
    if match.timing:
        reason = "; ".join(match.timing)
        return Verdict(case, metric, Outcome.NOT_GATED, reason, margin=margin, baseline=name)
    return _gate_timing(case, old, new, metric, margin, levels, name)


def _gate_acceptance(
    case: str,
    old: Record,
    new: Record,
    margin: float,
    levels: Levels,
    baseline: str,
    decided: Decision | None,
) -> Verdict:
    metric = "acceptance_length"
    untold = _untold(old, new)
    if untold is not None:
        outcome, reason = untold
        change = _counted_ratio(old, new)
        return Verdict(case, metric, outcome, reason, change, margin=margin, baseline=baseline)
    try:
        decision = decided or non_inferiority(
            traces_of(old),
            traces_of(new),
            margin=margin,
            alpha=levels.alpha,
            fail_alpha=levels.fail_alpha,
            healthy_parting=healthy_parting(old, new),
            reach=levels.reach,
            greedy=not new.sampling.temperature,
        )
    except RecordError as error:
        return Verdict(
            case, metric, Outcome.INCOMPARABLE, str(error), margin=margin, baseline=baseline
        )
    except NoData as error:
        return Verdict(
            case, metric, Outcome.UNDECIDED, str(error), margin=margin, baseline=baseline
        )
    finding = decision.carried_by
    ratio = finding.ratio if finding else None
    return Verdict(
        case,
        metric,
        Outcome(decision.conclusion.value),
        _reason(decision),
        ratio.value if ratio else None,
        ratio.low if ratio else None,
        ratio.high if ratio else None,
        margin,
        finding.coverage if finding else None,
        baseline,
    )


def _untold(old: Record, new: Record) -> tuple[Outcome, str] | None:
    """Why no test of AL can be made, where an engine does not tell each request's steps."""
    silent = [side for side, record in (("there", old), ("here", new)) if _tells_no_steps(record)]
    if not silent:
        return None
    if any(record.counted is not None for record in (old, new)):
        return Outcome.UNDECIDED, (
            "AL is known from the engine's counters, of the slice as a whole: without its samples "
            "no change is certain; at BS 1 the counters tell of each request"
        )
    if len(silent) == 1:
        return Outcome.UNDECIDED, f"the engine tells nothing of decoding steps {silent[0]}"
    return Outcome.NOT_GATED, (
        "timing only: the engine tells nothing of decoding steps; gate output_tps or speedup "
        "(--speed-compare-fail)"
    )


def _tells_no_steps(record: Record) -> bool:
    totals = [request.totals for request in record.requests if request.totals is not None]
    return any(told.steps is None for told in totals)


def _counted_ratio(old: Record, new: Record) -> float | None:
    """New / old AL as the reports show them; None where one has none."""
    before, after = old.metric("acceptance_length"), new.metric("acceptance_length")
    return after.value / before.value if before and after else None


def _reason(decision: Decision) -> str:
    parts = [decision.reason]
    if decision.more_samples is not None:
        parts.append(f"about {decision.more_samples} more samples would settle it")
    if decision.only_old or decision.only_new:
        parts.append(
            f"{len(decision.only_old)} samples only there, {len(decision.only_new)} only here"
        )
    return "; ".join(parts)


def _gate_timing(
    case: str,
    old: Record,
    new: Record,
    metric: str,
    margin: float,
    levels: Levels,
    baseline: str,
) -> Verdict:
    try:
        ratio, low, high = _timing_bounds(old, new, metric, levels)
    except NoData as error:
        return Verdict(
            case, metric, Outcome.NOT_GATED, str(error), margin=margin, baseline=baseline
        )
    outcome = Outcome.UNDECIDED
    reason = f"{ratio.n} rounds do not settle it"
    if low is not None and high is not None:
        if high < 1 - margin:
            outcome, reason = Outcome.FAIL, f"fell by more than {margin:.3g}"
        elif low > 1 + margin:
            outcome, reason = Outcome.IMPROVED, "the baseline is stale"
        elif low > 1 - margin:
            outcome, reason = Outcome.PASS, f"did not fall by {margin:.1%}"
    if outcome is Outcome.FAIL:
        reason = f"fell by more than {margin:.1%}"
    return Verdict(
        case, metric, outcome, reason, ratio.value, ratio.low, ratio.high, margin, None, baseline
    )


def _timing_bounds(
    old: Record, new: Record, metric: str, levels: Levels
) -> tuple[Estimate, float | None, float | None]:
    """Ratio of the round means with its 95 % interval, and the two bounds that decide."""
    from pytest_speedbench.stats.speed import change_over_rounds

    check_same_samples(old, new)
    before, after = _round_values(old, metric), _round_values(new, metric)
    paired = same_rounds(old, new)
    shown = change_over_rounds(before, after, paired=paired)
    low = change_over_rounds(before, after, 1 - 2 * levels.alpha, paired=paired).low
    high = change_over_rounds(before, after, 1 - 2 * levels.fail_alpha, paired=paired).high
    return shown, low, high


def same_rounds(old: Record, new: Record) -> bool:
    """Whether round k of both runs sent as many requests: the samples are dealt in a fixed order,
    so they were the same ones, and rounds can be compared one by one."""
    return [r.requests for r in old.rounds] == [r.requests for r in new.rounds]


def check_same_samples(old: Record, new: Record) -> None:
    """Raises NoData where the rounds of two runs did not send the same requests.

    Throughput belongs to the run: one of other categories is another one, under the same key.
    """
    there, here = ([r.requests for r in record.rounds] for record in (old, new))
    if not (there and here):
        raise NoData("one side was not timed (--speed-early times nothing)")
    if sum(there) != sum(here) and set(there) != set(here):
        raise NoData(
            f"another sample set: rounds of {max(there, default=0)} requests there, of "
            f"{max(here, default=0)} here"
        )


def _round_values(record: Record, metric: str) -> list[float]:
    with_sd = [tps(r) for r in record.rounds]
    if not with_sd:
        raise NoData("one side was not timed (--speed-early times nothing)")
    if metric == "output_tps":
        return with_sd
    if not record.reference_rounds:
        raise NoData("no arm without SD on one side, so no speedup")
    if len(with_sd) != len(record.reference_rounds):
        raise NoData("the arms with and without SD have unequal numbers of rounds")
    return [sd / tps(plain) for sd, plain in zip(with_sd, record.reference_rounds, strict=True)]


def tps(timing: RoundRecord) -> float:
    """Output tokens per second of a round; NoData for one that took no time or gave no token."""
    if timing.tokens <= 0 or not 0 < timing.seconds < math.inf:
        raise NoData(f"a round of {timing.tokens} tokens in {timing.seconds:g} s")
    return timing.tokens / timing.seconds


def healthy_parting(old: Record, new: Record) -> float | None:
    """How often outputs *without* SD part between the two builds: at most this share, at 95 %.

    A conversation is compared while it is the same. None where a side has no arm without SD.
    """
    theirs = {(r.sample, r.turn): r.plain for r in old.requests}
    parted: set[str] = set()
    compared = 0
    for request in sorted(new.requests, key=lambda r: r.turn):
        before = theirs.get((request.sample, request.turn), "")
        if not (before and request.plain) or request.sample in parted:
            continue
        compared += 1
        if before != request.plain:
            parted.add(request.sample)
    return upper_limit(len(parted), compared) if compared else None


def unit_of(metric: str, value: MetricRecord) -> str:
    """The unit to print behind a value of ``metric``."""
    return METRICS[metric].unit if metric in METRICS else value.unit


def gated(case_keys: Sequence[object], margins: dict[str, float]) -> int:
    """How many comparisons a session makes: the family over which α is divided."""
    return max(1, len(case_keys) * max(1, len({name.partition("/")[0] for name in margins})))


def margin_for(margins: dict[str, float], metric: str, slice_name: str) -> float | None:
    """The margin of ``metric`` for a slice: its own, ``METRIC/SLICE``, before the general one."""
    own = margins.get(f"{metric}/{slice_name}")
    return own if own is not None else margins.get(metric)
