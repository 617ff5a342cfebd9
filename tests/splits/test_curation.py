"""Curation against a naive reference on small pools and the exact optimum on tiny ones."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_speedbench.splits import Sample, SplitError
from pytest_speedbench.splits.curate import (
    MINIMA,
    Minimum,
    distinct,
    minimum_quotas,
    nested_order,
    random_similarity,
)
from pytest_speedbench.splits.curation import (
    Quota,
    Selection,
    mean_similarity,
    select,
    unit_rows,
)

from .conftest import sample

Floats = NDArray[np.float64]
SEEDS = st.integers(0, 10_000)


def pool(seed: int, n: int, d: int = 6) -> Floats:
    """Return ``n`` unit rows with a common direction, as sentence embeddings have."""
    rng = np.random.default_rng(seed)
    return unit_rows(rng.normal(size=(n, d)) + rng.normal(size=d))


def total(rows: Floats, chosen: tuple[int, ...]) -> float:
    return sum(float(rows[i] @ rows[j]) for i, j in combinations(chosen, 2))


def naive(rows: Floats, k: int, first: int) -> tuple[list[int], float, float]:
    """Greedy and best swaps as one would write them down: everything computed anew."""
    chosen = [first]
    while len(chosen) < k:
        left = [i for i in range(len(rows)) if i not in chosen]
        chosen.append(min(left, key=lambda i: sum(float(rows[i] @ rows[c]) for c in chosen)))
    greedy = total(rows, tuple(chosen))
    while True:
        swaps = [
            [*chosen[:at], i, *chosen[at + 1 :]]
            for at in range(k)
            for i in range(len(rows))
            if i not in chosen
        ]
        best = min(swaps, key=lambda trial: total(rows, tuple(trial)), default=chosen)
        if total(rows, tuple(best)) >= total(rows, tuple(chosen)) - 1e-9:
            return chosen, greedy, total(rows, tuple(chosen))
        chosen = best


@given(SEEDS, st.integers(2, 14), st.data())
def test_same_objective_as_the_naive_reference(seed: int, n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    rows = pool(seed, n)
    found = select(rows, k, seed=seed)
    first = int(np.random.default_rng(seed).permutation(n)[0])
    _, greedy, final = naive(rows, k, first)
    pairs = max(1, k * (k - 1) / 2)
    assert found.greedy_similarity * pairs == pytest.approx(greedy, abs=1e-7)
    assert found.mean_similarity * pairs <= final + 1e-7
    assert found.mean_similarity * pairs == pytest.approx(total(rows, found.indices), abs=1e-7)


@given(SEEDS, st.integers(2, 9), st.data())
def test_never_below_and_all_starts_near_the_exact_optimum(
    seed: int, n: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(2, n))
    rows = pool(seed, n)
    best = min(total(rows, c) for c in combinations(range(n), k))
    got = total(rows, select(rows, k, seed=seed, starts=n).indices)
    assert got >= best - 1e-9
    if k in (2, n - 1, n):  # all starts reach every pair; one swap reaches every n - 1
        assert got == pytest.approx(best, abs=1e-9)


def test_the_exact_optimum_is_usual_on_tiny_pools() -> None:
    hits, gaps = 0, []
    for seed in range(200):
        rows = pool(seed, 10)
        best = min(total(rows, c) for c in combinations(range(10), 4))
        gap = total(rows, select(rows, 4, seed=seed).indices) - best
        hits += gap < 1e-9
        gaps.append(gap / 6)
    assert hits >= 150
    assert np.mean(gaps) < 0.01


@given(SEEDS, st.integers(4, 30))
def test_no_single_swap_improves_and_swaps_never_hurt(seed: int, n: int) -> None:
    rows, k = pool(seed, n), n // 2
    found = select(rows, k, seed=seed)
    assert len(set(found.indices)) == k
    assert found.mean_similarity <= found.greedy_similarity + 1e-12
    now = total(rows, found.indices)
    for at in range(k):
        for i in set(range(n)) - set(found.indices):
            trial = (*found.indices[:at], i, *found.indices[at + 1 :])
            assert total(rows, trial) >= now - 1e-8


@given(SEEDS, st.integers(6, 25))
def test_a_quota_is_kept(seed: int, n: int) -> None:
    rows, k = pool(seed, n), n // 2
    members = tuple(i % 3 == 0 for i in range(n))
    needed = min(k, sum(members))
    found = select(rows, k, seed=seed, quotas=[Quota(members, needed)])
    assert sum(members[i] for i in found.indices) >= needed
    free = select(rows, k, seed=seed, quotas=[Quota(members, 0)])
    assert free.indices == select(rows, k, seed=seed).indices


@given(SEEDS, st.integers(4, 25), st.data())
def test_several_quotas_are_kept_and_may_overlap(seed: int, n: int, data: st.DataObject) -> None:
    rows, k = pool(seed, n), data.draw(st.integers(2, n))
    quotas, left = [], k
    for _ in range(data.draw(st.integers(1, 3))):
        members = tuple(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
        quotas.append(Quota(members, data.draw(st.integers(0, min(left, sum(members))))))
        left -= quotas[-1].at_least
    found = select(rows, k, seed=seed, starts=2, quotas=quotas)
    assert len(set(found.indices)) == k
    for quota in quotas:
        assert sum(quota.members[i] for i in found.indices) >= quota.at_least
    assert found.mean_similarity <= found.greedy_similarity + 1e-12


def test_a_quota_costs_no_more_than_it_must() -> None:
    """Rows 0 to 3 are all alike, the others all different: one row of the first four is enough."""
    rows = np.vstack([np.tile(np.eye(8)[0], (4, 1)), np.eye(8)[1:]])
    quotas = [Quota((True,) * 4 + (False,) * 7, 1), Quota((False,) * 9 + (True, True), 2)]
    found = select(rows, 6, starts=4, quotas=quotas)
    assert sum(i < 4 for i in found.indices) == 1
    assert {9, 10} <= set(found.indices)
    assert found.mean_similarity == pytest.approx(0)


def test_minima_become_quotas_that_the_pool_and_the_size_allow() -> None:
    long, russian = "word " * 901, "Почему листья желтеют?"
    texts = [(long,), ("word " * 900,), (russian, "А зимой?"), ("a", "b"), ("a",)]
    samples = [sample(str(i), "rag", *turns) for i, turns in enumerate(texts)]
    multi, length = minimum_quotas("rag", samples, 80)
    assert multi == Quota((False, False, True, True, False), 2)
    assert length == Quota((True, False, False, False, False), 1)
    *_, script, chinese = minimum_quotas("multilingual", samples, 80)
    assert chinese.at_least == 0
    assert script == Quota((False, False, True, False, False), 1)
    assert [quota.at_least for quota in minimum_quotas("multilingual", samples, 1)] == [1, 0, 0, 0]


def test_minima_of_eighty() -> None:
    samples = [sample(str(i), "multilingual", "щ " * 901, "да") for i in range(90)]
    required = [quota.at_least for quota in minimum_quotas("multilingual", samples, 80)]
    assert required == [16, 5, 27, 0]
    assert [m.category for m in MINIMA] == [None, None, "multilingual", "multilingual"]
    chinese = Sample("1", "multilingual", ("你好，请帮我写信",), language="zh")
    about = Sample("2", "multilingual", ("Why does 你好 mean hello?",), language="zh")
    quota = minimum_quotas("multilingual", [chinese, about] * 40, 80)[-1]
    assert quota == Quota((True, False) * 40, 2)
    own = Minimum("hard", 0.5, lambda one: one.difficulty == "hard")
    assert [q.at_least for q in minimum_quotas("qa", samples, 80, [own])] == [0]


def test_the_same_seed_gives_the_same_selection_and_scale_does_not_matter() -> None:
    rows = pool(1, 60)
    assert select(rows, 12, seed=3) == select(rows, 12, seed=3)
    scaled = rows * np.linspace(0.1, 9, 60)[:, None]
    assert select(scaled, 12, seed=3).indices == select(rows, 12, seed=3).indices


def test_more_starts_are_never_worse_and_beat_random() -> None:
    rows = pool(5, 80, 16)
    one, many = select(rows, 20), select(rows, 20, starts=20)
    assert many.mean_similarity <= one.mean_similarity < random_similarity(rows, 20, 0)


def test_progress_is_told() -> None:
    reported: list[tuple[str, int, int]] = []
    found = select(pool(2, 40), 10, progress=lambda *what: reported.append(what))
    assert reported[:9] == [("greedy", i, 10) for i in range(2, 11)]
    assert reported[9:] == [("swap", i, 0) for i in range(1, found.swaps + 1)]


def test_mean_similarity_is_the_mean_over_pairs() -> None:
    rows = pool(4, 9)
    assert mean_similarity(rows) == pytest.approx(total(rows, tuple(range(9))) / 36)
    assert mean_similarity(rows[:1]) == 0.0


@pytest.mark.parametrize(
    ("rows", "k", "more", "message"),
    [
        (np.zeros((0, 3)), 1, {}, r"N by D, both at least 1, got shape \(0, 3\)"),
        (np.ones(3), 1, {}, r"got shape \(3,\)"),
        (np.array([[1.0, 0], [0, 0]]), 1, {}, "row 1 is zero or not finite"),
        (np.array([[np.nan, 0], [0, 1]]), 1, {}, "row 0 is zero or not finite"),
        (np.eye(3), 4, {}, "cannot select 4 of 3"),
        (np.eye(3), 0, {}, "cannot select 0 of 3"),
        (np.eye(3), 1, {"starts": 0}, "starts must be at least 1, got 0"),
        (np.eye(3), 1, {"quotas": [Quota((True,), 1)]}, "1 flags for 3 candidates"),
        (
            np.eye(3),
            2,
            {"quotas": [Quota((True, False, False), 2)]},
            "requires at least 2 of 2 rows",
        ),
        (
            np.eye(3),
            2,
            {"quotas": [Quota((True, True, False), 1), Quota((True, False, True), 2)]},
            "quotas require 3 rows in all, but 2 are selected",
        ),
    ],
)
def test_bad_input(rows: Floats, k: int, more: dict[str, object], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        select(rows, k, **more)  # type: ignore[arg-type]


def test_near_duplicates_and_reference_prompts_are_left_out() -> None:
    rows = unit_rows([[1.0, 0, 0], [1.0, 0.1, 0], [0, 1.0, 0], [0, 0, 1.0]])
    assert distinct(rows) == [0, 2, 3]
    assert distinct(rows, references=unit_rows([[0, 0.1, 1.0]])) == [0, 2]


def test_nested_order_spreads_multi_turn_samples() -> None:
    rows = pool(7, 20)
    samples = [sample(str(i), "qa", *(["x"] * (1 + (i % 4 == 0)))) for i in range(20)]
    found = Selection(tuple(range(20)), 0.0, 0.0, 0)
    order = nested_order(found, rows, samples)
    assert sorted(order) == list(range(20))
    for end in range(1, 21):
        multi = sum(samples[i].multiturn for i in order[:end])
        assert abs(multi - end / 4) <= 1
