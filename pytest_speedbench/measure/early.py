"""Early decision: complete blocks of samples, looked at in sending order, until there is enough.

Short answers come back first, so a block is looked at only when all its samples are through, and
after every block that was sent before it. Who decides, and against what, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Protocol

from pytest_speedbench.measure.replayed import ReplayedTurn
from pytest_speedbench.measure.results import EarlyStop, Turn
from pytest_speedbench.splits import Sample

# A look takes milliseconds of the client for every case; an assert divides its α by their number.
MOST_LOOKS = 40

Followed = Mapping[tuple[str, int], ReplayedTurn]
"""How the build went along the baseline's outputs, by sample and turn."""


class Decider(Protocol):
    """Decides the cases of one run, block by block."""

    @property
    def hopeless(self) -> str:
        """Why no number of samples can decide every case; empty if they can."""

    @property
    def undecided(self) -> str:
        """What is still open, as a sentence; empty if nothing is."""

    def look(
        self, turns: Sequence[Turn], errored: Sequence[str], followed: Followed | None = None
    ) -> bool:
        """Takes a complete block, its samples that came back empty, and what was replayed of it;
        whether all is decided."""

    def tokens(self, samples: Iterable[str]) -> int:
        """Output tokens that these samples are expected to cost."""


class BlockWatch:
    """Collects finished samples into blocks and shows each to the decider in its turn.

    ``order`` is the order to send them in, categories interleaved; ``seen`` are the samples of the
    blocks that were looked at.
    """

    def __init__(self, samples: Sequence[Sample], decider: Decider) -> None:
        self._decider = decider
        blocks = [[samples[i] for i in block] for block in _blocks(samples)]
        self.order = [sample for block in blocks for sample in block]
        self._looks = 1 if decider.hopeless else len(blocks)
        self._blocks = [[sample.id for sample in block] for block in blocks]
        self._finished: dict[str, Sequence[Turn]] = {}
        self._followed: dict[tuple[str, int], ReplayedTurn] = {}
        self._next = 0
        self._decided = False

    @property
    def seen(self) -> set[str]:
        return {sample for block in self._blocks[: self._next] for sample in block}

    def groups(self, size: int) -> Iterator[list[Sample]]:
        """The order in whole blocks, at least ``size`` samples together while there are as many."""
        samples, rest = iter(self.order), len(self.order)
        group: list[Sample] = []
        for block in self._blocks:
            group += islice(samples, len(block))
            if len(group) >= size and rest - len(group) >= size:
                yield group
                group, rest = [], rest - len(group)
        if group:
            yield group

    def follow(self, followed: Followed) -> None:
        """Keeps what was replayed of samples that are not yet through."""
        self._followed |= followed

    def enough(self, sample: str, turns: Sequence[Turn]) -> bool:
        """A sample is through; whether every case is decided."""
        self._finished[sample] = turns
        while not self._decided and self._next < len(self._blocks):
            block = self._blocks[self._next]
            if not all(name in self._finished for name in block):
                break
            self._next += 1
            self._decided = self._look(block)
        return self._decided

    def _look(self, block: Sequence[str]) -> bool:
        turns = [turn for name in block for turn in self._finished[name] if turn.complete]
        whole = {turn.sample for turn in turns}
        empty = [name for name in block if name not in whole]
        followed = {key: turn for key, turn in self._followed.items() if key[0] in whole}
        return self._decider.look(turns, empty, followed)

    @property
    def stop(self) -> EarlyStop:
        """How far it went, once the run has ended."""
        sent = set(self._finished)
        unsent = [sample.id for sample in self.order if sample.id not in sent]
        return EarlyStop(
            looked=len(self.seen),
            sent=len(sent),
            planned=len(self.order),
            tokens_saved=self._decider.tokens(unsent),
            looks=self._looks,
            undecided=self._decider.hopeless or self._decider.undecided,
        )


def _blocks(samples: Sequence[Sample]) -> list[list[int]]:
    """What is looked at together: a sample of each category, further on several."""
    from pytest_speedbench.stats import balanced_blocks, looks_after

    single = balanced_blocks([sample.category for sample in samples])
    ends = looks_after(len(single), MOST_LOOKS)
    groups = (single[start:end] for start, end in pairwise([0, *ends]))
    return [[number for block in group for number in block] for group in groups]
