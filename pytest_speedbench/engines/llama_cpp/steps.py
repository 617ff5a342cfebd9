"""``timings_per_token`` of llama.cpp's server → decoding steps.

The server sends one event for each token, and with ``timings_per_token`` each event carries the
request's sums so far. All tokens of one step leave together, after the sums were raised: events
with the same sums and the same clock are one step. A token that ends within a character has no
event of its own; the next event's count tells that it was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from pytest_speedbench.errors import EngineError


@dataclass(frozen=True, slots=True)
class Mark:
    """The sums that one event carries: output tokens, the clock in ms, draft tokens proposed and
    accepted (before the output was cut)."""

    tokens: int
    clock: float
    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class Steps:
    """What the marks of one request say.

    ``sizes`` of all events, the prefill's token first; None where withheld tokens leave it open.
    ``count`` is the number of decoding steps, None where even that is open. ``drafted`` and
    ``accepted`` have one entry for each step that had a draft; without sizes, the sums alone.
    """

    sizes: list[int] | None
    count: int | None
    drafted: list[int]
    accepted: list[int]


class _Unclear(EngineError):
    """Withheld tokens belong to one of several steps, and nothing tells to which."""


class _Reader:
    """Goes through the steps in order. ``open`` tokens of the last step are still to come."""

    def __init__(self, full: int, limit: int) -> None:
        self.full = full
        self.limit = limit
        self.sizes: list[int] = []
        self.drafted: list[int] = []
        self.accepted: list[int] = []
        self.last = Mark(0, 0.0)
        self.open = 1  # the prefill's own token

    def close_open(self, hidden: int) -> int:
        """Gives the last step those of its tokens that were withheld; the rest of ``hidden``."""
        filled = min(self.open, hidden)
        if filled and not self.sizes:
            self.sizes.append(0)
        if filled:
            self.sizes[-1] += filled
        self.open -= filled
        return hidden - filled

    def step(self, first: Mark, last: Mark, ahead: int | None) -> None:
        """One step, seen from its event ``first`` to its event ``last``.

        ``ahead`` tokens are withheld before the next step is seen; None where nobody knows.
        """
        seen = last.tokens - first.tokens + 1
        hidden = self.close_open(first.tokens - 1 - self.last.tokens)
        if not self.sizes:  # the prefill's own token, seen
            self.sizes, self.open = [1], 0
        elif self.open:
            raise EngineError(
                f"the server says that a step accepted {self.accepted[-1]} draft tokens, but it "
                f"emitted {self.sizes[-1]} tokens: its timings are not read rightly; please report "
                "it with the version of the server"
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
        # Were some of the hidden tokens steps of their own, more tokens would be missing, or more
        # would have been drafted.
        whole = drafted == self.whole_draft() and missing >= 0
        if hidden and missing != ahead and not whole:
            raise _Unclear
        self.sizes.append(hidden + seen)
        self.drafted.append(drafted)
        self.accepted.append(accepted)
        # A recurrent model verifies a cut draft twice, and emits one token more.
        self.open = max(0, missing)

    def whole_draft(self) -> int | None:
        """What the next step drafts, where every step drafts as much as it may."""
        return min(self.full, self.limit - sum(self.sizes) - 1) if self.full else None


def read_steps(marks: Sequence[Mark], *, cut: bool, full: int = 0, limit: int = 0) -> Steps:
    """The steps of a request.

    Args:
        marks: one for each event that brought, or made known, a token; at least one.
        cut: whether a stop token, and not the length, ended the output: then accepted tokens may
            have been dropped after it.
        full: the draft length, where every step drafts that many tokens, or as many as may still
            come up to the output's ``limit``; 0 where drafts have other lengths.
    """
    reader, end = _Reader(full, limit), marks[-1]
    passes = _passes(marks)
    leads = [first.tokens - 1 - before.tokens for (_, before), (first, _) in pairwise(passes)]
    try:
        for (first, last), ahead in zip(passes, [*leads, None if cut else 0], strict=True):
            reader.step(first, last, ahead)
    except _Unclear:
        # Only a stop token drops accepted tokens: without one, every accepted token came out.
        count = None if cut else end.tokens - 1 - end.accepted
        return Steps(None, count, [end.drafted], [end.accepted])
    return Steps(reader.sizes, len(reader.sizes) - 1, reader.drafted, reader.accepted)


def _passes(marks: Sequence[Mark]) -> list[tuple[Mark, Mark]]:
    """First and last event of each step."""
    groups = groupby(marks, key=lambda mark: (mark.clock, mark.drafted))
    members = [list(group) for _, group in groups]
    return [(group[0], group[-1]) for group in members]
