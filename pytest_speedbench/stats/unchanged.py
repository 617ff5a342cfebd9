"""How two runs of an unchanged build differ: modelled from one of them, or measured on both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_speedbench.stats.data import Floats, RequestTrace, StepTrace, clusters, steps_of
from pytest_speedbench.stats.estimates import longest_step
from pytest_speedbench.stats.pairing import Pairs, no_prefix
from pytest_speedbench.stats.retrained import at_equal_al
from pytest_speedbench.stats.simulation import hazard
from pytest_speedbench.stats.sums import Evidence, PairedSums

# Replay against a run of other rounding (EAGLE-3 DL 3, float16 against bfloat16; vLLM 0.26 and
# SGLang 0.5 on an H200): share of the tokens that it compares, the variance of the difference in
# steps, per token (0.0043 and 0.0070), and the share of samples that differ at all.
REPLAY_COVERAGE, REPLAY_VARIANCE, REPLAY_CHANGED = 0.96, 0.005, 0.4
STEP_VARIANCE = 0.35  # per token, where no output has steps: vLLM, EAGLE-3 DL 3
# Share of outputs that go on at the pace of another prompt: as where a text falls into a loop.
OTHERS = 0.25
COPIES = 20  # of each sample, each with a divergence of its own
SHORTEST = 16  # decoded tokens of an output whose halves are compared


def modelled(
    baseline: Sequence[RequestTrace], divergence: float, *, replay: bool
) -> tuple[PairedSums, ...]:
    """Runs of an unchanged build against `baseline`: tokens that both share, then whole outputs.

    A share `divergence` of the outputs diverges, at a constant rate per token; 1 stands for sampled
    output, where nothing is shared. From there on both builds decode different texts. Their steps
    differ as those of the two halves of one output do, which takes in the chance of each draft and
    how the ease of a text changes along the way.

    Raises:
        NoData: an engine that does not report how many decoding steps a request took.
    """
    groups = clusters(baseline).values()
    tokens = np.repeat([float(sum(t.decode_tokens for t in turns)) for turns in groups], COPIES)
    steps = np.repeat([float(sum(map(steps_of, turns))) for turns in groups], COPIES)
    strata = tuple(turns[0].stratum for turns in groups for _ in range(COPIES))
    draws = np.random.default_rng(0)
    shared = _shared(tokens, divergence, draws)
    rest = tokens - shared
    changed = draws.choice(half_differences(baseline), len(tokens)) * np.sqrt(2 * rest)
    pace = steps / np.maximum(tokens, 1)
    changed = np.where(
        draws.random(len(tokens)) < OTHERS, rest * (draws.permutation(pace) - pace), changed
    )
    fewest = np.minimum(tokens / longest_step(baseline), steps)
    whole = _sums("whole", strata, tokens, steps, np.clip(steps + changed, fewest, tokens))
    if divergence >= 1 or no_prefix(baseline):
        return (whole,)
    if replay:
        changed = draws.random(len(tokens)) < REPLAY_CHANGED
        spread = np.sqrt(REPLAY_VARIANCE / REPLAY_CHANGED * tokens) * changed
        noise = spread * draws.standard_normal(len(tokens))
        before, covered = REPLAY_COVERAGE * steps, REPLAY_COVERAGE * tokens
        return _sums("replay", strata, covered, before, np.maximum(before + noise, 0)), whole
    before = steps * shared / np.maximum(tokens, 1)
    return _sums("prefix", strata, shared, before, before), whole


def measured(pairs: Pairs) -> tuple[PairedSums, ...]:
    """Two recorded runs, as if AL were the same in both: what is left is how samples differ.

    Each pair counts in either order, since neither run is the better one.
    """
    equal = at_equal_al(pairs)
    shared = equal.prefix if equal.replay is None else equal.replay.sums
    known = (equal.whole,) if shared is None else (shared, equal.whole)
    return tuple(_either_way(sums) for sums in known)


def half_differences(traces: Sequence[RequestTrace]) -> Floats:
    """Steps of the first half of each output less those of the second, per root of its tokens.

    Of either sign alike, so that the mean is zero. Two texts of r tokens differ by a step count
    whose variance is 2 r times that of these numbers.
    """
    found = []
    for trace in traces:
        if isinstance(trace, StepTrace) and trace.decode_tokens >= SHORTEST:
            ends = np.cumsum(trace.steps)
            first = int(np.searchsorted(ends, trace.decode_tokens / 2, side="right"))
            found.append((2 * first - len(ends)) / np.sqrt(trace.decode_tokens))
    if not found:
        spread = np.sqrt(STEP_VARIANCE)
        return np.array([-spread, spread])
    return np.concatenate([found, -np.array(found)])


def _shared(tokens: Floats, divergence: float, draws: np.random.Generator) -> Floats:
    """Decoded tokens of each output before it diverges."""
    if divergence >= 1:
        return np.zeros_like(tokens)
    if divergence <= 0:
        return tokens
    rate = hazard(tokens.astype(np.int64), divergence)
    return np.asarray(np.minimum(tokens, draws.geometric(rate, len(tokens)) - 1), dtype=np.float64)


def _either_way(sums: PairedSums) -> PairedSums:
    return PairedSums(
        sums.evidence,
        sums.samples * 2,
        sums.strata * 2,
        np.concatenate([sums.old_tokens, sums.new_tokens]),
        np.concatenate([sums.old_steps, sums.new_steps]),
        np.concatenate([sums.new_tokens, sums.old_tokens]),
        np.concatenate([sums.new_steps, sums.old_steps]),
        sums.coverage,
    )


def _sums(
    evidence: Evidence, strata: tuple[str, ...], tokens: Floats, old: Floats, new: Floats
) -> PairedSums:
    samples = tuple(map(str, range(len(strata))))
    return PairedSums(evidence, samples, strata, tokens, old, tokens, new, 1.0)
