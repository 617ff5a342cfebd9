"""Point estimates of one run with intervals over samples (clusters)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats import delta
from pytest_speedbench.stats.data import (
    Floats,
    Ints,
    RequestTrace,
    StepTrace,
    Trace,
    clusters,
    step_traces,
    steps_of,
    stratum_codes,
)
from pytest_speedbench.stats.intervals import ratio_bounds

MIN_CLUSTERS = 5  # fewer samples give a value without an interval
# Times and rates have no largest value that is known. A sample that was not seen is taken to be at
# most so many times beyond the extremes that were (benchmarks/results/interval_coverage.md).
UNSEEN = 3.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number with its interval.

    Attributes:
        value: the number, in ``unit``.
        low: lower bound; None where there are too few independent units.
        high: upper bound; None together with ``low``.
        n: number of independent units: samples, or rounds for timing.
        level: probability that ``low`` to ``high`` covers the truth.
        unit: such as ``tokens/step`` or ``s``; empty for ratios.
        higher_is_better: whether a larger value is better.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    level: float = 0.95
    unit: str = ""
    higher_is_better: bool = True


def check_level(level: float) -> None:
    """Raise ValueError unless 0 < level < 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")


def ratio_estimate(
    numerator: Floats,
    denominator: Floats,
    codes: NDArray[np.intp],
    level: float,
    *,
    lowest: tuple[float, float],
    highest: tuple[float, float],
    unit: str = "",
) -> Estimate:
    """A ratio of sums with bounds that hold for few and for skewed clusters; see `ratio_bounds`.

    Raises:
        NoData: the denominators sum to zero.
        ValueError: `level` not between 0 and 1.
    """
    check_level(level)
    value, _ = delta.ratio(numerator, denominator, codes)
    n = len(codes)
    if n < MIN_CLUSTERS:
        return Estimate(value, None, None, n, level, unit)
    low, high = ratio_bounds(numerator, denominator, codes, level, lowest=lowest, highest=highest)
    return Estimate(value, min(low, value), max(high, value), n, level, unit)


def positive_ratio(
    numerator: Floats,
    denominator: Floats,
    codes: NDArray[np.intp],
    level: float,
    *,
    unit: str = "",
) -> Estimate:
    """A ratio of sums of times or rates, of which no bound is known beforehand.

    A sample that was not seen is taken to lie between a third of the smallest ratio of a sample and
    three times the largest.

    Args:
        numerator: shape (clusters,), not negative.
        denominator: shape (clusters,), not negative.
        codes: shape (clusters,), stratum numbers.
        level: coverage of the interval.
        unit: of the ratio.

    Raises:
        NoData: the denominators sum to zero.
        ValueError: `level` not between 0 and 1.
    """
    counted = denominator > 0
    if not counted.any():
        raise NoData("the denominator sums to zero")
    ratios, heaviest = numerator[counted] / denominator[counted], float(denominator.max())
    return ratio_estimate(
        numerator,
        denominator,
        codes,
        level,
        lowest=(heaviest * float(ratios.min()) / UNSEEN, heaviest),
        highest=(heaviest * float(ratios.max()) * UNSEEN, heaviest),
        unit=unit,
    )


def micro_al(
    traces: Sequence[RequestTrace], level: float = 0.95, draft_length: int | None = None
) -> Estimate:
    """Tokens per decoding step over all requests, Σ(N - n0) / ΣD; between 1 and DL + 1.

    Without `draft_length` the longest step or draft of the traces bounds AL from above.

    Raises:
        NoData: no traces, no decoding step in any, or an engine that reports no number of steps.
    """
    tokens, steps, codes = _token_and_step_sums(traces)
    if not steps.sum():
        raise NoData("no decoding steps: every output ended with the prefill's token")
    longest, top = float(tokens.max()), longest_step(traces, draft_length)
    return ratio_estimate(
        tokens,
        steps,
        codes,
        level,
        lowest=(longest, longest),
        highest=(longest, longest / top),
        unit="tokens/step",
    )


def macro_al(
    traces: Sequence[RequestTrace], level: float = 0.95, draft_length: int | None = None
) -> Estimate:
    """Mean over requests of tokens per decoding step; requests without a step have none.

    Raises:
        NoData: no traces, no decoding step in any, or an engine that reports no number of steps.
    """
    groups = clusters(trace for trace in traces if steps_of(trace))
    if not groups:
        raise NoData("no request with a decoding step")
    ratios = [[t.decode_tokens / steps_of(t) for t in turns] for turns in groups.values()]
    sums = np.array([math.fsum(values) for values in ratios])
    counts = np.array([float(len(values)) for values in ratios])
    codes = stratum_codes([turns[0].stratum for turns in groups.values()])
    most, top = float(counts.max()), longest_step(traces, draft_length)
    return ratio_estimate(
        sums,
        counts,
        codes,
        level,
        lowest=(most, most),
        highest=(top * most, most),
        unit="tokens/step",
    )


def longest_step(traces: Sequence[RequestTrace], draft_length: int | None = None) -> float:
    """Most tokens that a step can emit: DL + 1, or what the traces show of it."""
    top = 1.0 if draft_length is None else draft_length + 1.0
    for trace in traces:
        if isinstance(trace, StepTrace):
            drafts = 0 if trace.drafted is None else int(trace.drafted.max(initial=0))
            top = max(top, float(trace.steps.max(initial=1)), drafts + 1.0)
        elif trace.step_count:
            drafted = (trace.draft_tokens or 0) / trace.step_count
            top = max(top, drafted + 1.0, trace.decode_tokens / trace.step_count)
    return top


def acceptance_rate(traces: Sequence[RequestTrace], level: float = 0.95) -> Estimate:
    """Accepted over proposed draft tokens, from engines that report both.

    Raises:
        NoData: no traces, one without draft counts, or nothing drafted.
    """
    groups = _groups(traces)
    accepted, drafted = [], []
    for turns in groups.values():
        pairs = [_drafts(trace) for trace in turns]
        drafted.append(float(sum(d for d, _ in pairs)))
        accepted.append(float(sum(a for _, a in pairs)))
    if not sum(drafted):
        raise NoData("nothing was drafted")
    codes = stratum_codes([turns[0].stratum for turns in groups.values()])
    return share_estimate(np.array(accepted), np.array(drafted), codes, level)


def acceptance_by_position(
    traces: Sequence[RequestTrace], dl: int, level: float = 0.95
) -> tuple[Estimate | None, ...]:
    """P(draft token k accepted, given that k-1 were), for k = 1 … dl.

    Where an engine gives no draft counts, a step of s tokens counts as s - 1 accepted of dl
    drafted, and each request's last step, which the length limit may have cut, is left out. Steps
    without a draft cannot be distinguished from rejected drafts then, so position 1 reads low for
    n-gram.
    None for a position that no draft reached.

    Raises:
        NoData: no traces, or an engine that reports totals of a request and no steps.
        ValueError: dl below 1.
    """
    if dl < 1:
        raise ValueError(f"draft length must be at least 1, got {dl}")
    groups = _groups(step_traces(traces, "acceptance by position"))
    reached = np.zeros((len(groups), dl))
    passed = np.zeros((len(groups), dl))
    positions = np.arange(1, dl + 1)
    for row, turns in enumerate(groups.values()):
        for trace in turns:
            drafted, accepted = _drafts_or_guess(trace, dl)
            reach = (accepted[:, None] >= positions - 1) & (drafted[:, None] >= positions)
            reached[row] += reach.sum(axis=0)
            passed[row] += (reach & (accepted[:, None] >= positions)).sum(axis=0)
    codes = stratum_codes([turns[0].stratum for turns in groups.values()])
    return tuple(
        share_estimate(passed[:, k], reached[:, k], codes, level) if reached[:, k].any() else None
        for k in range(dl)
    )


def by_stratum(
    traces: Sequence[RequestTrace],
    metric: Callable[[Sequence[RequestTrace], float], Estimate] = micro_al,
    level: float = 0.95,
) -> Mapping[str, Estimate | None]:
    """`metric` of every stratum, sorted by name; None where a stratum has no data.

    Raises:
        NoData: no traces.
    """
    if not traces:
        raise NoData("no traces")
    strata: dict[str, list[RequestTrace]] = {}
    for trace in traces:
        strata.setdefault(trace.stratum, []).append(trace)
    return {name: _or_none(metric, strata[name], level) for name in sorted(strata)}


def _or_none(
    metric: Callable[[Sequence[RequestTrace], float], Estimate],
    traces: Sequence[RequestTrace],
    level: float,
) -> Estimate | None:
    try:
        return metric(traces, level)
    except NoData:
        return None


def _groups(traces: Sequence[Trace]) -> dict[str, list[Trace]]:
    groups = clusters(traces)
    if not groups:
        raise NoData("no traces")
    return groups


def _token_and_step_sums(
    traces: Sequence[RequestTrace],
) -> tuple[Floats, Floats, NDArray[np.intp]]:
    groups = _groups(traces)
    tokens = np.array([float(sum(t.decode_tokens for t in turns)) for turns in groups.values()])
    steps = np.array([float(sum(map(steps_of, turns))) for turns in groups.values()])
    return tokens, steps, stratum_codes([turns[0].stratum for turns in groups.values()])


def _drafts(trace: RequestTrace) -> tuple[int, int]:
    if trace.draft_tokens is None or trace.accepted_tokens is None:
        raise NoData(f"sample {trace.sample!r}: the engine gives no draft counts")
    return trace.draft_tokens, trace.accepted_tokens


def _drafts_or_guess(trace: StepTrace, dl: int) -> tuple[Ints, Ints]:
    if trace.drafted is not None and trace.accepted is not None:
        return trace.drafted, trace.accepted
    accepted = np.minimum(trace.steps[:-1] - 1, dl)
    return np.full_like(accepted, dl), accepted


def share_estimate(part: Floats, whole: Floats, codes: NDArray[np.intp], level: float) -> Estimate:
    """A share between 0 and 1."""
    most = float(whole.max())
    return ratio_estimate(part, whole, codes, level, lowest=(0.0, most), highest=(most, most))
