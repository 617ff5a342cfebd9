"""The guard against degenerate output: answers that became loops have a fine AL.

A drafter guesses the next turn of a loop with ease, so a build that breaks the target looks better
than its baseline. Each sample of a case is compared with itself in the baseline, in four ways: its
answers repeat themselves, are empty (at most one token), are cut by the length limit, or have
another length. The tests are exact, and have an α of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pytest_speedbench.baselines.requests import RequestRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.quantities import change_of
from pytest_speedbench.stats.paired_shares import excess_p_value, sign_p_value

METRIC = "output"
ALPHA = 0.001
"""P(any false *degenerate* in a session); not a part of ``--speed-alpha``."""
# A smaller change of the mean output length, as a share, does not matter.
_LEAST_CHANGE = 0.1
_TESTS = 4

Answers: TypeAlias = Sequence[RequestRecord]


@dataclass(frozen=True, slots=True)
class _Sign:
    """A property of a sample: what an answer with it does, and whether one is known to have it;
    None where the record does not say."""

    text: str
    has: Callable[[RequestRecord], bool | None]


_SIGNS = (
    _Sign("repeat themselves", lambda request: request.repeats_itself),
    _Sign("have at most one token", lambda request: request.tokens <= 1),
    _Sign("are cut by max_tokens", lambda request: request.finish == "length"),
)


def guard(case: str, new: Record, match: Match, cases: int) -> Verdict | None:
    """*Degenerate* where the answers of ``new`` are worse in one of the four ways, else None;
    *incomparable* where those of the baseline cannot be read.

    Args:
        cases: number of selected cases, over which the guard's α is divided; within a case it is
            divided over the four tests, and over the looks of an early decision.
    """
    if not match.comparable or match.record is None:
        return None
    before, after = _by_sample(match.record), _by_sample(new)
    pairs = [(before[sample], after[sample]) for sample in after if sample in before]
    looks = new.arm.early.looks if new.arm and new.arm.early else 1
    alpha = ALPHA / max(1, cases) / _TESTS / max(1, looks)
    baseline = str(match.run) if match.run else ""
    try:
        found = [*(_excess(sign, pairs, alpha) for sign in _SIGNS), _other_length(pairs, alpha)]
    except ValueError as error:
        reason = f"the requests of a record are damaged: {error}"
        return Verdict(case, METRIC, Outcome.INCOMPARABLE, reason, baseline=baseline)
    reason = "; ".join(filter(None, found))
    if not reason:
        return None
    return Verdict(case, METRIC, Outcome.DEGENERATE, reason, baseline=baseline, alpha=alpha)


def _by_sample(record: Record) -> Mapping[str, Answers]:
    found: dict[str, list[RequestRecord]] = {}
    for request in record.requests:
        found.setdefault(request.sample, []).append(request)
    return found


def _excess(sign: _Sign, pairs: Sequence[tuple[Answers, Answers]], alpha: float) -> str:
    """Why more samples have ``sign`` than in the baseline; empty where that is not shown."""
    shown = [(_any(sign, old), _any(sign, new)) for old, new in pairs]
    known = [(old, new) for old, new in shown if old is not None and new is not None]
    only_new = sum(new and not old for old, new in known)
    only_old = sum(old and not new for old, new in known)
    p_value = excess_p_value(only_new, only_old)
    if p_value > alpha:
        return ""
    now, then = sum(new for _, new in known), sum(old for old, _ in known)
    return (
        f"answers of {now} of {len(known)} samples {sign.text}, of {then} in the baseline "
        f"(p = {p_value:.1g}, α = {alpha:.2g})"
    )


def _any(sign: _Sign, answers: Answers) -> bool | None:
    found = [sign.has(answer) for answer in answers]
    return None if None in found else any(found)


def _other_length(pairs: Sequence[tuple[Answers, Answers]], alpha: float) -> str:
    """Why outputs have another length; empty where that is not shown."""
    lengths = [(_tokens(old), _tokens(new)) for old, new in pairs]
    grown = sum(new > old for old, new in lengths)
    shrunk = sum(new < old for old, new in lengths)
    before, after = sum(old for old, _ in lengths), sum(new for _, new in lengths)
    if not before or abs(after / before - 1) < _LEAST_CHANGE:
        return ""
    p_value = sign_p_value(grown, shrunk)
    if p_value > alpha:
        return ""
    return (
        f"outputs have {change_of(after / before, 0)} tokens: {grown} of {len(lengths)} samples "
        f"more, {shrunk} fewer (p = {p_value:.1g}, α = {alpha:.2g})"
    )


def _tokens(answers: Answers) -> int:
    return sum(answer.tokens for answer in answers)
