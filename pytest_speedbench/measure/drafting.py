"""Whether an arm drafted at all."""

from __future__ import annotations

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.measure.results import ArmResult, RunSetting


def speculation_off(setting: RunSetting, arm: ArmResult) -> str:
    """Why speculation seems to be switched off although it was asked for; empty if it is on."""
    speculation = setting.speculation
    if not speculation.active:
        return ""
    if setting.engine.details.get("speculative_method") == "none":
        return "the engine's own configuration has no speculation"
    # A lookup method in a short run, or a schedule of draft lengths, may rightly draft nothing.
    if not traits(speculation.method).every_step or setting.scheduled:
        return ""
    counters = arm.counters
    if counters is not None:
        if counters.draft_tokens or counters.drafts:
            return ""
        return "the engine's own counter of draft tokens did not move"
    if all(drafts_nothing(turn.trace) for turn in arm.turns):
        return "every decoding step of the run emitted a single token"
    return ""


def drafts_nothing(trace: Trace) -> bool:
    """Whether a request is known to have emitted one token a step."""
    if trace.totals is None:
        return not any(trace.drafted or ()) and all(size == 1 for size in trace.steps)
    if trace.totals.draft_tokens is not None:
        return trace.totals.draft_tokens == 0
    return trace.totals.steps == trace.decoded_tokens
