"""What a reader must know of the answers behind the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines import Speculation, Trace
from pytest_speedbench.measure.notes import answer_notes, evicted
from pytest_speedbench.measure.results import ArmResult, Turn


def prompted(*counted: int, ids: int = 5) -> ArmResult:
    """An answer for each prompt of ``ids`` tokens that the server counts as so many."""
    turns = [
        Turn(f"s{n}", "math", 0, Trace("r", count, 0.0, [9], [1], [0.1]), range(ids))
        for n, count in enumerate(counted)
    ]
    return ArmResult(Speculation("eagle3", 3), turns=turns)


def test_prompts_that_a_server_renders_otherwise_are_noted() -> None:
    (note,) = answer_notes(prompted(6, 6, 5), None)
    assert "in 2 of 3 requests" in note
    assert "(median +1)" in note
    assert "adds a second BOS" in note


def test_prompts_that_agree_or_have_no_ids_here_are_not() -> None:
    assert answer_notes(prompted(5, 5), None) == []
    assert answer_notes(prompted(6, 6, ids=0), None) == []


def test_turns_that_do_not_fit_the_context_are_counted() -> None:
    turns = [
        Turn(sample, "math", turn, Trace("r", 5, 0.0, [9], [1], [0.1]), unsent=unsent)
        for sample, turn, unsent in (("a", 0, 0), ("a", 1, 3), ("b", 0, 5), ("c", 0, 0))
    ]
    assert answer_notes(ArmResult(Speculation("eagle3", 3), turns=turns), None) == [
        "2 of 3 conversations end early: 8 of 12 turns do not fit the context window"
    ]


@given(st.lists(st.integers(1, 2000)), st.integers(1, 128), st.booleans())
def test_whole_blocks_of_every_prompt_are_no_eviction(
    prompts: list[int], block: int, drops_last: bool
) -> None:
    """vLLM leaves out the last block under EAGLE."""
    held = [max(0, (p - 1) // block - drops_last) * block for p in prompts]
    assert evicted(warm(prompts, held)) == 0


def test_prompts_that_were_evicted_are_counted() -> None:
    assert evicted(warm([200, 300, 400, 500], [128, 128, 0, 256])) == 1
    assert evicted(warm([200, 200, 200], [0, 192, 0])) == 2


def warm(prompts: Sequence[int], held: Sequence[int]) -> list[Trace]:
    return [
        Trace("r", prompt, 0.0, cached_tokens=cached)
        for prompt, cached in zip(prompts, held, strict=True)
    ]
