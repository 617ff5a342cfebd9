"""Replay: both builds over the same tokens of the baseline's text, in whole decoding steps.

The new build decodes the baseline's text: freely until its output first differs (a divergence),
then by further requests whose prompt already holds a part of that text. What is counted:

- A segment's first counted step starts where a step of the baseline starts.
- Its last one ends at the last position before the divergence where both builds start a step, or
  with the baseline's output.
- Tokens in between are left out on both sides.

From its start both builds walk the same text from a step of their own, and the end treats them
alike, so that the difference of their steps has mean zero where nothing changed, whatever the law
of the steps. A resumed request that is counted from where it happens to start begins a step where
the baseline is inside one, which favours the baseline (renewal theory: Cox 1962, ch. 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import Floats, Ints, StepTrace
from pytest_speedbench.stats.pairing import common_prefix, last_common_start, starts_of
from pytest_speedbench.stats.sums import PairedSums, ReplayedSums

FEWEST_SAMPLES = 8  # for a trend over the distance from the prefill
# Divergences after which an output is given up: 4, and one more for every 16 tokens.
DIVERGENCES, TOKENS_A_DIVERGENCE = 4, 16


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One request of the new build along the baseline's output.

    Attributes:
        start: tokens of the baseline's output that its prompt holds; 0 for the free output.
        prefill_tokens: tokens that the prefill emitted without a draft (0 or 1).
        steps: shape (decoding steps,), tokens emitted by each.
        token_ids: shape (prefill_tokens + steps.sum(),).
    """

    start: int
    prefill_tokens: int
    steps: Ints
    token_ids: Ints

    @property
    def starts(self) -> Ints:
        """Position in the baseline's output of the first token of every step."""
        return np.asarray(self.start + self.prefill_tokens + np.cumsum(self.steps) - self.steps)


@dataclass(frozen=True, slots=True)
class Counted:
    """One sample's sums over the same tokens.

    Attributes:
        tokens: tokens that are counted, the same on both sides.
        old_steps: the baseline's steps over them.
        new_steps: the new build's.
        old_distance: sum over the baseline's counted steps of the mean over their tokens of
            log(1 + tokens since the prompt of the new build's request that covers them).
        new_distance: the same over the new build's steps.
        left_out: decoded tokens of the baseline that are not counted.
        divergences: segments that ended before the baseline's output did.
    """

    tokens: int
    old_steps: int
    new_steps: int
    old_distance: float
    new_distance: float
    left_out: int
    divergences: int


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where a further request starts.

    `prompt_tokens` of the baseline's output go into its prompt; the first step that is counted
    starts at position `counted_from`.
    """

    prompt_tokens: int
    counted_from: int


def divergence_of(baseline: StepTrace, segment: Segment) -> int | None:
    """Position in the baseline's output of the first token that differs; None where none does.

    A segment that ends too early or too late differs at its end, or at the baseline's.

    Raises:
        ValueError: the baseline has no token ids.
    """
    ids = _ids(baseline)[segment.start :]
    same = common_prefix(ids, segment.token_ids)
    return None if same == len(ids) == len(segment.token_ids) else segment.start + same


def next_resume(
    baseline: StepTrace, divergence: int, *, prefill_tokens: int = 1
) -> Resumption | None:
    """Where to go on after a divergence; None where no step of the baseline is left.

    The prompt holds the token that differed, so that it cannot differ again. Where a prefill emits
    a token without a draft, that is the one before a step of the baseline; where the first pass
    verifies drafts already (`prefill_tokens` 0), it is a step and starts with the baseline's.
    """
    starts = starts_of(baseline)
    later = starts[starts >= divergence + 1 + prefill_tokens]
    if not len(later):
        return None
    first = int(later[0])
    return Resumption(first - prefill_tokens, first)


def most_divergences(baseline: StepTrace) -> int:
    """Divergences of one output that are followed; with one more it is given up on both sides."""
    return DIVERGENCES + baseline.output_tokens // TOKENS_A_DIVERGENCE


def count_replayed(baseline: StepTrace, segments: Sequence[Segment]) -> Counted:
    """Paired sums of one sample; `segments` in order, the free output first.

    Raises:
        ValueError: a baseline without token ids, segments out of order, or one that does not start
            where a step of the baseline does.
    """
    old_starts, end = starts_of(baseline), baseline.output_tokens
    tokens = old_steps = new_steps = divergences = counted_to = 0
    distances = np.zeros(2)
    for segment in segments:
        first = segment.start + segment.prefill_tokens
        _check_segment(segment, first, counted_to, baseline)
        divergence = divergence_of(baseline, segment)
        divergences += divergence is not None
        cut = end if divergence is None else last_common_start(
            old_starts, segment.starts, divergence
        )  # fmt: skip
        if cut is None or cut <= first or first not in old_starts:
            continue
        inside = [_between(where, first, cut) for where in (old_starts, segment.starts)]
        tokens, counted_to = tokens + cut - first, cut
        old_steps, new_steps = old_steps + len(inside[0]), new_steps + len(inside[1])
        distances += [_distance(where - segment.start, cut - segment.start) for where in inside]
    old_distance, new_distance = distances.tolist()
    left_out = baseline.decode_tokens - tokens
    return Counted(tokens, old_steps, new_steps, old_distance, new_distance, left_out, divergences)


def count_common(text: StepTrace, old: Sequence[Segment], new: Sequence[Segment]) -> Counted:
    """Paired sums of two builds that both went along `text`, an output of neither of them.

    What both cover is counted from the first to the last position where both start a step, in every
    stretch that a request of the one shares with a request of the other. The builds change places
    without changing the count, so that neither gains by it where they are alike.

    Raises:
        ValueError: a text without token ids, or segments out of order.
    """
    tokens = old_steps = new_steps = 0
    distances = np.zeros(2)
    theirs, ours = _covered(text, old), _covered(text, new)
    for one, one_bounds in theirs:
        for other, other_bounds in ours:
            common = np.intersect1d(one_bounds, other_bounds)
            if len(common) < 2:
                continue
            first, cut = int(common[0]), int(common[-1])
            inside = [_between(segment.starts, first, cut) for segment in (one, other)]
            tokens += cut - first
            old_steps, new_steps = old_steps + len(inside[0]), new_steps + len(inside[1])
            origin = other.start
            distances += [_distance(starts - origin, cut - origin) for starts in inside]
    old_distance, new_distance = distances.tolist()
    left_out = text.decode_tokens - tokens
    divergences = sum(divergence_of(text, segment) is not None for segment in new)
    return Counted(tokens, old_steps, new_steps, old_distance, new_distance, left_out, divergences)


def _covered(text: StepTrace, segments: Sequence[Segment]) -> list[tuple[Segment, Ints]]:
    """Each request with the positions at which it starts a step, up to where it diverges; its end
    among them where it does not."""
    found, counted_to = [], 0
    for segment in segments:
        first = segment.start + segment.prefill_tokens
        _check_segment(segment, first, counted_to, text)
        divergence = divergence_of(text, segment)
        if divergence is None:
            bounds = np.append(segment.starts, text.output_tokens)
        else:
            bounds = segment.starts[segment.starts <= divergence]
        if len(bounds):
            found.append((segment, bounds))
            counted_to = int(bounds[-1])
    return found


def _between(starts: Ints, first: int, cut: int) -> Ints:
    return starts[(starts >= first) & (starts < cut)]


def _distance(starts: Ints, end: int) -> float:
    """Sum over tokens of log(1 + distance) divided by the size of their step.

    A step counts at each of its tokens alike: at its first alone, the first step of a segment,
    which both builds have, would pass for a loss that grows with the distance.
    """
    sizes = np.diff(np.append(starts, end))
    logs = np.log1p(np.arange(starts[0], end))
    return float((logs / np.repeat(sizes, sizes)).sum())


def _ids(baseline: StepTrace) -> Ints:
    if baseline.token_ids is None:
        raise ValueError(f"sample {baseline.sample!r}: replay needs the baseline's token ids")
    return baseline.token_ids


def _check_segment(segment: Segment, first: int, counted_to: int, baseline: StepTrace) -> None:
    where = f"sample {baseline.sample!r}, turn {baseline.turn}, request from token {segment.start}"
    if segment.start < 0 or first < counted_to:
        raise ValueError(f"{where}: starts before the end of what was counted ({counted_to})")
    if len(segment.token_ids) != segment.prefill_tokens + int(segment.steps.sum()):
        raise ValueError(f"{where}: {len(segment.token_ids)} token ids for other step sizes")
    if segment.start and first not in starts_of(baseline).tolist():
        raise ValueError(f"{where}: its first step starts where no step of the baseline does")


def replayed_sums(
    counted: Sequence[tuple[str, str, Sequence[Counted]]], *, given_up: int = 0
) -> ReplayedSums:
    """Sums over samples: (sample, stratum, what was counted of each turn).

    Raises:
        NoData: no samples.
    """
    if not counted:
        raise NoData("nothing was replayed")
    table = np.array([_turns(turns) for _, _, turns in counted])
    tokens, old, new, old_distance, new_distance, left_out, divergences = table.T
    everything = float(tokens.sum() + left_out.sum())
    sums = PairedSums(
        "replay",
        tuple(sample for sample, _, _ in counted),
        tuple(stratum for _, stratum, _ in counted),
        tokens,
        old,
        tokens,
        new,
        float(tokens.sum()) / everything if everything else 0.0,
    )
    return ReplayedSums(sums, old_distance, new_distance, int(divergences.sum()), given_up)


def _turns(turns: Sequence[Counted]) -> list[float]:
    columns = zip(
        *(
            (t.tokens, t.old_steps, t.new_steps, t.old_distance, t.new_distance, t.left_out,
             t.divergences)
            for t in turns
        ),
        strict=True,
    )  # fmt: skip
    return [math.fsum(column) for column in columns] or [0.0] * 7


def falls_with_distance(replay: ReplayedSums) -> float:
    """One-sided p-value of "ρ falls with the distance from the last prefill".

    A state that decays while a request runs and that a fresh prefill repairs costs little right
    after a resumption, and more further on. Per sample: the new build's steps, each times its log
    distance less the baseline's mean log distance, less the same of the baseline's steps times the
    overall ratio of steps. Its mean is zero where ρ does not depend on the distance; Student's t
    over samples. 1 where there is too little to test.
    """
    from scipy.special import stdtr

    score = _score(replay)
    n = len(score)
    if n < FEWEST_SAMPLES:
        return 1.0
    error = float(score.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return 1.0
    return float(stdtr(n - 1, -float(score.mean()) / error))


def _score(replay: ReplayedSums) -> Floats:
    sums = replay.sums
    old, new = float(sums.old_steps.sum()), float(sums.new_steps.sum())
    if not (old and new):
        return np.zeros(0)
    mean = float(replay.old_distance.sum()) / old
    excess = replay.new_distance - mean * sums.new_steps
    expected = replay.old_distance - mean * sums.old_steps
    return np.asarray(excess - new / old * expected)
