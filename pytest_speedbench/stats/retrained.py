"""A retrained drafter: at the same AL it drafts some prompts better and others worse.

A rebuild of an engine leaves the steps of a prompt almost as they were. Two checkpoints of a
drafter do not: their difference varies from prompt to prompt, and a verdict needs samples to
average that out, however equal the two are as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import RequestTrace, clusters, steps_of
from pytest_speedbench.stats.pairing import Pairs
from pytest_speedbench.stats.sums import PairedSums

TYPICAL_SPREAD = 0.10
"""Where no second checkpoint is at hand: spread over prompts of the log of AL new / AL old."""


def spread_over_samples(sums: PairedSums) -> float:
    """Standard deviation over samples of log(AL new / AL old), weighted by their old steps.

    Raises:
        NoData: fewer than two samples have decoding steps in both runs.
    """
    steps = (sums.old_steps > 0) & (sums.new_steps > 0)
    if steps.sum() < 2:
        raise NoData("the two checkpoints have fewer than 2 samples in common")
    old, new = (
        tokens[steps] / own[steps]
        for tokens, own in (
            (sums.old_tokens, sums.old_steps),
            (sums.new_tokens, sums.new_steps),
        )
    )
    weights, logs = sums.old_steps[steps], np.log(new / old)
    mean = np.average(logs, weights=weights)
    return float(np.sqrt(np.average((logs - mean) ** 2, weights=weights)))


def at_equal_al(pairs: Pairs) -> Pairs:
    """Two measured checkpoints as if both had the same AL: what is left is the spread."""
    prefix = None if pairs.prefix is None else _level(pairs.prefix)
    replay = pairs.replay and replace(pairs.replay, sums=_level(pairs.replay.sums))
    return replace(pairs, whole=_level(pairs.whole), prefix=prefix, replay=replay)


def _level(sums: PairedSums) -> PairedSums:
    """With every new step count scaled by the change of AL over all samples."""
    totals = (sums.new_tokens.sum(), sums.new_steps.sum(), sums.old_tokens.sum())
    if not all(totals) or not sums.old_steps.sum():
        return sums
    change = totals[0] / totals[1] / (totals[2] / sums.old_steps.sum())
    return replace(sums, new_steps=sums.new_steps * change)


def assumed_checkpoints(baseline: Sequence[RequestTrace], spread: float) -> Pairs:
    """A baseline and a checkpoint of the same AL that differs by ``spread`` over prompts.

    Raises:
        NoData: the baseline's engine does not report its decoding steps.
    """
    groups = clusters(baseline)
    tokens = np.array([float(sum(t.decode_tokens for t in turns)) for turns in groups.values()])
    steps = np.array([float(sum(map(steps_of, turns))) for turns in groups.values()])
    draws = np.random.default_rng(0).standard_normal(len(steps))
    draws *= spread / max(float(draws.std()), 1e-9)
    shuffled = np.maximum(steps * np.exp(draws - draws.mean()), 1.0)
    shuffled *= steps.sum() / shuffled.sum()  # the same AL over all samples
    strata = tuple(turns[0].stratum for turns in groups.values())
    whole = PairedSums("whole", tuple(groups), strata, tokens, steps, tokens, shuffled, 1.0)
    return Pairs(whole, None, 0, 0, (), (), "no second checkpoint")
