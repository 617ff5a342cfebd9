"""Early decision: only complete blocks in sending order are looked at, however samples finish."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.measure.early import MOST_LOOKS, BlockWatch, Followed
from pytest_speedbench.measure.results import Turn
from pytest_speedbench.splits import Sample


class _Decider:
    """Has enough after a number of blocks."""

    def __init__(self, blocks: int, hopeless: str = "") -> None:
        self.hopeless = hopeless
        self.seen: list[list[str]] = []
        self.errored: list[str] = []
        self.blocks = blocks

    @property
    def undecided(self) -> str:
        return "" if len(self.seen) >= self.blocks else "math undecided"

    def look(
        self, turns: Sequence[Turn], errored: Sequence[str], followed: Followed | None = None
    ) -> bool:
        self.seen.append([turn.sample for turn in turns])
        self.errored += errored
        return len(self.seen) >= self.blocks and not self.hopeless

    def tokens(self, samples: Iterable[str]) -> int:
        return 10 * len(list(samples))


def _samples(count: int, *categories: str) -> list[Sample]:
    return [
        Sample(id=f"{c}{i}", category=c, turns=("hello",)) for c in categories for i in range(count)
    ]


def _turn(sample: str, reason: str = "stop") -> list[Turn]:
    trace = Trace(sample, 1, 0.0, [1], [1], [0.1], finish_reason=reason)  # type: ignore[arg-type]
    return [Turn(sample, sample[0], 0, trace)]


def test_order_is_balanced() -> None:
    watch = BlockWatch(_samples(3, "a", "b"), _Decider(1))
    assert [sample.id for sample in watch.order] == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_large_splits_are_looked_at_a_bounded_number_of_times() -> None:
    assert BlockWatch(_samples(512, "a", "b"), _Decider(1)).stop.looks == MOST_LOOKS


def test_blocks_wait_for_their_slowest_sample_and_for_the_block_before() -> None:
    decider = _Decider(2)
    watch = BlockWatch(_samples(3, "a", "b"), decider)
    for name in ("b1", "a1", "b0"):
        assert not watch.enough(name, _turn(name))
    assert decider.seen == []
    assert watch.enough("a0", _turn("a0"))
    assert decider.seen == [["a0", "b0"], ["a1", "b1"]]


def test_what_finishes_after_the_verdict_is_left_out() -> None:
    watch = BlockWatch(_samples(4, "a", "b"), _Decider(1))
    watch.enough("a0", _turn("a0"))
    assert watch.enough("b0", _turn("b0"))
    assert watch.enough("a1", _turn("a1"))
    assert watch.seen == {"a0", "b0"}
    assert str(watch.stop) == (
        "stopped early: decided after 2 of 8 samples; 5 samples, about 50 tokens, saved; "
        "1 more were in flight and are left out"
    )


def test_a_sample_that_came_back_empty_is_named() -> None:
    decider = _Decider(1)
    watch = BlockWatch(_samples(1, "a", "b"), decider)
    watch.enough("a0", _turn("a0", "abort"))
    watch.enough("b0", _turn("b0"))
    assert decider.seen == [["b0"]]
    assert decider.errored == ["a0"]


def test_a_run_that_cannot_stop_has_one_look_and_says_why() -> None:
    watch = BlockWatch(_samples(2, "a"), _Decider(1, "a: no baseline"))
    for name in ("a0", "a1"):
        assert not watch.enough(name, _turn(name))
    assert watch.stop.looks == 1
    assert not watch.stop.stopped
    assert str(watch.stop) == "not stopped early: a: no baseline"


def test_decided_with_the_last_samples_is_not_stopped() -> None:
    watch = BlockWatch(_samples(2, "a"), _Decider(2))
    watch.enough("a0", _turn("a0"))
    assert watch.enough("a1", _turn("a1"))
    assert not watch.stop.stopped
    assert str(watch.stop) == "not stopped early: decided only with the last samples"


def test_groups_are_whole_blocks_that_fill_the_batch() -> None:
    watch = BlockWatch(_samples(7, "a", "b"), _Decider(1))
    sizes = [len(group) for group in watch.groups(5)]
    assert sizes == [6, 8]  # the rest of 2 cannot fill it
    assert [len(group) for group in watch.groups(1)] == [2] * 7
    assert [len(group) for group in watch.groups(50)] == [14]
    assert [s.id for group in watch.groups(4) for s in group] == [s.id for s in watch.order]
