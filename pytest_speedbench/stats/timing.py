"""Speed against stored sessions, and of two builds side by side: which unit is independent.

Rounds of a session share its clocks, temperature and neighbours; a started process keeps an offset
(memory layout, compiled graphs) as long as it lives. More rounds do not average either. So a stored
comparison has the session as its unit, and one of two running builds the pair of starts; within one
session rounds are grouped into blocks that are far enough apart (batch means: Law & Kelton,
Simulation Modeling and Analysis, 9.5.3). Differences are of log tokens/s; bounds are Student's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_speedbench.errors import NoData, count_of
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.decision import Conclusion
from pytest_speedbench.stats.delta import t_quantile
from pytest_speedbench.stats.estimates import Estimate

MIN_SESSIONS = 3
MIN_BLOCKS = 3
MIN_ROUNDS = 10  # fewer cannot show that they hardly depend on one another
MIN_STARTS = 3
MOST_NEEDED = 1000  # units beyond which a margin is called impossible
POWER = 0.9
CORRELATION_LEVEL = 0.95  # of the upper limit of the correlation between rounds
LEFT_BETWEEN_BLOCKS = 0.1  # correlation of neighbouring blocks that is tolerated


@dataclass(frozen=True, slots=True)
class TimingDecision:
    """The verdict on a ratio of speeds, new / old.

    Attributes:
        conclusion: pass, fail, improved or undecided.
        ratio: geometric mean with its 95% interval; n counts the independent units.
        low: bound on the ratio from below, wrong with probability alpha at most.
        high: bound from above, wrong with probability fail_alpha at most.
        unit: "session", "start" or "block".
        more_units: further units that settle it with 90% power if nothing changed; None where it
            is decided, or where more than 1,000 are needed.
    """

    conclusion: Conclusion
    ratio: Estimate
    low: float
    high: float
    unit: str
    more_units: int | None


@dataclass(frozen=True, slots=True)
class Spread:
    """Variance of the difference of two processes of one build, from `df` independent pairs."""

    variance: float
    df: int


def against_sessions(
    earlier: Mapping[str, Sequence[Sequence[float]]],
    new: Sequence[float],
    case: str,
    *,
    margin: float,
    alpha: float,
    fail_alpha: float | None = None,
) -> TimingDecision:
    """Compare one case of a session with earlier sessions on the same machine.

    The variance of a session's mean is the larger of the case's own and of the mean over cases.
    Sessions are shared by cases, so that pooling adds no degrees of freedom: it only keeps a
    variance that came out small by luck from deciding. All sessions count with equally many rounds.

    Args:
        earlier: tokens/s of each round of each earlier session, by case.
        new: tokens/s of each round of the new session.
        case: which of the cases.
        margin: loss of speed that is accepted.
        alpha: bound on P(false pass).
        fail_alpha: bound on P(false fail) and on P(false improved); `alpha` if None.

    Raises:
        NoData: fewer than 3 earlier sessions, or no rounds; says how many this margin needs.
        ValueError: a value that is not positive and finite, or levels out of range.
    """
    levels = _levels(margin, alpha, fail_alpha)
    sessions = earlier.get(case, ())
    rounds = min(map(len, (*sessions, new)))
    if not rounds:
        raise NoData("a session without timed rounds")
    if len(sessions) < MIN_SESSIONS:
        needed = _needed_by(sessions, new, margin, alpha)
        raise NoData(
            f"{count_of(len(sessions), 'earlier session')} of this machine; timing"
            f" needs at least {MIN_SESSIONS}, for this margin {needed}"
        )
    means = session_means(sessions, rounds)
    variances = [
        float(session_means(others, min(rounds, *map(len, others))).var(ddof=1))
        for others in earlier.values()
        if len(others) >= MIN_SESSIONS and min(map(len, others))
    ]
    variance = max(float(means.var(ddof=1)), float(np.mean(variances)))
    now = float(session_means([new], rounds)[0])
    k = len(sessions)
    error = math.sqrt(variance * (1 + 1 / k))
    more = _more(variance, margin, levels[0], k, earlier=True)
    return _decide(now - float(means.mean()), error, k - 1, k, margin, levels, "session", more)


def session_means(sessions: Sequence[Sequence[float]], rounds: int) -> Floats:
    """Mean log tokens/s of the first so many rounds of each session; shape (sessions,)."""
    return np.array([_logs(session)[:rounds].mean() for session in sessions])


def start_spread(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Spread:
    """What two processes of one build differ by, from A/A pairs of starts in alternating rounds.

    Args:
        pairs: tokens/s of each round of both processes, one entry per pair of starts.

    Raises:
        NoData: no pairs.
    """
    if not pairs:
        raise NoData("no pairs of starts of one build")
    differences = np.array([float(_logs(b).mean() - _logs(a).mean()) for a, b in pairs])
    return Spread(float((differences**2).mean()), len(differences))


def side_by_side(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]],
    *,
    margin: float,
    alpha: float,
    fail_alpha: float | None = None,
    known: Spread | None = None,
) -> TimingDecision:
    """Compare two builds that ran in alternating rounds; the pair of starts is the unit.

    With at least 3 pairs the variance between them decides. With fewer, what one pair may differ by
    must be known from A/A pairs of starts of this machine and engine.

    Args:
        pairs: tokens/s of each round of the old and of the new build, one entry per pair of starts.
        margin: loss of speed that is accepted.
        alpha: bound on P(false pass).
        fail_alpha: bound on P(false fail) and on P(false improved); `alpha` if None.
        known: from `start_spread`, with as many rounds a start.

    Raises:
        NoData: no pairs, or too few while nothing is known of the spread between starts.
        ValueError: a value that is not positive and finite, or levels out of range.
    """
    if not pairs:
        raise NoData("the two builds have no rounds in common")
    differences = np.array([float(_logs(b).mean() - _logs(a).mean()) for a, b in pairs])
    n = len(differences)
    levels = _levels(margin, alpha, fail_alpha)
    if n >= MIN_STARTS:
        variance, df = float(differences.var(ddof=1)), n - 1
    elif known is not None and known.df >= MIN_STARTS:
        variance, df = known.variance, known.df
    else:
        raise NoData(
            f"{count_of(n, 'start')} of each build: processes of one build differ too, so at"
            f" least {MIN_STARTS} are needed, or the spread between starts of one build"
        )
    more = _more(variance, margin, levels[0], n, earlier=False)
    error = math.sqrt(variance / n)
    return _decide(float(differences.mean()), error, df, n, margin, levels, "start", more)


def within_session(
    old: Sequence[float],
    new: Sequence[float],
    *,
    margin: float,
    alpha: float,
    fail_alpha: float | None = None,
) -> TimingDecision:
    """Compare two arms of one session in alternating rounds, in blocks of rounds.

    Raises:
        NoData: unequal or too few rounds for three blocks that hardly depend on one another.
        ValueError: a value that is not positive and finite, or levels out of range.
    """
    if len(old) != len(new):
        raise NoData(f"{count_of(len(old), 'round')} of one arm, {len(new)} of the other")
    blocks = block_means(_logs(new) - _logs(old))
    n = len(blocks)
    levels = _levels(margin, alpha, fail_alpha)
    variance = float(blocks.var(ddof=1))
    more = _more(variance, margin, levels[0], n, earlier=False)
    error = math.sqrt(variance / n)
    return _decide(float(blocks.mean()), error, n - 1, n, margin, levels, "block", more)


def block_means(values: Floats) -> Floats:
    """Means of consecutive blocks of rounds, so long that they hardly depend on one another.

    The correlation of neighbouring rounds is taken at its upper 95% limit, since a few rounds
    cannot show that they are independent. Rounds that fill no block are left out at the start.

    Raises:
        NoData: fewer than three blocks; says how many rounds are needed.
    """
    n = len(values)
    if n < MIN_ROUNDS:
        raise NoData(
            f"{count_of(n, 'round')}; at least {MIN_ROUNDS} are needed to see whether they "
            "depend on one another"
        )
    size = _block_size(correlation_limit(values))
    count = n // size
    if count < MIN_BLOCKS:
        raise NoData(
            f"{count_of(n, 'round')} may depend on one another too much: at least "
            f"{MIN_BLOCKS * size} are needed"
        )
    return np.asarray(values[n - count * size :].reshape(count, size).mean(axis=1))


def correlation_limit(values: Floats) -> float:
    """Upper 95% limit of the correlation of neighbouring rounds, between 0 and 0.95.

    The estimate is corrected for its bias of (1 + 4φ)/n (Kendall 1954); its variance is
    (1 - φ²)/n (Box & Jenkins).
    """
    from scipy.special import ndtri

    n = len(values)
    centred = values - values.mean()
    total = float((centred**2).sum())
    if not total:
        return 0.0
    found = float((centred[1:] * centred[:-1]).sum()) / total
    unbiased = (n * found + 1) / max(n - 4, 1)
    spread = math.sqrt(max(0.1, 1 - unbiased**2) / n)
    limit = unbiased + float(ndtri(CORRELATION_LEVEL)) * spread
    return min(0.95, max(0.0, limit))


def _block_size(correlation: float) -> int:
    """Smallest block whose mean hardly depends on the next one's, for a first-order process."""
    size = 1
    while _between_blocks(correlation, size) > LEFT_BETWEEN_BLOCKS:
        size += 1
    return size


def _between_blocks(phi: float, size: int) -> float:
    """Correlation of the means of neighbouring blocks of a first-order autoregressive process."""
    if phi <= 0:
        return 0.0
    lags = np.arange(1, size)
    variance = size + 2 * float(((size - lags) * phi**lags).sum())
    apart = np.arange(size)
    return float((phi ** (apart[:, None] + apart[None, :] + 1)).sum()) / variance


def _decide(
    change: float,
    error: float,
    df: int,
    n: int,
    margin: float,
    levels: tuple[float, float],
    unit: str,
    more: int | None,
) -> TimingDecision:
    low, high, sure_low = (
        math.exp(change + sign * t_quantile(1 - 2 * level, df) * error)
        for sign, level in ((-1, levels[0]), (1, levels[1]), (-1, levels[1]))
    )
    half = t_quantile(0.95, df) * error
    ratio = Estimate(math.exp(change), math.exp(change - half), math.exp(change + half), n)
    if high < 1 - margin:
        verdict = Conclusion.FAIL
    elif sure_low > 1 + margin:
        verdict = Conclusion.IMPROVED
    else:
        verdict = Conclusion.PASS if low > 1 - margin else Conclusion.UNDECIDED
    return TimingDecision(
        verdict, ratio, low, high, unit, more if verdict is Conclusion.UNDECIDED else None
    )


def units_needed(variance: float, margin: float, alpha: float, *, earlier: bool) -> int | None:
    """Units with which an unchanged build passes with 90% power; None beyond 1,000.

    Args:
        variance: of one unit, in squared logs.
        margin: loss of speed that is accepted.
        alpha: bound on P(false pass).
        earlier: the units are earlier sessions, and one new session is compared with them.
    """
    reach = -math.log1p(-margin)
    for n in range(MIN_SESSIONS, MOST_NEEDED + 1):
        error = math.sqrt(variance * (1 + 1 / n if earlier else 1 / n))
        quantiles = t_quantile(1 - 2 * alpha, n - 1) + t_quantile(2 * POWER - 1, n - 1)
        if quantiles * error <= reach:
            return n
    return None


def _more(variance: float, margin: float, alpha: float, n: int, *, earlier: bool) -> int | None:
    needed = units_needed(variance, margin, alpha, earlier=earlier)
    return None if needed is None else max(1, needed - n)


def _needed_by(
    sessions: Sequence[Sequence[float]], new: Sequence[float], margin: float, alpha: float
) -> str:
    """How many earlier sessions this margin needs, as far as so few can show."""
    rounds = min(map(len, (*sessions, new)))
    if sessions:
        variance = float(session_means([*sessions, new], rounds).var(ddof=1))
    else:
        logs = _logs(new)
        variance = float(logs.var(ddof=1)) / len(logs) if len(logs) > 1 else 0.0
    needed = units_needed(variance, margin, alpha, earlier=True)
    return f"more than {MOST_NEEDED}" if needed is None else f"about {needed}"


def _levels(margin: float, alpha: float, fail_alpha: float | None) -> tuple[float, float]:
    """Both error rates."""
    if not 0 < margin < 1:
        raise ValueError(f"margin must lie between 0 and 1, got {margin!r}")
    levels = (alpha, alpha if fail_alpha is None else fail_alpha)
    if not all(0 < level < 0.5 for level in levels):
        raise ValueError(f"error rates must lie between 0 and 0.5, got {levels!r}")
    return levels


def _logs(values: Sequence[float]) -> Floats:
    for number, value in enumerate(values, start=1):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"round {number}: must be positive and finite, got {value!r}")
    if not len(values):
        raise NoData("no timed rounds")
    return np.log(np.asarray(values, dtype=np.float64))
