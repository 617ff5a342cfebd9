"""What a reader must know about the numbers of a run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pytest_speedbench.engines.methods import unknown_method_note
from pytest_speedbench.engines.protocol import UNKNOWN_METHOD, Trace
from pytest_speedbench.errors import count_of
from pytest_speedbench.measure.answers import degenerate_notes
from pytest_speedbench.measure.arrivals import in_burst
from pytest_speedbench.measure.drafting import apparent_draftless_share, drafts_nothing
from pytest_speedbench.measure.failures import describe_failed
from pytest_speedbench.measure.replayed import Replay
from pytest_speedbench.measure.results import ArmResult, RunSetting, total

TIMING_ONLY = "timing only: the engine reports no decoding steps, so AL is unknown"
# With a larger share of steps without a draft, a schedule can hardly gain speed.
_DRAFTLESS = 0.95
# Share of BS. Fewer requests decode at once than slots are busy: short answers end early.
_HELD = 0.75


def run_notes(
    setting: RunSetting, arm: ArmResult, reference: ArmResult | None, replay: Replay | None
) -> list[str]:
    """The notes of a run, one sentence each, the most important first."""
    return [
        *answer_notes(arm, reference),
        *degenerate_notes([turn.trace for turn in arm.turns], setting.sampling.max_tokens),
        *_acceptance_notes(setting, arm),
        *_foreign_notes(arm, reference),
        *_server_notes(setting, arm),
        *_batch_notes(setting, arm),
        *_arms_notes(setting, arm, reference),
        *_cache_notes(setting, arm),
        *_drafting_notes(setting, arm),
        *(_replay_notes(arm, replay) if replay else ()),
    ]


def answer_notes(arm: ArmResult, reference: ArmResult | None) -> list[str]:
    """Which answers are left out of which numbers."""
    notes = []
    for what, one in (("", arm), ("without SD, ", reference)):
        if one is not None and one.failed:
            found = describe_failed(one.failed, one.answers)
            notes.append(f"{what}{found}: they are left out of every number")
    traces = [turn.trace for turn in arm.turns]
    if unsent := [turn.unsent for turn in arm.turns if turn.unsent]:
        samples = len({turn.sample for turn in arm.turns})
        notes.append(
            f"{len(unsent)} of {samples} conversations end early: {sum(unsent)} of "
            f"{len(traces) + sum(unsent)} turns do not fit the context window"
        )
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
    return notes + _prompt_note(arm)


def _prompt_note(arm: ArmResult) -> list[str]:
    """Prompts that a server renders by another template than the model's own."""
    more = [
        turn.trace.prompt_tokens - len(turn.prompt_ids) for turn in arm.turns if turn.prompt_ids
    ]
    if not any(more):
        return []
    changed = sum(map(bool, more))
    return [
        f"in {changed} of {len(more)} requests the server counts more or fewer prompt tokens than "
        f"the model's own template and tokenizer give (median {median(more):+g}): its template "
        "differs, or it adds a second BOS"
    ]


def _foreign_notes(arm: ArmResult, reference: ArmResult | None) -> list[str]:
    """Arms that did not have their engine to themselves; where AL is unknown, that says it."""
    return [
        f"{what}the server's counters are {one.foreign}: its times are not those of this load alone"
        for what, one in (("", arm), ("without SD, ", reference))
        if one is not None and one.foreign and not one.unknown
    ]


def _server_notes(setting: RunSetting, arm: ArmResult) -> list[str]:
    """What is only assumed of a server that was not started here."""
    details, speculation = setting.engine.details, setting.speculation
    if not details.get("joined"):
        return []
    notes = []
    if speculation.active and details.get("speculative_method") == UNKNOWN_METHOD:
        named = speculation.method != UNKNOWN_METHOD
        as_given = f"method {speculation.method!r} is as given: " if named else ""
        notes.append(f"{as_given}the server does not report its method")
    caching = details.get("prefix_caching")
    if caching:
        notes.append("the server caches prefixes: a repeated prompt skips its prefill")
    elif caching is None and not any(turn.trace.cached_tokens for turn in arm.turns):
        notes.append("whether the server caches prefixes is unknown")
    return notes


def _batch_notes(setting: RunSetting, arm: ArmResult) -> list[str]:
    """Whether BS requests were in flight, as asked for."""
    batch, notes = setting.batch_size, []
    # Where slices ran one after another, the smallest of them was alone in the queue.
    together = min((counted.samples for counted in arm.counted.values()), default=setting.samples)
    if together < batch:
        return [f"{count_of(together, 'sample')} cannot fill BS {batch}"]
    if arm.repeated:
        notes.append(
            f"{count_of(setting.samples, 'sample')}, repeated to {arm.repeated} a round to hold "
            f"BS {batch}; acceptance is that of each one's first time"
        )
    if not all(round_.steady for round_ in arm.rounds):
        notes.append("too few samples for a steady window: ramp and drain are included")
    decoding = max((round_.at_once for round_ in arm.rounds), default=batch)
    if decoding < _HELD * batch:
        notes.append(
            f"at most {decoding} requests were decoded at once, not {batch}: the engine has "
            "fewer slots, or a smaller KV cache, than this BS needs"
        )
    return notes


def _arms_notes(setting: RunSetting, arm: ArmResult, reference: ArmResult | None) -> list[str]:
    """How the arms of the run were measured."""
    notes, side = [], setting.side
    if reference is not None and not arm.alternated:
        notes.append("arms not alternated: one engine after the other, no interval")
    if side is not None and side.no_plain:
        notes.append(f"no arm without SD: {side.no_plain}")
    if side is not None and side.apart:
        notes.append(f"the builds did not take turns: {side.apart}")
    if arm.early is not None:
        notes.append(str(arm.early))
    if arm.soak:
        seconds = arm.soak[-1].end
        ended = ", and not to its end" if arm.broke_off else ""
        notes.append(f"soak of {count_of(len(arm.soak), 'round')} in {seconds:.0f} s{ended}")
    return notes


def _drafting_notes(setting: RunSetting, arm: ArmResult) -> list[str]:
    """Drafts that are not verified, a schedule that hardly drafts, a method not in our table."""
    notes, method = [], setting.speculation.method
    if setting.engine.details.get("drafts_verified") is False:
        notes.append(
            "the engine accepts drafts at a rate that was set, without verifying them: AL says "
            "nothing about the drafter, and the outputs are not the target's"
        )
    if setting.scheduled and (how := _schedule_drafts([turn.trace for turn in arm.turns])):
        notes.append(
            f"the engine's schedule of draft lengths drafts {how} at BS {setting.batch_size}"
        )
    if method != UNKNOWN_METHOD and (note := unknown_method_note(method)):
        notes.append(note)
    return notes


def _schedule_drafts(traces: Sequence[Trace]) -> str:
    """``nothing``, or in how few steps; empty where a schedule drafts as usual."""
    if all(map(drafts_nothing, traces)):
        return "nothing"
    without = apparent_draftless_share(traces)
    return f"in at most {1 - without:.1%} of the steps" if without >= _DRAFTLESS else ""


def _acceptance_notes(setting: RunSetting, arm: ArmResult) -> list[str]:
    """What the engine does not report of acceptance, and the consequence."""
    reported = [turn.trace.totals for turn in arm.turns if turn.trace.totals is not None]
    if not reported or not setting.speculation.active:
        return []
    if arm.unknown:
        return [f"no AL: {arm.unknown}"]
    if arm.counted:
        notes = [
            "AL from the engine's counters: slices ran one after another, the counters read in "
            "between; the values have no intervals and cannot be gated"
        ]
    elif silent := sum(totals.steps is None for totals in reported):
        if silent == len(arm.turns):
            return [TIMING_ONLY]
        return [
            f"no AL: the engine does not report how many decoding steps {silent} of "
            f"{len(arm.turns)} requests took"
        ]
    elif len(reported) < len(arm.turns):
        notes = [
            f"the engine reports totals of {len(reported)} of {len(arm.turns)} requests, not "
            "their steps: no acceptance by position, and a shorter common prefix to compare"
        ]
    else:
        notes = [
            "the engine reports totals of a request, not its steps: no acceptance by position, "
            "and the gate compares whole outputs"
        ]
    return [*notes, *_hidden_note(arm)]


def _hidden_note(arm: ArmResult) -> list[str]:
    counted = total(arm.counted.values())
    hidden = arm.hidden + counted.hidden
    steps = counted.steps or sum(turn.trace.decoding_steps or 0 for turn in arm.turns)
    if not hidden or not steps:
        return []
    return [
        "steps without a draft are not counted by the engine, and cut-off last steps may hide "
        f"some: AL may read up to {hidden / steps:.1%} too high"
    ]


def _replay_notes(arm: ArmResult, replay: Replay) -> list[str]:
    """Whether outputs were followed, whose, and what that cost."""
    if replay.refused:
        return [f"not replayed: {replay.refused}"]
    if not replay.requests and not any(turn.given_up for turn in replay.turns.values()):
        return [f"replay: none of {len(replay.turns)} outputs diverged from {replay.source}"]
    free = sum(turn.trace.tokens for turn in arm.turns)
    more = f", +{replay.output_tokens / free:.1%}" if free else ""
    return [
        f"replayed along {replay.source}: {replay.requests} resumed requests for "
        f"{len(replay.turns)} outputs ({replay.output_tokens:,} output tokens{more}; "
        f"{replay.prompt_tokens:,} prompt tokens){_scored(replay)}"
    ]


def _scored(replay: Replay) -> str:
    """What the target says of the tokens that differ."""
    if not replay.scored:
        return f"; divergences not scored: {replay.unscored}" if replay.unscored else ""
    if not (defects := replay.defects):
        return f"; {replay.scored} divergences scored, all numerical ties"
    sample, turn, position = defects[0]
    return (
        f"; {len(defects)} of {replay.scored} divergences scored are not numerical ties, the first "
        f"in sample {sample!r}, turn {turn}, output token {position}"
    )


def _cache_notes(setting: RunSetting, arm: ArmResult) -> list[str]:
    """What the prefix cache did that was not to be expected."""
    notes = []
    hits = sum(turn.trace.cached_tokens or 0 for turn in arm.turns)
    if any(turn.trace.cached_tokens for turn in arm.cold):
        notes.append("part of the cold pass came from the prefix cache: it is not cold")
    if arm.cold and not hits:
        notes.append("no prompt came from the prefix cache, or the engine does not report it")
    # Prompts of later turns hold the answer before, which may be another one than in the cold pass.
    first = [turn.trace for turn in arm.turns if turn.turn == 0]
    if arm.cold and (lost := evicted(first)):
        notes.append(
            f"{lost} of {len(first)} warm prompts were no longer whole in the prefix cache: "
            "the engine evicted them, so their AL is not that of a warm cache; give it a larger "
            "KV cache, or use fewer samples"
        )
    if hits and not setting.prefix_caching:
        tokens = sum(turn.trace.prompt_tokens for turn in arm.turns)
        notes.append(
            f"{hits / tokens:.0%} of the prompt tokens came from the engine's prefix cache, "
            "although prefix caching is off here: TTFT is that of a warm cache"
        )
    return notes


def evicted(traces: Sequence[Trace]) -> int:
    """Warm prompts of which the cache holds less than of another one that is no longer.

    All of them were sent before, so without an eviction a longer one has as many blocks or more.
    """
    lost, most = 0, 0
    for trace in sorted(traces, key=lambda t: (t.prompt_tokens, -(t.cached_tokens or 0))):
        cached = trace.cached_tokens or 0
        lost += cached < most
        most = max(most, cached)
    return lost
