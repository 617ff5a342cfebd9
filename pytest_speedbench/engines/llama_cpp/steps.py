"""``timings_per_token`` of llama.cpp's server → decoding steps.

The server sends one event per token, and with ``timings_per_token`` each event has the totals of
the request so far. All tokens of a step are sent together, after the totals were updated: events
with the same totals and the same clock are one step. A token that ends within a character has no
event; the token count of the next event includes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from pytest_speedbench.errors import EngineError


@dataclass(frozen=True, slots=True)
class Mark:
    """The totals in one event: output tokens, the clock in ms, draft tokens proposed and accepted
    (before the output was cut)."""

    tokens: int
    clock: float
    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one request.

    ``sizes`` of all events, the prefill's token first; None if withheld tokens make it ambiguous.
    ``count`` is the number of decoding steps, None if that is ambiguous too. ``drafted`` and
    ``accepted`` have one entry per step that had a draft; without sizes, one entry with the sum.
    """

    sizes: list[int] | None
    count: int | None
    drafted: list[int]
    accepted: list[int]


class _Ambiguous(EngineError):
    """Withheld tokens may belong to one of several steps."""


class _Reader:
    """Goes through the steps in order. ``open`` tokens of the last step are missing so far."""

    def __init__(self, full: int, limit: int) -> None:
        self.full = full
        self.limit = limit
        self.sizes: list[int] = []
        self.drafted: list[int] = []
        self.accepted: list[int] = []
        self.last = Mark(0, 0.0)
        self.open = 1  # the prefill's own token

    def close_open(self, hidden: int) -> int:
        """Adds withheld tokens to the last step; returns the rest of ``hidden``."""
        filled = min(self.open, hidden)
        if filled and not self.sizes:
            self.sizes.append(0)
        if filled:
            self.sizes[-1] += filled
        self.open -= filled
        return hidden - filled

    def step(self, first: Mark, last: Mark, ahead: int | None) -> None:
        """Adds the step with the events ``first`` to ``last``.

        ``ahead`` tokens are withheld before the next step is seen; None if unknown.
        """
        seen = last.tokens - first.tokens + 1
        hidden = self.close_open(first.tokens - 1 - self.last.tokens)
        if not self.sizes:  # the prefill's own token, seen
            self.sizes, self.open = [1], 0
        elif self.open:
            raise EngineError(
                f"the server reports a step with {self.accepted[-1]} accepted draft tokens that "
                f"emitted {self.sizes[-1]} tokens: its timings have changed; please report this "
                "with the version of the server"
            )
        else:
            self.add(hidden, seen, last, ahead)
        self.last = last

    def add(self, hidden: int, seen: int, mark: Mark, ahead: int | None) -> None:
        drafted = mark.drafted - self.last.drafted
        accepted = mark.accepted - self.last.accepted
        if not drafted:
            self.sizes += [1] * (hidden + seen)
            return
        missing = accepted + 1 - hidden - seen
        # If some hidden tokens were steps of their own, more tokens would be missing, or more
        # would have been drafted.
        whole = drafted == self.whole_draft() and missing >= 0
        if hidden and missing != ahead and not whole:
            raise _Ambiguous
        self.sizes.append(hidden + seen)
        self.drafted.append(drafted)
        self.accepted.append(accepted)
        # A recurrent model verifies a cut draft twice and emits one more token.
        self.open = max(0, missing)

    def whole_draft(self) -> int | None:
        """Draft tokens of the next step, if every step drafts the full length."""
        return min(self.full, self.limit - sum(self.sizes) - 1) if self.full else None


def read_steps(marks: Sequence[Mark], *, cut: bool, full: int = 0, limit: int = 0) -> Steps:
    """The steps of a request.

    Args:
        marks: one for each event with a token, or with a count of withheld ones; at least one.
        cut: whether a stop token ended the output: then accepted tokens after it were dropped.
        full: the draft length, if every step drafts that many tokens, or what is left up to the
            output's ``limit``; 0 if drafts have other lengths.
    """
    reader, end = _Reader(full, limit), marks[-1]
    passes = _passes(marks)
    leads = [first.tokens - 1 - before.tokens for (_, before), (first, _) in pairwise(passes)]
    try:
        for (first, last), ahead in zip(passes, [*leads, None if cut else 0], strict=True):
            reader.step(first, last, ahead)
    except _Ambiguous:
        # Only a stop token drops accepted tokens; without one, all accepted tokens were emitted.
        count = None if cut else end.tokens - 1 - end.accepted
        return Steps(None, count, [end.drafted], [end.accepted])
    return Steps(reader.sizes, len(reader.sizes) - 1, reader.drafted, reader.accepted)


def _passes(marks: Sequence[Mark]) -> list[tuple[Mark, Mark]]:
    """First and last event of each step."""
    groups = groupby(marks, key=lambda mark: (mark.clock, mark.drafted))
    members = [list(group) for _, group in groups]
    return [(group[0], group[-1]) for group in members]
