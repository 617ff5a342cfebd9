"""Two builds along one text, with numerical ties: what replay is to be counted from.

Written without anything of `stats.replay` but its data types and `next_resume`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytest_speedbench.stats import Segment, StepTrace, next_resume


@dataclass(frozen=True)
class World:
    """How both builds decode.

    Attributes:
        accept: chance that a draft token is accepted, by position in the draft.
        ties: chance of a tie at a token; there each build takes either token.
        agree: chance that both builds accept alike at a token, as they see the same text.
        loss: chance that the new build rejects what it would accept.
        heals: tokens after a prefill in which it loses nothing.
        prefill: tokens that a prefill emits without a draft.
    """

    accept: tuple[float, ...]
    ties: float = 0.02
    agree: float = 0.9
    loss: float = 0.0
    heals: int = 0
    prefill: int = 1


def replayed(world: World, tokens: int, seed: int) -> tuple[StepTrace, list[Segment]]:
    """One sample: the baseline, and the new build's free output with all further requests."""
    rng = np.random.default_rng(seed)
    dl = len(world.accept)
    shared, own = rng.random((tokens + dl, dl)), rng.random((tokens + dl, dl))
    alike = rng.random((tokens + dl, 1)) < world.agree
    fresh = np.where(alike, shared, own)
    tie, theirs = rng.random(tokens) < world.ties, rng.random(tokens) < 0.5
    ties, before, after = tie.tolist(), shared.tolist(), fresh.tolist()  # quicker, one by one
    steps = _walk(world, before, ties, world.prefill, tokens, lost=False)
    baseline = StepTrace("s", "a", 0, world.prefill, np.array(steps), np.arange(tokens))
    segments, start = [], 0
    while True:
        ids = np.arange(start, tokens)
        # After a prompt that holds it, a tie is decided; the token that a prefill emits may tie.
        differs = np.flatnonzero(tie[start:] & theirs[start:])
        if len(differs):
            ids[differs[0] :] = -1
        sizes = _walk(world, after, ties, start + world.prefill, tokens, lost=True, since=start)
        segments.append(Segment(start, world.prefill, np.array(sizes), ids))
        theirs = np.where(np.arange(tokens) < start + 1, False, rng.random(tokens) < 0.5)
        if not len(differs):
            return baseline, segments
        resume = next_resume(baseline, start + int(differs[0]), prefill_tokens=world.prefill)
        if resume is None:
            return baseline, segments
        start = resume.prompt_tokens


def _walk(world, numbers, ties, first, end, *, lost, since=0):  # type: ignore[no-untyped-def]
    """Step sizes from a token to the end; a draft of a tied token fits either build alike."""
    steps, position = [], first
    while position < end:
        taken = 0
        while taken < len(world.accept) and position + taken < end:
            here = position + taken
            chance = world.accept[taken] * (0.5 if ties[here] else 1.0)
            if lost and here - since >= world.heals:
                chance *= 1 - world.loss
            if numbers[position][taken] >= chance:
                break
            taken += 1
        steps.append(min(taken + 1, end - position))
        position += steps[-1]
    return steps
