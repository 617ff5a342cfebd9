"""Warm-up: the run's own batch size and length, and none of it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_speedbench.engines.protocol import Sampling
from pytest_speedbench.measure.rounds import warm_up
from pytest_speedbench.splits import Sample

FULL = Sampling(max_tokens=100, min_tokens=50)


@dataclass
class Recorder:
    """A loop that keeps what it was told to send."""

    sampling: Sampling = FULL
    sent: list[tuple[Sample, Sampling]] = field(default_factory=list)
    held: int = 0

    def run(self, samples: Sequence[Sample], batch_size: int, progress: object) -> None:
        self.sent += [(sample, self.sampling) for sample in samples]
        self.held = batch_size


def conversation(name: str, words: int) -> Sample:
    return Sample(name, "math", ("hello " * words, "and then?"))


def test_warm_up_has_the_batch_size_the_longest_prompt_and_the_length_of_the_run() -> None:
    loop = Recorder()
    sent = [conversation(f"s{i}", 50 if i == 7 else 1) for i in range(9)]
    assert warm_up(loop, sent, 4) == 4
    assert loop.held == 4
    assert [sample.id for sample, _ in loop.sent] == ["s7", "s0", "s1", "s2"]
    assert [len(sample.turns) for sample, _ in loop.sent] == [2, 1, 1, 1]
    assert {sampling.max_tokens for _, sampling in loop.sent} == {100}


def test_warm_up_is_short_where_nothing_is_timed() -> None:
    loop = Recorder()
    assert warm_up(loop, [conversation("s", 1)], 1, timed=False) == 1
    ((_, sampling),) = loop.sent
    assert (sampling.max_tokens, sampling.min_tokens) == (32, 32)
    assert loop.sampling == FULL
