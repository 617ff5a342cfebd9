"""How much was proposed: steps without a draft, and draft tokens of a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import (
    RequestTrace,
    clusters,
    step_traces,
    steps_of,
    stratum_codes,
)
from pytest_speedbench.stats.estimates import Estimate, ratio_estimate, share_estimate


def draftless_share(traces: Sequence[RequestTrace], level: float = 0.95) -> Estimate:
    """Decoding steps without a draft over all of them; samples are the units.

    Raises:
        NoData: no decoding step, or an engine that does not report the drafts of each step.
    """
    groups = clusters(step_traces(traces, "the share of steps without a draft"))
    without, steps = [], []
    for turns in groups.values():
        drafted = [trace.drafted for trace in turns if trace.drafted is not None]
        if len(drafted) < len(turns):
            raise NoData("the engine does not report which decoding steps had a draft")
        without.append(float(sum((one == 0).sum() for one in drafted)))
        steps.append(float(sum(map(len, drafted))))
    if not sum(steps):
        raise NoData("no decoding steps: every output ended with the prefill's token")
    codes = stratum_codes([turns[0].stratum for turns in groups.values()])
    return share_estimate(np.array(without), np.array(steps), codes, level)


def proposed_length(
    traces: Sequence[RequestTrace], draft_length: int, level: float = 0.95
) -> Estimate:
    """Draft tokens proposed per decoding step, steps without a draft included: at most DL.

    Raises:
        NoData: no decoding step, or an engine that does not report its drafts.
    """
    groups = clusters(traces)
    drafted = [[trace.draft_tokens for trace in turns] for turns in groups.values()]
    if any(number is None for numbers in drafted for number in numbers):
        raise NoData("the engine does not report how many tokens it drafted")
    proposed = np.array([float(sum(n or 0 for n in numbers)) for numbers in drafted])
    steps = np.array([float(sum(map(steps_of, turns))) for turns in groups.values()])
    if not steps.sum():
        raise NoData("no decoding steps: every output ended with the prefill's token")
    codes, most = stratum_codes([turns[0].stratum for turns in groups.values()]), float(steps.max())
    return ratio_estimate(
        proposed,
        steps,
        codes,
        level,
        lowest=(0.0, most),
        highest=(draft_length * most, most),
        unit="tokens/step",
    )
