"""How AL changes with the length of the input: a weighted regression over samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.delta import t_quantile
from pytest_speedbench.stats.estimates import Estimate, check_level

FEWEST = 8  # samples from which a slope has an interval
SMALLEST_RANGE = 1.2  # longest / shortest input


@dataclass(frozen=True, slots=True)
class LengthSample:
    """One sample: tokens of its input, and what its decoding steps emitted.

    Attributes:
        input_tokens: tokens of the prompt, at least 1.
        decode_tokens: N - n0, tokens emitted by decoding steps.
        steps: D, decoding steps, at least 1.
    """

    input_tokens: int
    decode_tokens: int
    steps: int


@dataclass(frozen=True, slots=True)
class LengthSlope:
    """AL = level + slope * log2(input tokens), by least squares weighted by decoding steps.

    Attributes:
        per_doubling: slope relative to AL at the shortest input: -0.03 is a loss of 3% a doubling.
        over_range: change of AL from the shortest to the longest input, relative to the shortest.
        shortest: tokens of the shortest input.
        longest: tokens of the longest input.
    """

    per_doubling: Estimate
    over_range: Estimate
    shortest: int
    longest: int


def length_slope(samples: Sequence[LengthSample], level: float | None = 0.95) -> LengthSlope:
    """The slope, with a t interval from HC3 standard errors (MacKinnon & White 1985).

    HC3 holds where samples scatter by different amounts, as short outputs do. Below 8 samples, and
    where `level` is None, there is a value without an interval.

    Raises:
        NoData: fewer than 3 samples, inputs of nearly one length, or one without a token.
        ValueError: `level` not between 0 and 1.
    """
    if level is not None:
        check_level(level)
    if len(samples) < 3:
        raise NoData(f"a slope over input length needs at least 3 samples, got {len(samples)}")
    shortest = min(s.input_tokens for s in samples)
    longest = max(s.input_tokens for s in samples)
    if shortest < 1:
        raise NoData("an input without a token has no place on a scale of doublings")
    if longest < SMALLEST_RANGE * shortest:
        raise NoData(
            f"all inputs have about one length ({shortest} to {longest} tokens); measure the "
            "throughput splits of several input lengths"
        )
    doublings = np.log2([s.input_tokens / shortest for s in samples])
    weights = np.array([float(s.steps) for s in samples])
    lengths = np.array([s.decode_tokens / s.steps for s in samples])
    design = np.column_stack([np.ones_like(doublings), doublings])
    inverse = np.linalg.inv(design.T @ (design * weights[:, None]))
    base, slope = inverse @ design.T @ (weights * lengths)
    residuals = lengths - design @ [base, slope]
    leverage = weights * np.einsum("ij,jk,ik->i", design, inverse, design)
    scaled = weights * residuals / np.maximum(1 - leverage, 1e-9)
    covariance = inverse @ (design.T @ (design * (scaled**2)[:, None])) @ inverse
    # Delta method for slope / base.
    value = float(slope / base)
    gradient = np.array([-value / base, 1 / base])
    error = math.sqrt(float(gradient @ covariance @ gradient))
    span = math.log2(longest / shortest)
    return LengthSlope(
        _estimate(value, error, len(samples), level),
        _estimate(value * span, error * span, len(samples), level),
        shortest,
        longest,
    )


def _estimate(value: float, error: float, n: int, level: float | None) -> Estimate:
    if level is None or n < FEWEST:
        return Estimate(value, None, None, n)
    half = t_quantile(level, n - 2) * error
    return Estimate(value, value - half, value + half, n, level)
