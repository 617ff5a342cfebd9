"""Whether an arm drafted at all."""

from __future__ import annotations

from collections.abc import Sequence

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
        off = not (counters.draft_tokens or counters.drafts)
        reason = "the engine's own counter of draft tokens did not move"
    else:
        off = all(drafts_nothing(turn.trace) for turn in arm.turns)
        reason = "every decoding step of the run emitted a single token"
    if off and setting.engine.details.get("joined"):
        reason += f"; a schedule of the server may draft nothing at BS {setting.batch_size}"
    return reason if off else ""


def drafts_nothing(trace: Trace) -> bool:
    """Whether a request is known to have emitted one token a step."""
    if trace.totals is None:
        return not any(trace.drafted or ()) and all(size == 1 for size in trace.steps)
    if trace.totals.draft_tokens is not None:
        return trace.totals.draft_tokens == 0
    return trace.totals.steps == trace.decoded_tokens


def apparent_draftless_share(traces: Sequence[Trace]) -> float:
    """Share of the decoding steps that had no draft, as far as the traces show.

    A step counts as one without a draft where the engine reports so, else where it emitted a single
    token: then the share holds rejected drafts too. 0 without a decoding step.
    """
    without = steps = 0
    for trace in traces:
        count = len(trace.steps)
        if trace.totals is not None:
            count = trace.totals.steps or 0
            # Each further token of a step was accepted: at most so many steps emitted several.
            alone = max(0, 2 * count - trace.decoded_tokens)
        elif trace.drafted is not None:
            alone = count - sum(number > 0 for number in trace.drafted)
        else:
            alone = sum(size == 1 for size in trace.steps)
        without, steps = without + alone, steps + count
    return without / steps if steps else 0.0
