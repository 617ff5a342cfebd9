"""Coverage of a vocabulary: shares, the exact ceiling of AL, and what a drafter is left with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.analysis.coverage import (
    Output,
    costliest_tokens,
    fewest_steps,
    measure_coverage,
    rank_tokens,
)
from pytest_speedbench.analysis.pruned_acceptance import expect_acceptance, expect_by_slice
from pytest_speedbench.errors import NoData

VOCABULARY = 8
TEXTS = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=30)
IDS = st.sets(st.integers(0, VOCABULARY - 1), min_size=1)
LENGTHS = st.integers(1, 5)


def output(ids: list[int], sample: str = "a", steps: list[int] | None = None) -> Output:
    """One output, all of whose tokens are decoded."""
    sizes = None if steps is None else np.array(steps)
    return Output(sample, "math", "en", np.array(ids, dtype=np.int64), 0, sizes)


def walked(ids: list[int], inside: set[int], dl: int, wrong: set[int] = frozenset()) -> list[int]:
    """The steps of a drafter that is right wherever it can be, but for the places ``wrong``."""
    steps, at = [], 0
    while at < len(ids):
        size = 0
        while size < dl and at + size < len(ids) and ids[at + size] in inside:
            if at + size in wrong:
                break
            size += 1
        steps.append(min(size + 1, len(ids) - at))
        at += steps[-1]
    return steps


@given(ids=TEXTS, inside=IDS, dl=LENGTHS)
def test_the_ceiling_is_what_a_perfect_drafter_reaches(
    ids: list[int], inside: set[int], dl: int
) -> None:
    outside = np.array([token not in inside for token in ids])
    assert fewest_steps(outside, dl) == len(walked(ids, inside, dl))


@given(ids=TEXTS, inside=IDS, dl=LENGTHS, wrong=st.sets(st.integers(0, 29)))
def test_no_drafter_exceeds_it(ids: list[int], inside: set[int], dl: int, wrong: set[int]) -> None:
    outside = np.array([token not in inside for token in ids])
    assert fewest_steps(outside, dl) <= len(walked(ids, inside, dl, wrong))


@given(ids=TEXTS, inside=IDS, dl=LENGTHS)
def test_more_tokens_and_longer_drafts_never_lower_it(
    ids: list[int], inside: set[int], dl: int
) -> None:
    outside = np.array([token not in inside for token in ids])
    fewer = outside & (np.array(ids) != ids[0])
    assert fewest_steps(outside, dl + 1) <= fewest_steps(outside, dl)
    assert fewest_steps(fewer, dl) <= fewest_steps(outside, dl)
    assert fewest_steps(np.zeros(len(ids), dtype=bool), dl) == -(-len(ids) // (dl + 1))


def test_slices_are_all_categories_and_languages() -> None:
    outputs = [
        Output("a", "math", "en", np.array([9, 1, 1, 2, 1])),
        Output("a", "math", "en", np.array([9, 1, 1])),
        Output("b", "qa", "fr", np.array([9, 2, 1])),
        Output("c", "qa", "en", np.array([9])),  # ended with the prefill's token
    ]
    found = measure_coverage(outputs, np.array([0, 1]), [1, 3])
    assert [(s.axis, s.name, s.samples, s.tokens, s.outside) for s in found] == [
        ("all", "all", 2, 8, 2),
        ("category", "math", 1, 6, 1),
        ("category", "qa", 1, 2, 1),
        ("language", "en", 1, 6, 1),
        ("language", "fr", 1, 2, 1),
    ]
    whole, cut = 8 / 3, 8 / 5  # 1 1 2 | 1 and 1 1 and 2 | 1, against one step each
    assert found[0].ceilings[1].acceptance_length == pytest.approx(cut)
    assert found[0].ceilings[1].whole == pytest.approx(whole)
    assert found[0].ceilings[1].loss == pytest.approx(1 - cut / whole)
    assert found[0].share_outside == 0.25


def test_tokens_that_cost_steps_come_first() -> None:
    # Token 5 ends a step that would end there anyway; each 7 costs one.
    outputs = [output([1, 1, 1, 5, 1, 1, 1, 5, 1, 7, 1, 1])]
    found = costliest_tokens(outputs, np.array([1]), draft_length=3)
    assert [(t.token_id, t.count, t.steps) for t in found] == [(7, 1, 1), (5, 2, 0)]


@given(texts=st.lists(TEXTS, min_size=1, max_size=4), inside=IDS, dl=LENGTHS)
def test_a_lost_token_costs_what_the_ceiling_gains_with_it(
    texts: list[list[int]], inside: set[int], dl: int
) -> None:
    outputs = [output(ids) for ids in texts]

    def steps(known: set[int]) -> int:
        return sum(fewest_steps(np.array([t not in known for t in ids]), dl) for ids in texts)

    for lost in costliest_tokens(outputs, np.array(sorted(inside)), dl):
        assert lost.token_id not in inside
        assert lost.count == sum(ids.count(lost.token_id) for ids in texts)
        assert lost.steps == steps(inside) - steps(inside | {lost.token_id})


def test_tokens_are_ranked_by_frequency_and_those_unseen_by_id() -> None:
    ranking = rank_tokens([output([3, 3, 1, 6, 6, 6])], 8, first=[7])
    assert ranking.tolist() == [7, 6, 3, 1, 0, 2, 4, 5]


def test_nothing_to_count_is_no_data() -> None:
    with pytest.raises(NoData, match="no output has a decoded token"):
        measure_coverage([Output("a", "math", "en", np.array([3]))], np.array([0]), [3])
    with pytest.raises(NoData, match="no output has a token"):
        rank_tokens([], 8)
    with pytest.raises(NoData, match="needs the decoding steps of every output"):
        expect_acceptance([output([1, 2])], np.array([0]), 3)


@given(ids=TEXTS, dl=LENGTHS)
def test_the_whole_vocabulary_costs_nothing(ids: list[int], dl: int) -> None:
    steps = walked(ids, {0, 1, 2}, dl)
    found = expect_acceptance([output(ids, steps=steps)], np.arange(VOCABULARY), dl)
    assert found.expected == pytest.approx(found.measured)
    assert found.measured == pytest.approx(len(ids) / len(steps))


def test_the_expected_loss_is_that_of_a_drafter_with_the_cut() -> None:
    """A chain drafter, simulated with the whole vocabulary and with the cut."""
    draw, dl, chances, inside = np.random.default_rng(1), 3, (0.8, 0.7, 0.6), range(6)

    def steps_of(ids: np.ndarray, known: np.ndarray) -> list[int]:
        steps, at = [], 0
        while at < len(ids):
            size = 0
            while size < dl and at + size < len(ids) and known[ids[at + size]]:
                if draw.random() >= chances[size]:
                    break
                size += 1
            steps.append(min(size + 1, len(ids) - at))
            at += steps[-1]
        return steps

    texts = [draw.integers(0, VOCABULARY, 200) for _ in range(60)]
    known = np.isin(np.arange(VOCABULARY), inside)
    outputs = [
        output(ids, str(n), steps_of(ids, np.ones(VOCABULARY, dtype=bool)))
        for n, ids in enumerate(texts)
    ]
    found = expect_by_slice(outputs, np.array(inside), dl)[0]
    cut = sum(map(len, texts)) / sum(len(steps_of(ids, known)) for ids in texts)
    assert found.expected == pytest.approx(cut, rel=0.02)
    assert found.loss > 0.1
