"""Early decision: look after every complete block of samples, stop when the case is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import RequestTrace
from pytest_speedbench.stats.decision import Conclusion, Decision, judge, verdict_of
from pytest_speedbench.stats.pairing import Pairs, merge, pair
from pytest_speedbench.stats.rule import Rule
from pytest_speedbench.stats.scale import scale_of
from pytest_speedbench.stats.sums import ReplayedSums


class Sequential:
    """A case decided block by block, with the error rates of `Rule` in spite of the peeking.

    Feed complete blocks in sending order, each with every stratum in the proportions of the split:
    a block that waits for its slow requests must not be looked at, since short answers come back
    first. The verdict is kept from the look that reached it.
    """

    def __init__(
        self,
        baseline: Sequence[RequestTrace],
        rule: Rule,
        *,
        greedy: bool = True,
        draft_length: int | None = None,
    ) -> None:
        """Start a case from the baseline's traces of the whole slice; see `non_inferiority`."""
        self._baseline: dict[str, list[RequestTrace]] = {}
        for trace in baseline:
            self._baseline.setdefault(trace.sample, []).append(trace)
        self._scale = scale_of(baseline, draft_length)
        self._rule = rule
        self._greedy = greedy
        self._parts: list[Pairs] = []
        self._lonely: list[str] = []
        self._final: Decision | None = None
        self._tokens = 0

    def add(
        self,
        block: Sequence[RequestTrace],
        errored: Sequence[str] = (),
        replayed: ReplayedSums | None = None,
    ) -> None:
        """Take the new run's traces of one complete block, and the samples that came back empty.

        `replayed` is what further requests along the baseline's text of these samples have shown.
        A block without any sample of the baseline adds nothing but the names of its samples.

        Raises:
            ValueError: a sample that an earlier block already held.
        """
        seen = {sample for part in self._parts for sample in part.whole.samples}
        again = sorted({trace.sample for trace in block} & seen)
        if again:
            raise ValueError(f"samples of an earlier block: {', '.join(again)}")
        if self._final is not None:
            return
        self._lonely += errored
        self._tokens += sum(trace.output_tokens for trace in block)
        samples = {trace.sample for trace in block}
        old = [trace for sample in samples for trace in self._baseline.get(sample, [])]
        try:
            paired = pair(old, block, greedy=self._greedy)
            self._parts.append(replace(paired, replay=replayed))
        except NoData:
            self._lonely += sorted(samples)
            return
        self._look()

    def _look(self) -> None:
        try:
            pairs = merge(self._parts)
            if verdict_of(pairs, self._scale, self._rule) is Conclusion.UNDECIDED:
                return
            decision = judge(pairs, self._scale, self._rule)
        except NoData:
            return
        if decision.conclusion is not Conclusion.UNDECIDED:
            self._final = decision

    @property
    def decided(self) -> bool:
        """Whether a look has reached a verdict; further blocks change nothing."""
        return self._final is not None

    @property
    def decision(self) -> Decision:
        """The verdict, or the undecided state after the last block.

        Raises:
            NoData: no block with a sample of the baseline yet.
        """
        if self._final is not None:
            return self._final
        return judge(merge(self._parts), self._scale, self._rule)

    @property
    def samples(self) -> int:
        """Paired samples looked at, up to the verdict."""
        return sum(len(part.whole.samples) for part in self._parts)

    @property
    def tokens(self) -> int:
        """Output tokens of the new run that were looked at, up to the verdict."""
        return self._tokens

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Samples and turns of the blocks, or of their baseline, without a partner."""
        lonely = [name for part in self._parts for name in (*part.only_old, *part.only_new)]
        return (*self._lonely, *lonely)


def looks_after(blocks: int, most: int) -> list[int]:
    """After how many of so many complete blocks to look, at most `most` times: after each of the
    first `most` / 2, where most runs are decided, then evenly.

    Raises:
        ValueError: `most` below 2.
    """
    if most < 2:
        raise ValueError(f"expected at least 2 looks, got {most}")
    if blocks <= most:
        return list(range(1, blocks + 1))
    first = most // 2
    rest, late = blocks - first, most - first
    return [*range(1, first + 1), *(first + rest * k // late for k in range(1, late + 1))]


def balanced_blocks(strata: Sequence[str]) -> list[list[int]]:
    """Blocks of sample indices with every stratum in the split's proportions, in given order.

    One sample of the smallest stratum goes to each block, and of the others in proportion, so that
    every block estimates the same mean. A remainder joins the last block.

    Raises:
        NoData: no samples.
    """
    if not strata:
        raise NoData("no samples to order")
    members: dict[str, list[int]] = {}
    for index, name in enumerate(strata):
        members.setdefault(name, []).append(index)
    count = min(map(len, members.values()))
    return [
        [
            index
            for group in members.values()
            for index in group[len(group) * k // count : len(group) * (k + 1) // count]
        ]
        for k in range(count)
    ]
