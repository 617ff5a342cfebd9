from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.stats import NoData, micro_al, pair
from pytest_speedbench.stats.pairing import common_prefix, last_common_start, merge

from .stats_makers import diverging, recorded, run, slower, trace, without_ids

STEPS = st.lists(st.integers(1, 4), min_size=1, max_size=20)


@given(st.lists(STEPS, min_size=1, max_size=8))
def test_equal_outputs_have_one_al_by_every_evidence(lists: list[list[int]]) -> None:
    old = [trace(f"s{i}", steps) for i, steps in enumerate(lists)]
    pairs = pair(old, [replace(t, steps=np.ones(t.decode_tokens, int)) for t in old])
    assert pairs.prefix is not None
    for sums in (pairs.whole, pairs.prefix):
        assert sums.coverage == 1
        assert sums.al_ratio().value == pytest.approx(1 / micro_al(old).value)


@given(STEPS, STEPS, st.integers(0, 60))
def test_pairing_is_symmetric(a: list[int], b: list[int], at: int) -> None:
    old = [trace("x", a), trace("y", b)]
    new = diverging([trace("x", b), trace("y", a)], at)
    there, back = pair(old, new), pair(new, old)
    assert there.diverged == back.diverged
    assert there.whole.al_ratio().value * back.whole.al_ratio().value == pytest.approx(1)
    assert there.prefix is not None
    assert back.prefix is not None
    np.testing.assert_allclose(there.prefix.old_steps, back.prefix.new_steps)


@given(STEPS, STEPS, st.integers(0, 60))
def test_a_prefix_is_the_same_tokens_in_whole_steps(a: list[int], b: list[int], at: int) -> None:
    prefix = pair([trace(steps=a)], diverging([trace(steps=b)], at)).prefix
    assert prefix is not None
    tokens, old, new = (int(x[0]) for x in (prefix.old_tokens, prefix.old_steps, prefix.new_steps))
    assert tokens == prefix.new_tokens[0] <= max(at - 1, 0) or sum(a) == sum(b) == tokens
    assert sum(a[:old]) == sum(b[:new]) == tokens
    assert prefix.new_steps[0] <= tokens


def test_the_cut_is_where_both_start_a_step() -> None:
    assert last_common_start(np.array([1, 3, 7]), np.array([1, 2, 3, 5]), 6) == 3
    assert last_common_start(np.array([1, 3, 7]), np.array([1, 2, 3, 5]), 2) == 1
    assert last_common_start(np.array([1]), np.array([1]), 0) is None


@given(STEPS, STEPS | st.just([]), st.integers(0, 60))
def test_the_cut_is_the_last_of_the_common_starts(a: list[int], b: list[int], at: int) -> None:
    old, new = (np.cumsum([1, *steps], dtype=int)[: len(steps)] for steps in (a, b))
    common = [start for start in {*old.tolist()} & {*new.tolist()} if start <= at]
    assert last_common_start(old, new, at) == max(common, default=None)


def test_prefixes_of_exchangeable_runs_have_the_same_steps_on_average() -> None:
    """Any law of steps, divergences at random places: the difference has mean zero."""
    rng = np.random.default_rng(0)
    law, n = np.array([0.5, 0.05, 0.05, 0.4]), 4000
    runs = [[trace(f"s{i}", rng.choice(4, size=30, p=law) + 1) for i in range(n)] for _ in range(2)]
    for t, other in zip(*runs, strict=True):
        at = int(rng.geometric(0.05))
        other.token_ids[at:] = -1  # type: ignore[index]
        assert t.token_ids is not None
    prefix = pair(*runs).prefix
    assert prefix is not None
    extra = prefix.new_steps - prefix.old_steps
    assert abs(extra.mean()) < 3.3 * extra.std() / n**0.5
    assert prefix.old_steps.mean() > 3


def test_the_prefix_ends_at_the_first_differing_token() -> None:
    assert common_prefix(np.array([1, 2, 3]), np.array([1, 9, 3])) == 1
    assert common_prefix(np.array([1, 2]), np.array([1, 2, 3])) == 2
    pairs = pair([trace(steps=[3, 3])], diverging([trace(steps=[1] * 6)], 5))
    assert pairs.prefix is not None
    assert pairs.prefix.old_tokens.tolist() == pairs.prefix.new_tokens.tolist() == [3]
    assert (pairs.prefix.old_steps[0], pairs.prefix.new_steps[0]) == (1, 3)
    assert pairs.prefix.coverage == 0.5
    assert pairs.divergence_rate == 1


def test_a_conversation_diverges_for_good() -> None:
    old = [trace(turn=t) for t in range(3)]
    new = [old[0], *diverging([old[1]], 3), old[2]]
    pairs = pair(old, new)
    assert pairs.prefix is not None
    assert pairs.prefix.old_tokens[0] == 6 + 2
    assert (pairs.diverged, pairs.compared) == (1, 2)
    assert pairs.whole.old_tokens[0] == 18


def test_a_missing_turn_ends_the_common_conversation() -> None:
    old = [trace(turn=t) for t in range(3)]
    pairs = pair(old, [old[0], old[2]])
    assert pairs.prefix is not None
    assert pairs.prefix.old_tokens[0] == 6
    assert pairs.only_old == ("a#1",)


def test_an_output_that_stops_earlier_diverges() -> None:
    pairs = pair([trace(steps=[2] * 10)], [trace(steps=[2] * 4)])
    assert pairs.prefix is not None
    assert pairs.divergence_rate == 1
    assert pairs.prefix.old_tokens.tolist() == [6]  # what came after its last step is not known


def test_a_sample_that_errored_in_one_run_is_listed() -> None:
    old = run(1, n=10)
    pairs = pair(old, old[1:])
    assert pairs.only_old == ("s0",)
    assert pair(old[1:], old).only_new == ("s0",)
    assert len(pairs.whole.samples) == 9


def test_no_common_sample_is_no_data() -> None:
    with pytest.raises(NoData, match="no sample in common"):
        pair([trace("a")], [trace("b")])
    with pytest.raises(NoData, match="no sample in common"):
        pair([trace(turn=0)], [trace(turn=1)])


def test_a_sample_keeps_its_stratum() -> None:
    with pytest.raises(ValueError, match="'math' in the old run and 'qa' in the new"):
        pair([trace()], [trace(stratum="qa")])


def test_without_token_ids_there_is_no_prefix() -> None:
    old = run(1, n=6)
    pairs = pair(old, without_ids(old))
    assert pairs.prefix is None
    assert pairs.divergence_rate is None
    assert pair(old, old, greedy=False).prefix is None


def test_outputs_of_one_token_leave_nothing_to_compare() -> None:
    old = [trace(f"s{i}", []) for i in range(9)]
    with pytest.raises(NoData, match="zero"):
        pair(old, old).whole.al_ratio()


def test_merged_blocks_equal_one_pairing() -> None:
    old, new = run(1, n=20), diverging(slower(run(1, n=20), 0.3), 25)
    whole = pair(old, new)
    joined = merge([pair(old[:8], new[:8]), pair(old[8:], new[8:])])
    assert whole.prefix is not None
    assert joined.prefix is not None
    assert joined.prefix.coverage == pytest.approx(whole.prefix.coverage)
    assert joined.prefix.al_ratio() == whole.prefix.al_ratio()
    assert (joined.diverged, joined.compared) == (whole.diverged, whole.compared)
    with pytest.raises(NoData, match="no blocks"):
        merge([])


def test_on_recorded_rebuilds_the_prefix_is_far_sharper() -> None:
    pairs = pair(recorded("eagle3-v49152-dl3", 32), recorded("eagle3-v49152-dl3", 128))
    assert pairs.prefix is not None
    prefix, whole = pairs.prefix.al_ratio(), pairs.whole.al_ratio()
    assert pairs.divergence_rate == pytest.approx(0.473, abs=0.001)
    assert prefix.high - prefix.low < (whole.high - whole.low) / 5  # type: ignore[operator]
