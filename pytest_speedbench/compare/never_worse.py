"""Is an arm slower than others that took turns with it? Output tokens/s, by round."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.measure.results import ArmResult
from pytest_speedbench.stats import Estimate
from pytest_speedbench.stats.speed import paired_speedup

METRIC = "never_worse"
Pair = tuple[ArmResult, ArmResult]
"""The arm under test, and the one that took turns with it."""


def never_worse_verdict(
    key: str, pairs: Mapping[str, Pair], margin: float, fail_alpha: float, alpha: float
) -> Verdict:
    """*Fail* where any pair is shown to be slower by more than ``margin``, *pass* where none is.

    Args:
        key: the case.
        pairs: by the other arm's name.
        margin: share of the other arm's output tokens/s that may be lost.
        fail_alpha: P(a false *fail*), divided over the pairs.
        alpha: P(a false *pass*).
    """
    outcomes, texts = [], []
    for name, pair in pairs.items():
        worst = _ratio(pair, 1 - 2 * fail_alpha / len(pairs))
        best = _ratio(pair, 1 - 2 * alpha)
        outcomes.append(_outcome(worst, best, 1 - margin))
        texts.append(f"{best.value:.3f}x of {name}{_interval(best)}")
    found = next(
        (one for one in (Outcome.FAIL, Outcome.UNDECIDED) if one in outcomes), Outcome.PASS
    )
    return Verdict(key, METRIC, found, f"output: {', '.join(texts)}", margin=margin)


def _ratio(pair: Pair, level: float) -> Estimate:
    own, other = ([round_.output_tps for round_ in arm.rounds] for arm in pair)
    return paired_speedup(own, other, level)


def _outcome(worst: Estimate, best: Estimate, least: float) -> Outcome:
    if worst.high is not None and worst.high < least:
        return Outcome.FAIL
    if best.low is not None and best.low > least:
        return Outcome.PASS
    return Outcome.UNDECIDED


def _interval(ratio: Estimate) -> str:
    if ratio.low is None or ratio.high is None:
        return " (too few rounds for an interval)"
    return f" [{ratio.low:.3f}, {ratio.high:.3f}]"
