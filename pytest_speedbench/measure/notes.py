"""What a reader must know of the answers and of the server behind the numbers of a run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

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
    notes += _prompt_note(arm)
    if len(traces) * _MANY_LOOPS <= (loops := _loops(traces)) > 0:
        notes.append(
            f"{loops} of {len(traces)} answers repeat themselves: their AL is that of loops"
        )
    return notes


def _prompt_note(arm: ArmResult) -> list[str]:
    """Prompts that a server renders by another template than the model's own."""
    more = [
        turn.trace.prompt_tokens - len(turn.prompt_ids) for turn in arm.turns if turn.prompt_ids
    ]
    if not any(more):
        return []
    changed = sum(map(bool, more))
    return [
        f"the server counts other prompt tokens than the model's own template and tokenizer give, "
        f"in {changed} of {len(more)} requests ({median(more):+g} in the median): its template is "
        "another one, or it adds BOS a second time"
    ]


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


def cache_notes(arm: ArmResult, setting: RunSetting) -> list[str]:
    """What the prefix cache did that was not to be expected."""
    notes = []
    hits = sum(turn.trace.cached_tokens or 0 for turn in arm.turns)
    if any(turn.trace.cached_tokens for turn in arm.cold):
        notes.append("the cold pass was served from the prefix cache in part: it is not cold")
    if arm.cold and not hits:
        notes.append("no prompt came from the prefix cache, or the engine does not report it")
    first = [
        turn.trace for turn in arm.turns if turn.turn == 0
    ]  # later ones hold the answer before
    if arm.cold and (lost := _evicted(first)):
        notes.append(
            f"{lost} of {len(first)} warm prompts were no longer in the prefix cache, or in part: "
            "the engine evicted them, and their AL is not that of a warm cache; give it a larger "
            "KV cache, or take fewer samples"
        )
    if hits and not setting.prefix_caching:
        total = sum(turn.trace.prompt_tokens for turn in arm.turns)
        notes.append(
            f"{hits / total:.0%} of the prompt tokens came from the engine's prefix cache, "
            "although prefix caching is off here: TTFT is that of a warm cache"
        )
    return notes


def _evicted(traces: Sequence[Trace]) -> int:
    """Warm prompts of which the cache holds less than of another one that is no longer.

    All of them were sent before, so without an eviction a longer one has as many blocks or more.
    """
    lost, most = 0, 0
    for trace in sorted(traces, key=lambda t: (t.prompt_tokens, -(t.cached_tokens or 0))):
        cached = trace.cached_tokens or 0
        lost += cached < most
        most = max(most, cached)
    return lost
