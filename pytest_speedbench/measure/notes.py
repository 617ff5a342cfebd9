"""What a reader must know of the answers and of the server behind the numbers of a run."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_speedbench.engines.protocol import UNKNOWN_METHOD, Trace
from pytest_speedbench.measure.arrivals import in_burst
from pytest_speedbench.measure.failures import describe_failed
from pytest_speedbench.measure.results import ArmResult, RunSetting

# A share of answers that says something of the model or of the build.
_MANY_LOOPS = 0.25


def answer_notes(arm: ArmResult, reference: ArmResult | None) -> list[str]:
    """Which answers are left out of which numbers."""
    notes = []
    for what, one in (("", arm), ("without SD, ", reference)):
        if one is not None and one.failed:
            found = describe_failed(one.failed, one.answers)
            notes.append(f"{what}{found}: they are left out of every number")
    traces = [turn.trace for turn in arm.turns]
    if bursts := sum(map(in_burst, traces)):
        notes.append(
            f"{bursts} of {len(traces)} answers arrived in one burst, as behind a proxy that "
            "buffers the stream: they are left out of TTFT, user TPS and step time"
        )
    if hidden := sum(trace.hidden_tokens > 0 for trace in traces):
        notes.append(
            f"{hidden} of {len(traces)} answers have tokens that the server counts and does not "
            "send, as a parser of reasoning does: they are left out of TTFT and step time"
        )
    if len(traces) * _MANY_LOOPS <= (loops := _loops(traces)) > 0:
        notes.append(
            f"{loops} of {len(traces)} answers repeat themselves: their AL is that of loops"
        )
    return notes


def _loops(traces: Sequence[Trace]) -> int:
    from pytest_speedbench.stats.repetition import repeats_itself

    return sum(repeats_itself(trace.token_ids) for trace in traces)


def server_notes(setting: RunSetting) -> list[str]:
    """What is only assumed of a server that was not started here."""
    details, speculation = setting.engine.details, setting.speculation
    if not details.get("joined"):
        return []
    notes = []
    if speculation.active and details.get("speculative_method") == UNKNOWN_METHOD:
        notes.append(
            f"method {speculation.method!r} is as given: the server does not report its method"
        )
    caching = details.get("prefix_caching")
    if caching:
        notes.append("the server caches prefixes: a repeated prompt has no prefill of its own")
    elif caching is None:
        notes.append("whether the server caches prefixes is unknown")
    return notes
