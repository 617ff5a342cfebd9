"""Decoding steps of an answer, from the chunks of its stream and the engine's report.

A chunk may hold several steps. Known are the number of tokens of each chunk and, in order, the
accepted drafts a of each step that had a draft. Such a step emitted a + 1 tokens, except the last
step of the answer, which ``max_tokens`` or a stop token may have cut. A step without a draft
emitted one token. The prefill's token comes first and is not a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.engines.serving.pieces import SpeculationReport

# The average is a 32-bit float; the number of passes computed from it is much closer than this.
_ROUNDING = 0.05
# An average that gives more of them is refused with its number; infinity would be none.
_MOST_PASSES = float(1 << 31)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """``sizes`` of all events, the prefill's first; None if several orders fit.

    ``steps`` is D, the number of decoding steps; None if several numbers fit.
    """

    sizes: list[int] | None
    steps: int | None


def arrange(
    chunks: Sequence[int], accepted: Sequence[int], *, every_step_drafts: bool
) -> Arrangement | None:
    """How the steps are distributed over the chunks; None if they do not fit.

    Chunks that can be steps as they are, the usual case, are taken as such.
    """
    if not chunks:
        return None if accepted else Arrangement([], 0)
    if _are_steps(chunks, accepted, every_step_drafts):
        return Arrangement(list(chunks), len(chunks) - 1)
    found: set[tuple[int, ...]] = set()
    counts: set[int] = set()
    uncut, decoded = sum(accepted) + len(accepted), sum(chunks) - 1
    # Less of a cut would leave more tokens than there are; a reported number may be absurd.
    least, most = max(0, uncut - decoded), accepted[-1] if accepted else 0
    for cut in range(least, most + 1):
        alone = decoded - (uncut - cut)
        if every_step_drafts and alone:
            break
        emitted = [a + 1 for a in accepted]
        if emitted:
            emitted[-1] -= cut
        ways = _ways(chunks, emitted, last_is_cut=cut > 0)
        if ways:
            found |= ways
            counts.add(len(emitted) + alone)
    if not found:
        return None
    sizes = list(next(iter(found))) if len(found) == 1 else None
    return Arrangement(sizes, counts.pop() if len(counts) == 1 else None)


def split_into_steps(trace: Trace, sizes: Sequence[int]) -> Trace:
    """``trace`` with events of ``sizes`` tokens; each at the time of the chunk that holds it."""
    times: list[float] = []
    ends: list[int] = []
    total = 0
    for chunk in trace.chunks:
        total += chunk
        ends.append(total)
    chunk, done = 0, 0
    for size in sizes:
        done += size
        while ends[chunk] < done:
            chunk += 1
        times.append(trace.times[chunk])
    trace.chunks, trace.times = list(sizes), times
    return trace


def _are_steps(chunks: Sequence[int], accepted: Sequence[int], every_step_drafts: bool) -> bool:
    """Whether the first chunk is the prefill's token and each other one a step."""
    steps = chunks[1:]
    if chunks[0] != 1 or (every_step_drafts and len(steps) != len(accepted)):
        return False
    at = 0
    for taken in accepted:
        while at < len(steps) and steps[at] != taken + 1:
            cut = at == len(steps) - 1 and steps[at] <= taken + 1
            if cut:
                break
            if steps[at] != 1:
                return False
            at += 1
        if at == len(steps):
            return False
        at += 1
    return all(size == 1 for size in steps[at:])


def _ways(
    chunks: Sequence[int], emitted: Sequence[int], *, last_is_cut: bool
) -> set[tuple[int, ...]]:
    """Up to two different sequences of event sizes that fit; two mean that the order is unknown.

    Goes chunk by chunk; the state is the number of drafting steps used so far.
    """
    states: dict[int, set[tuple[int, ...]]] = {0: {(1,)}}
    for number, chunk in enumerate(chunks):
        capacity = chunk - 1 if number == 0 else chunk
        last = number == len(chunks) - 1
        following: dict[int, set[tuple[int, ...]]] = {}
        for used, ways in states.items():
            for count, piece in _fillings(emitted, used, capacity):
                if last and (used + count != len(emitted) or (last_is_cut and not count)):
                    continue
                orders = _orders(piece, capacity - sum(piece), last and last_is_cut)
                grown = {way + order for way in ways for order in orders}
                known = following.setdefault(used + count, set())
                known |= grown
                while len(known) > 2:
                    known.pop()
        states = following
    return states.get(len(emitted), set())


def _fillings(
    emitted: Sequence[int], used: int, capacity: int
) -> list[tuple[int, tuple[int, ...]]]:
    """Every run of drafting steps, starting at ``used``, that fits into ``capacity`` tokens."""
    found = []
    for count in range(len(emitted) - used + 1):
        piece = tuple(emitted[used : used + count])
        if sum(piece) > capacity:
            break
        found.append((count, piece))
    return found


def _orders(piece: tuple[int, ...], alone: int, last_is_cut: bool) -> set[tuple[int, ...]]:
    """One or two orders of drafting steps and ``alone`` one-token steps within a chunk."""
    before = (1,) * alone + piece
    if last_is_cut:  # the cut step ends the answer; single tokens may be anywhere before it
        return {before, (*piece[:-1], *(1,) * alone, *piece[-1:])}
    return {before, piece + (1,) * alone}


def reported_steps(
    report: SpeculationReport, tokens: int, arrivals: int, *, every_step_drafts: bool
) -> int | None:
    """D of an answer of ``tokens`` in ``arrivals`` chunks, as far as the server reports it."""
    steps = report.totals.steps
    if steps is None and report.tokens_per_pass:
        steps = _whole_steps(min(_MOST_PASSES, tokens / report.tokens_per_pass))
    if steps is not None:
        return steps
    if report.drafting_steps == 0:  # so that each step emitted one token
        return max(0, tokens - 1)
    return _steps_from_drafts(report, tokens, arrivals) if every_step_drafts else None


def _whole_steps(passes: float) -> int | None:
    """Decoding steps of ``passes``, without the prefill; None if it is not close to an integer."""
    whole = round(passes)
    return max(0, whole - 1) if abs(passes - whole) < _ROUNDING else None


def _steps_from_drafts(report: SpeculationReport, tokens: int, arrivals: int) -> int | None:
    """D for a method that drafts in every step, from the number of drafting steps.

    A server may still decode steps without a draft, as at a draft length of 0 under load. Then D is
    only known up to the accepted tokens that the end of the output cut off, unless the number of
    chunks is in that range; None if not.
    """
    drafting, accepted = report.drafting_steps, report.totals.accepted_tokens
    if drafting is None or accepted is None or tokens - 1 <= drafting + accepted:
        return drafting
    least, chunks = tokens - 1 - accepted, arrivals - 1
    return chunks if least <= chunks <= least + (report.draft_length or 0) else None
