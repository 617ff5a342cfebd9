"""Acceptance by position in the context: how AL changes as prompt and answer grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import StepTrace, stratum_codes
from pytest_speedbench.stats.estimates import Estimate, longest_step, ratio_estimate

SMALLEST_DEPTH = 1024
"""Tokens: the end of the first bucket; each further one ends at twice the one before."""


@dataclass(frozen=True, slots=True)
class DepthBucket:
    """AL of the decoding steps that start at context positions ``start`` ≤ position < ``end``."""

    start: int
    end: int
    acceptance_length: Estimate


def al_by_depth(
    traces: Sequence[StepTrace], prompt_tokens: Sequence[int], level: float = 0.95
) -> list[DepthBucket]:
    """Micro AL in each bucket of depth that has a decoding step; the shallowest first.

    Args:
        traces: requests with their steps.
        prompt_tokens: shape (traces,), tokens of each one's prompt.
        level: of the intervals, over samples.

    Raises:
        NoData: no decoding step.
        ValueError: not one prompt length for each trace.
    """
    sums: dict[int, dict[str, tuple[float, float]]] = {}
    for trace, prompt in zip(traces, prompt_tokens, strict=True):
        starts = prompt + trace.prefill_tokens + np.cumsum(trace.steps) - trace.steps
        buckets = np.frexp(starts // SMALLEST_DEPTH)[1]  # 0 below the first end, then by doubling
        for bucket in np.unique(buckets):
            own = trace.steps[buckets == bucket]
            found = sums.setdefault(int(bucket), {})
            tokens, steps = found.get(trace.sample, (0.0, 0.0))
            found[trace.sample] = tokens + float(own.sum()), steps + len(own)
    if not sums:
        raise NoData("no decoding steps: every output ended with the prefill's token")
    strata, top = {trace.sample: trace.stratum for trace in traces}, longest_step(traces)
    return [_bucket(number, found, strata, top, level) for number, found in sorted(sums.items())]


def _bucket(
    number: int,
    sums: dict[str, tuple[float, float]],
    strata: dict[str, str],
    top: float,
    level: float,
) -> DepthBucket:
    tokens, steps = (np.array(column) for column in zip(*sums.values(), strict=True))
    longest = float(tokens.max())
    estimate = ratio_estimate(
        tokens,
        steps,
        stratum_codes([strata[sample] for sample in sums]),
        level,
        lowest=(longest, longest),
        highest=(longest, longest / top),
        unit="tokens/step",
    )
    start = SMALLEST_DEPTH << (number - 1) if number else 0
    return DepthBucket(start, SMALLEST_DEPTH << number, estimate)
