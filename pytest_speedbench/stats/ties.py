"""Losslessness in pure numbers: numerical ties, tie rates, and first tokens under sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import Floats

Dtype = Literal["bfloat16", "float16", "float32"]
FRACTION_BITS: Mapping[str, int] = {"bfloat16": 7, "float16": 10, "float32": 23}

# Of the logits' unit in the last place. Kernels that sum in another order move a logit by a few
# units; `calibrated_ulps` measures how many on two runs without SD.
DEFAULT_ULPS = 4.0
# Of a healthy build's outputs that diverge, at most so many hold a token that is wrong by more than
# the tolerance: rounding beyond what was calibrated.
STATED_DEFECTS = 0.01
MIN_EXPECTED = 5.0  # cells below are pooled: Cochran, Biometrics 10 (1954)


@dataclass(frozen=True, slots=True)
class RateComparison:
    """Two rates of ties, each with its Clopper-Pearson interval, and a one-sided p-value."""

    rate: float
    healthy_rate: float
    low: float
    high: float
    p_value: float
    level: float

    @property
    def far_above(self) -> bool:
        """Whether the first rate is shown, at `level`, to be above the healthy one."""
        return self.p_value < 1 - self.level


@dataclass(frozen=True, slots=True)
class DistributionCheck:
    """First tokens under sampling against the target's own probabilities.

    `impossible` lists tokens that were drawn though their probability is 0; then `p_value` is 0.
    """

    p_value: float
    statistic: float
    cells: int
    n: int
    level: float
    impossible: tuple[int, ...]

    @property
    def rejected(self) -> bool:
        """Whether the counts contradict the probabilities at `level`."""
        return self.p_value < 1 - self.level


def ulp(magnitude: float, dtype: Dtype) -> float:
    """Distance between neighbouring numbers of `dtype` at `magnitude`.

    Raises:
        ValueError: unknown dtype, or a magnitude that is not finite.
    """
    if dtype not in FRACTION_BITS:
        raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(FRACTION_BITS)}")
    if not math.isfinite(magnitude):
        raise ValueError(f"magnitude must be finite, got {magnitude!r}")
    least = -14 if dtype == "float16" else -126  # below, spacing stays that of the least normal
    exponent = math.frexp(abs(magnitude))[1] - 1 if magnitude else least
    return math.ldexp(1.0, max(exponent, least) - FRACTION_BITS[dtype])


def tolerance(magnitude: float, dtype: Dtype, ulps: float = DEFAULT_ULPS) -> float:
    """Largest gap of two logits (or log-probabilities, in nats) that counts as a numerical tie.

    `magnitude` is that of the logits, not of the log-probabilities: rounding happens there.

    Raises:
        ValueError: unknown dtype, or ulps not positive and finite.
    """
    if not (ulps > 0 and math.isfinite(ulps)):
        raise ValueError(f"ulps must be positive and finite, got {ulps!r}")
    return ulps * ulp(magnitude, dtype)


def classify_gap(
    gap: float, magnitude: float, dtype: Dtype, ulps: float = DEFAULT_ULPS
) -> Literal["tie", "defect"]:
    """Tie or defect, from the gap in nats between the target's choice and the emitted token.

    Raises:
        ValueError: a gap that is NaN, unknown dtype, or bad ulps.
    """
    if math.isnan(gap):
        raise ValueError("the gap between the two tokens is NaN")
    return "tie" if abs(gap) <= tolerance(magnitude, dtype, ulps) else "defect"


def calibrated_ulps(
    gaps: Sequence[float], magnitudes: Sequence[float], dtype: Dtype, floor: float = DEFAULT_ULPS
) -> float:
    """Ulps that cover every gap seen where two runs without SD part, at least `floor`.

    Raises:
        NoData: no gaps; the two runs never diverged.
        ValueError: unequal lengths, or a gap that is not finite.
    """
    if not gaps:
        raise NoData("the two runs without SD never diverge: nothing to calibrate on")
    pairs = list(zip(gaps, magnitudes, strict=True))
    if not all(math.isfinite(gap) for gap in gaps):
        raise ValueError("gaps must be finite")
    return max(floor, *(abs(gap) / ulp(size, dtype) for gap, size in pairs))


def compare_tie_rates(
    ties: int, outputs: int, healthy_ties: int, healthy_outputs: int, level: float = 0.99
) -> RateComparison:
    """Whether outputs tie more often than between two healthy runs (Fisher's exact test).

    Raises:
        NoData: no outputs on one side.
        ValueError: counts out of range.
    """
    if outputs < 1 or healthy_outputs < 1:
        raise NoData("no outputs to compare tie rates of")
    if not (0 <= ties <= outputs and 0 <= healthy_ties <= healthy_outputs):
        raise ValueError("ties must lie between 0 and the number of outputs")
    from scipy.stats import binomtest, fisher_exact

    table = [[ties, outputs - ties], [healthy_ties, healthy_outputs - healthy_ties]]
    interval = binomtest(ties, outputs).proportion_ci(level, method="exact")
    return RateComparison(
        rate=ties / outputs,
        healthy_rate=healthy_ties / healthy_outputs,
        low=float(interval.low),
        high=float(interval.high),
        p_value=float(fisher_exact(table, alternative="greater")[1]),
        level=level,
    )


def defects_p_value(defective: int, outputs: int) -> float:
    """One-sided p-value (binomial) of "more than `STATED_DEFECTS` of the outputs are defective".

    Outputs, not tokens, are counted: what goes wrong once in an output may go wrong again.

    Raises:
        ValueError: counts out of range.
    """
    if not 0 <= defective <= outputs:
        raise ValueError(f"defective must lie between 0 and {outputs}, got {defective}")
    if not defective:
        return 1.0
    from scipy.special import bdtrc

    return float(bdtrc(defective - 1, outputs, STATED_DEFECTS))


def first_token_check(
    counts: Mapping[int, int],
    probabilities: Mapping[int, float],
    *,
    level: float = 0.99,
    draws: int = 100_000,
    seed: int = 0,
) -> DistributionCheck:
    """Test sampled first tokens against the target's probabilities.

    G statistic (Sokal & Rohlf, Biometry) over tokens with at least 5 expected draws, the others
    and all that `probabilities` leave out pooled as "rest". Its p-value comes from `draws`
    multinomial samples with a fixed seed, so that it holds for few draws too (Besag & Clifford,
    1991: (1 + exceeding) / (1 + draws)).

    Args:
        counts: token id → times drawn.
        probabilities: token id → probability by the target; may sum to less than 1 (top-k lists).
            A probability of exactly 0 means the sampler must never draw it.
        level: 1 - P(rejecting a correct engine).
        draws: Monte Carlo samples.
        seed: same seed, same p-value.

    Raises:
        NoData: no draws, or no two cells to compare.
        ValueError: negative counts, or probabilities that are not probabilities.
    """
    n = sum(counts.values())
    _check_distribution(counts, probabilities)
    impossible = _impossible(counts, probabilities)
    if impossible:
        return DistributionCheck(0.0, math.inf, 0, n, level, impossible)
    observed, expected = _cells(counts, probabilities, n)
    statistic = float(_g(observed[None, :], expected)[0])
    rng = np.random.default_rng(seed)
    null = _g(rng.multinomial(n, expected / expected.sum(), size=draws).astype(float), expected)
    exceeding = int((null >= statistic - 1e-9).sum())
    return DistributionCheck((1 + exceeding) / (1 + draws), statistic, len(observed), n, level, ())


def _check_distribution(counts: Mapping[int, int], probabilities: Mapping[int, float]) -> None:
    if not sum(counts.values()):
        raise NoData("no tokens were drawn")
    if min(counts.values()) < 0:
        raise ValueError("counts must not be negative")
    if not probabilities or not all(0 <= p <= 1 for p in probabilities.values()):
        raise ValueError("probabilities must lie in 0 … 1 and must not be empty")
    if math.fsum(probabilities.values()) > 1 + 1e-6:
        raise ValueError("probabilities sum to more than 1")


def _impossible(counts: Mapping[int, int], probabilities: Mapping[int, float]) -> tuple[int, ...]:
    complete = math.fsum(probabilities.values()) > 1 - 1e-6  # else unlisted tokens are possible
    unlisted = 0.0 if complete else 1.0
    return tuple(
        sorted(t for t, count in counts.items() if count and not probabilities.get(t, unlisted))
    )


def _cells(
    counts: Mapping[int, int], probabilities: Mapping[int, float], n: int
) -> tuple[Floats, Floats]:
    large = [token for token, p in probabilities.items() if p * n >= MIN_EXPECTED]
    observed = [float(counts.get(token, 0)) for token in large]
    expected = [probabilities[token] * n for token in large]
    rest = n - math.fsum(expected)
    if rest > 1e-6 * n or sum(observed) < n:
        observed.append(n - sum(observed))
        expected.append(max(rest, 1e-6 * n))
    if len(observed) < 2:
        raise NoData("one token has all the probability: nothing to compare")
    return np.array(observed), np.array(expected)


def _g(observed: Floats, expected: Floats) -> Floats:
    seen = np.maximum(observed, 1e-300)  # 0·log 0 = 0
    return np.asarray(2 * (observed * np.log(seen / expected)).sum(axis=1))
