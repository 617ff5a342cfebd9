"""Early decision: complete blocks of samples, looked at in sending order, until there is enough.

Short answers come back first, so a block is looked at only when all its samples are through, and
after every block that was sent before it. Who decides, and against what, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pytest_speedbench.splits import Sample

if TYPE_CHECKING:
    from pytest_speedbench.measure.load import Turn

# A look takes milliseconds of the client for every case; a category of 80 gets one every 2 samples.
MOST_LOOKS = 40


class Decider(Protocol):
    """Decides the cases of one run, block by block."""

    @property
    def hopeless(self) -> str:
        """Why no number of samples can decide every case; empty if they can."""

    @property
    def undecided(self) -> str:
        """What is still open, in words; empty if nothing is."""

    def look(self, turns: Sequence[Turn], errored: Sequence[str]) -> bool:
        """Takes a complete block, and its samples that came back empty; whether all is decided."""

    def tokens(self, samples: Iterable[str]) -> int:
        """Output tokens that these samples are expected to cost."""


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """How far a run went.

    Attributes:
        looked: samples that the verdicts rest on, all in complete blocks.
        sent: those and the ones in flight when the last verdict fell.
        planned: all samples of the run.
        tokens_saved: output tokens that the samples not sent are expected to have cost.
        looks: how often the run could have stopped; 1 where it could not.
        undecided: what was open at the end, in words.
    """

    looked: int
    sent: int
    planned: int
    tokens_saved: int
    looks: int
    undecided: str

    @property
    def stopped(self) -> bool:
        return self.looked < self.planned

    def __str__(self) -> str:
        if not self.stopped:
            why = self.undecided or "decided only with the last samples"
            return f"not stopped early: {why}"
        left_out = self.sent - self.looked
        rest = f"; {left_out} more were in flight and are left out" if left_out else ""
        return (
            f"stopped early: decided after {self.looked} of {self.planned} samples; "
            f"{self.planned - self.sent} samples, about {self.tokens_saved:,} tokens, "
            f"saved{rest}"
        )


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
        self._next = 0
        self._decided = False

    @property
    def seen(self) -> set[str]:
        return {sample for block in self._blocks[: self._next] for sample in block}

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
        return self._decider.look(turns, [name for name in block if name not in whole])

    @property
    def stop(self) -> EarlyStop:
        """How far it went, once the run has ended."""
        sent = set(self._finished)
        unsent = [sample.id for sample in self.order if sample.id not in sent]
        return EarlyStop(
            len(self.seen),
            len(sent),
            len(self.order),
            self._decider.tokens(unsent),
            self._looks,
            self._decider.hopeless or self._decider.undecided,
        )


def _blocks(samples: Sequence[Sample]) -> list[list[int]]:
    from collections import Counter

    from pytest_speedbench.stats import balanced_blocks

    strata = [sample.category for sample in samples]
    smallest = min(Counter(strata).values())
    return balanced_blocks(strata, max(1, smallest // MOST_LOOKS))
