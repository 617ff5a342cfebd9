"""Throughput and speedup of a run against its baseline.

Against saved runs the session is the unit, of two builds side by side the pair of starts: see
:mod:`pytest_speedbench.stats.timing`.
"""

from __future__ import annotations

import math

from pytest_speedbench.baselines.measured import RoundRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.sessions import earlier_rounds, timing_key
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.errors import NoData
from pytest_speedbench.stats import TimingDecision

RESTARTS = (
    "; every round is a start where the metric is gated with --speed-compare-fail, and "
    "--speed-rounds says how many"
)


def gate_stored(
    new: Record, match: Match, metric: str, margin: float, alpha: float, fail_alpha: float
) -> Verdict:
    """The verdict on ``speedup`` or ``output_tps``, against the earlier sessions of this machine.

    ``alpha`` bounds a false pass, ``fail_alpha`` a false fail.
    """
    from pytest_speedbench.stats import against_sessions

    assert match.record is not None
    try:
        check_same_samples(match.record, new)
        here = _round_values(new, metric)
        earlier = earlier_rounds(new, match, metric, lambda record: _round_values(record, metric))
        decision = against_sessions(
            earlier, here, timing_key(new), margin=margin, alpha=alpha, fail_alpha=fail_alpha
        )
    except NoData as error:
        return Verdict("", metric, Outcome.NOT_GATED, str(error))
    return _verdict(metric, decision, margin)


def gate_side_by_side(
    old: Record, new: Record, metric: str, margin: float, alpha: float, fail_alpha: float
) -> Verdict:
    """The same of two builds that took turns in one session; ``old`` is the reference build's."""
    from pytest_speedbench.stats import side_by_side

    try:
        there, here = _by_start(old, metric), _by_start(new, metric)
        pairs = [(there[start], here[start]) for start in sorted(there.keys() & here.keys())]
        decision = side_by_side(pairs, margin=margin, alpha=alpha, fail_alpha=fail_alpha)
    except NoData as error:
        return Verdict("", metric, Outcome.NOT_GATED, f"{error}{RESTARTS}")
    return _verdict(metric, decision, margin)


def _by_start(record: Record, metric: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for timing, value in zip(record.rounds, _round_values(record, metric), strict=True):
        found.setdefault(timing.start, []).append(value)
    return found


def _verdict(metric: str, decision: TimingDecision, margin: float) -> Verdict:
    outcome, ratio = Outcome(decision.conclusion.value), decision.ratio
    units = f"{ratio.n} {'earlier ' if decision.unit == 'session' else ''}{decision.unit}s"
    reason = {
        Outcome.FAIL: f"fell by more than {margin:.1%}, over {units}",
        Outcome.IMPROVED: f"the baseline is stale, by {units}",
        Outcome.PASS: f"did not fall by {margin:.1%}, over {units}",
        Outcome.UNDECIDED: f"{units} do not settle it, {_needed(decision)}",
    }[outcome]
    return Verdict("", metric, outcome, reason, ratio.value, ratio.low, ratio.high)


def _needed(decision: TimingDecision) -> str:
    more = decision.more_units
    if more is None:
        return "nor would 1,000: choose a wider margin"
    return f"about {more} more would if nothing has changed"


def same_rounds(old: Record, new: Record) -> bool:
    """Whether round k of both runs sent as many requests.

    Samples are assigned to rounds in a fixed order, so they were the same ones, and rounds can be
    compared one by one.
    """
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
            f"different samples: rounds of {max(there, default=0)} requests there, "
            f"{max(here, default=0)} here"
        )


def _round_values(record: Record, metric: str) -> list[float]:
    with_sd = [tps(r) for r in record.rounds]
    if not with_sd:
        raise NoData("one side was not timed (--speed-early times nothing)")
    if metric == "output_tps":
        return with_sd
    if not record.reference_rounds:
        reason = f": {record.side.no_plain}" if record.side and record.side.no_plain else ""
        raise NoData(f"no arm without SD on one side, so no speedup{reason}")
    if len(with_sd) != len(record.reference_rounds):
        raise NoData("the arms with and without SD have unequal numbers of rounds")
    return [sd / tps(plain) for sd, plain in zip(with_sd, record.reference_rounds, strict=True)]


def tps(timing: RoundRecord) -> float:
    """Output tokens per second of a round; NoData for one that took no time or gave no token."""
    if timing.tokens <= 0 or not 0 < timing.seconds < math.inf:
        raise NoData(f"a round of {timing.tokens} tokens in {timing.seconds:g} s")
    return timing.tokens / timing.seconds
