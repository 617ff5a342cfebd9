"""Sums that come with every token → decoding steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines import EngineError
from pytest_speedbench.engines.llama_cpp.steps import Mark, read_steps


@dataclass
class Played:
    """A request as the server would play it: what it did, and the marks it would send."""

    sizes: list[int] = field(default_factory=lambda: [1])
    drafted: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=lambda: [Mark(1, 0.001)])

    def step(self, drafted: int, accepted: int) -> None:
        clock = self.marks[-1].clock + 1
        if drafted:
            self.drafted.append(drafted)
            self.accepted.append(accepted)
        for _ in range(accepted + 1):
            number = self.marks[-1].tokens + 1
            self.marks.append(Mark(number, clock, sum(self.drafted), sum(self.accepted)))
        self.sizes.append(accepted + 1)

    def cut(self, tokens: int) -> None:
        """As if a stop token were the last of ``tokens``."""
        self.marks = self.marks[:tokens]
        kept, left = [], tokens
        for size in self.sizes:
            if left:
                kept.append(min(size, left))
                left -= kept[-1]
        self.sizes = kept
        while sum(self.drafted) > self.marks[-1].drafted:
            self.drafted.pop()
            self.accepted.pop()


@st.composite
def played(draw: st.DrawFn) -> tuple[Played, bool, int, int]:
    length = draw(st.sampled_from([0, 1, 3, 5]))
    limit = draw(st.integers(2, 30))
    lookup = draw(st.booleans())
    request = Played()
    while (tokens := request.marks[-1].tokens) < limit:
        drafts = not (lookup and draw(st.booleans()))
        drafted = min(length, limit - tokens - 1) if drafts else 0
        request.step(drafted, draw(st.integers(0, drafted)))
    cut = draw(st.booleans())
    if cut:
        request.cut(draw(st.integers(1, request.marks[-1].tokens)))
    return request, cut, 0 if lookup else length, limit


@given(played(), st.data())
def test_the_steps_are_found_or_ambiguous_whatever_is_withheld(
    case: tuple[Played, bool, int, int], data: st.DataObject
) -> None:
    request, cut, full, limit = case
    last = len(request.marks) - 1  # its event, or the closing one, is always there
    hidden = data.draw(st.sets(st.integers(0, last), max_size=6)) - {last}
    marks = [mark for at, mark in enumerate(request.marks) if at not in hidden]
    found = read_steps(marks, cut=cut, full=full, limit=limit)
    if found.sizes is not None or not hidden:
        assert found.sizes == request.sizes
        assert found.drafted == request.drafted
        assert found.accepted == request.accepted
    assert found.count in (len(request.sizes) - 1, None)
    assert sum(found.drafted) == sum(request.drafted)


def test_a_token_withheld_at_a_steps_end_belongs_to_it() -> None:
    request = Played()
    request.step(4, 2)
    request.step(0, 0)
    del request.marks[3]
    found = read_steps(request.marks, cut=False)
    assert found.sizes == [1, 3, 1]


def test_a_token_withheld_at_a_steps_beginning_belongs_to_it_if_none_is_missing() -> None:
    request = Played()
    request.step(4, 2)
    request.step(4, 1)
    del request.marks[4]
    found = read_steps(request.marks, cut=False)
    assert found.sizes == [1, 3, 2]
    assert (found.drafted, found.accepted) == ([4, 4], [2, 1])


def test_a_withheld_step_makes_the_sizes_ambiguous_but_not_their_number() -> None:
    request = Played()
    request.step(2, 0)
    request.step(2, 1)
    del request.marks[1]
    found = read_steps(request.marks, cut=False)
    assert found.sizes is None
    assert (found.count, found.drafted, found.accepted) == (2, [4], [1])


def test_marks_that_contradict_themselves_are_an_error() -> None:
    marks = [Mark(1, 0.001), Mark(2, 5.0, 4, 3), Mark(3, 9.0, 8, 4)]
    with pytest.raises(EngineError, match=r"3 accepted draft tokens that emitted 1 tokens"):
        read_steps(marks, cut=False)
