"""What the baseline says of the size of one sample, before anything new is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.bounds import Bound, highest_line
from pytest_speedbench.stats.data import Floats, RequestTrace, StepTrace, clusters, steps_of
from pytest_speedbench.stats.sums import Evidence

# Ratios of AL that are looked at. Wider margins than a half are decided as a half.
LOWEST, HIGHEST = 0.5, 16.0
# A bound is at least so large a part of the mean sample, however little a sample can lose.
FLOOR = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Sizes of the baseline's samples in the slice, in tokens and decoding steps.

    Attributes:
        tokens: shape (samples,), decoded tokens of each.
        steps: shape (samples,), decoding steps of each.
        long_tokens: shape (samples,), tokens emitted by steps of at least two.
        long_steps: shape (samples,), number of such steps.
        top: most tokens of a step, DL + 1; None where the draft length is not known.

    Raises:
        NoData: no decoding step.
    """

    tokens: Floats
    steps: Floats
    long_tokens: Floats
    long_steps: Floats
    top: float | None = None

    def __post_init__(self) -> None:
        """Check that there is something to compare with."""
        if not self.steps.sum() > 0:
            raise NoData("the baseline has no decoding step")

    @property
    def al(self) -> float:
        """Micro AL over the slice, tokens per step."""
        return float(self.tokens.sum() / self.steps.sum())

    @property
    def without_drafts(self) -> bool:
        """Whether no run can draft, by the draft length and by what the baseline emitted: totals
        of an engine with a draft length of its own may say otherwise."""
        return self.top == 1 and self.tokens.sum() <= self.steps.sum()

    @property
    def mean_steps(self) -> float:
        """Decoding steps of a sample, on average."""
        return float(self.steps.mean())

    @property
    def max_steps(self) -> float:
        """Most decoding steps of a sample."""
        return float(self.steps.max())

    @property
    def lowest(self) -> float:
        """Smallest ratio that is looked at: AL cannot fall below 1."""
        return min(1.0, max(LOWEST, 1 / self.al))

    def most_lost(self, evidence: Evidence) -> Bound:
        """Bound on theta · new steps - old steps (and lengths) of one sample: AL is at least 1.

        On equal tokens, cut anywhere into whole steps of the baseline, a step of s tokens adds at
        most theta·s - 1, and nothing where that is negative: for theta ≥ ½ steps of one token alone
        may be left out. Whole outputs differ in length as well.
        """
        if evidence in ("prefix", "replay"):
            lines = [
                *zip(self.tokens, -self.steps, strict=True),
                *zip(self.long_tokens, -self.long_steps, strict=True),
            ]
        else:
            longest, al = float(self.tokens.max()), self.al
            ahead = float((self.tokens / al - self.steps).max())
            lines = [(longest, ahead - longest / al)]
        return self._highest(lines, self.lowest)

    def most_saved(self, evidence: Evidence) -> Bound:
        """Bound on old steps - theta · new steps (and lengths) of one sample: AL is at most DL + 1.

        Beyond theta = 1 the value at 1, which is larger.
        """
        per_token = 0.0 if self.top is None else 1 / self.top
        if evidence in ("prefix", "replay"):
            lines = list(zip(-per_token * self.tokens, self.steps, strict=True))
        else:
            longest, al = float(self.tokens.max()), self.al
            behind = float((self.steps - self.tokens / al).max())
            lines = [(-per_token * longest, behind + longest / al)]
        part = highest_line(lines, floor=self._floor, start=0.0, end=1.0)
        return Bound(np.append(part.knots, HIGHEST), np.append(part.values, part.values[-1]))

    @property
    def _floor(self) -> float:
        return FLOOR * self.mean_steps

    def _highest(self, lines: list[tuple[float, float]], start: float) -> Bound:
        return highest_line(lines, floor=self._floor, start=start, end=HIGHEST)


def scale_of(baseline: Sequence[RequestTrace], draft_length: int | None = None) -> Scale:
    """Scale from the baseline's traces of the slice.

    Args:
        baseline: all its requests, also those that the new run has not reached yet.
        draft_length: the larger DL of both runs, where known: it bounds what a sample can gain.

    Raises:
        NoData: no decoding step, or an engine that does not report how many there were.
    """
    samples = list(clusters(baseline).values())
    if not samples:
        raise NoData("the baseline has no decoding step")
    known = [[trace.steps for trace in turns if isinstance(trace, StepTrace)] for turns in samples]
    sizes = np.concatenate([np.empty(0, np.int64), *chain.from_iterable(known)])
    owners = np.repeat(np.arange(len(samples)), [sum(map(len, own)) for own in known])
    long = sizes >= 2
    top = None if draft_length is None else float(sizes.max(initial=draft_length + 1))
    return Scale(
        np.array([sum(trace.decode_tokens for trace in turns) for turns in samples], float),
        np.array([sum(map(steps_of, turns)) for turns in samples], float),
        np.bincount(owners[long], sizes[long], minlength=len(samples)).astype(float),
        np.bincount(owners[long], minlength=len(samples)).astype(float),
        top,
    )
