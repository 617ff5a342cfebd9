"""Is acceptance the same with a warm prefix cache? Warm against cold, by the gate."""

from __future__ import annotations

from dataclasses import replace

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.records import write_record
from pytest_speedbench.compare.gate import Levels, gate
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.verdict import Verdict
from pytest_speedbench.errors import NoData
from pytest_speedbench.measure.run import Run
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH

METRIC = "cache_neutral"


def cache_neutral_verdict(
    key: CaseKey, run: Run, slice_name: str, margin: float, levels: Levels
) -> Verdict:
    """The gate's verdict on AL, with the cold pass of the same run as the baseline.

    The same samples are paired: over the outputs of the cold pass, which ``run.replay`` followed,
    or without it over the text that both passes have in common.

    Raises:
        NoData: there was no cold pass, or no warm one, or the cold one was not cold.
    """
    if run.cold is None:
        raise NoData(
            "assert_cache_neutral compares with a pass without the prefix cache, and there was "
            "none: give prefix_caching=True in the marker, or --speed-prefix-caching on; early "
            "decisions and soaks have none"
        )
    if hits := sum(bool(turn.trace.cached_tokens) for turn in run.cold.view(slice_name).turns):
        raise NoData(
            f"{hits} prompts of the cold pass came from the prefix cache, so it was not cold: "
            "the engine does not keep requests apart that must not share a prefix; use another "
            "version of it"
        )
    if not any(turn.trace.cached_tokens for turn in run.view(slice_name).turns):
        raise NoData(
            "no prompt of the warm rounds came from the prefix cache: the engine has evicted them "
            "(give it a larger KV cache, or use fewer samples), or they are shorter than one block"
        )
    warm_share = run.view(slice_name).cache_hit_rate().value
    cold, warm = (write_record(each.view(slice_name), key) for each in (run.cold, run))
    found = gate(str(key), warm, Match(record=cold), ACCEPTANCE_LENGTH, margin, levels)
    reason = (
        f"{found.reason}; {warm_share:.0%} of the warm prompt tokens came from the prefix cache"
    )
    if run.replay is not None and run.replay.refused:
        reason += f"; not replayed: {run.replay.refused}"
    return replace(found, metric=METRIC, reason=reason, baseline="the cold pass of this run")
