from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.stats import NoData, micro_al, pair
from pytest_speedbench.stats.pairing import common_prefix, merge, steps_until

from .stats_makers import parted, recorded, run, slower, trace, without_ids

STEPS = st.lists(st.integers(1, 4), min_size=1, max_size=20)


@given(st.lists(STEPS, min_size=1, max_size=8))
def test_equal_outputs_have_one_al_by_every_evidence(lists: list[list[int]]) -> None:
    old = [trace(f"s{i}", steps) for i, steps in enumerate(lists)]
    pairs = pair(old, [replace(t, steps=np.ones(t.decode_tokens, int)) for t in old])
    assert pairs.prefix is not None
    for sums in (pairs.whole, pairs.matched, pairs.prefix):
        assert sums.coverage == 1
        assert sums.al_ratio().value == pytest.approx(1 / micro_al(old).value)


@given(STEPS, STEPS, st.integers(0, 60))
def test_pairing_is_symmetric(a: list[int], b: list[int], at: int) -> None:
    old = [trace("x", a), trace("y", b)]
    new = parted([trace("x", b), trace("y", a)], at)
    there, back = pair(old, new), pair(new, old)
    assert there.parted == back.parted
    assert there.whole.al_ratio().value * back.whole.al_ratio().value == pytest.approx(1)
    assert there.prefix is not None
    assert back.prefix is not None
    np.testing.assert_allclose(there.prefix.old_steps, back.prefix.new_steps)


@given(STEPS, st.integers(0, 80))
def test_steps_until_a_cut_rise_from_none_to_all(steps: list[int], cut: int) -> None:
    one = trace(steps=steps)
    assert 0 <= steps_until(one, cut) <= steps_until(one, cut + 1) <= len(steps)
    assert steps_until(one, one.output_tokens) == len(steps)


def test_a_straddling_step_counts_by_its_fraction() -> None:
    one = trace(steps=[2, 4, 1], prefill=1)
    assert [steps_until(one, cut) for cut in (0, 1, 2, 3, 4, 7, 8)] == [0, 0, 0.5, 1, 1.25, 2, 3]


def test_the_fraction_hardly_depends_on_where_the_cut_falls() -> None:
    rng = np.random.default_rng(0)
    traces = [trace(f"s{i}", rng.integers(1, 5, size=150).tolist()) for i in range(1000)]
    cuts = rng.integers(50, 150, size=1000)
    counted = sum(steps_until(t, int(cut)) for t, cut in zip(traces, cuts, strict=True))
    assert (cuts - 1).sum() / counted == pytest.approx(micro_al(traces).value, rel=0.01)


def test_the_prefix_ends_at_the_first_differing_token() -> None:
    assert common_prefix(np.array([1, 2, 3]), np.array([1, 9, 3])) == 1
    assert common_prefix(np.array([1, 2]), np.array([1, 2, 3])) == 2
    pairs = pair([trace(steps=[3, 3])], parted([trace(steps=[1] * 6)], 4))
    assert pairs.prefix is not None
    assert pairs.prefix.old_tokens.tolist() == pairs.prefix.new_tokens.tolist() == [3]
    assert (pairs.prefix.old_steps[0], pairs.prefix.new_steps[0]) == (1, 3)
    assert pairs.prefix.coverage == 0.5
    assert pairs.parting_rate == 1


def test_a_conversation_parts_for_good() -> None:
    old = [trace(turn=t) for t in range(3)]
    new = [old[0], *parted([old[1]], 3), old[2]]
    pairs = pair(old, new)
    assert pairs.prefix is not None
    assert pairs.prefix.old_tokens[0] == 6 + 2
    assert (pairs.parted, pairs.compared) == (1, 2)
    assert pairs.whole.old_tokens[0] == 18


def test_a_missing_turn_ends_the_common_conversation() -> None:
    old = [trace(turn=t) for t in range(3)]
    pairs = pair(old, [old[0], old[2]])
    assert pairs.prefix is not None
    assert pairs.prefix.old_tokens[0] == 6
    assert pairs.only_old == ("a#1",)


def test_an_output_that_stops_earlier_parts() -> None:
    pairs = pair([trace(steps=[2] * 10)], [trace(steps=[2] * 4)])
    assert pairs.prefix is not None
    assert pairs.parting_rate == 1
    assert pairs.matched.old_tokens.tolist() == [8]
    assert pairs.matched.coverage == pytest.approx(16 / 28)


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
    assert pairs.parting_rate is None
    assert pair(old, old, greedy=False).prefix is None


def test_outputs_of_one_token_leave_nothing_to_compare() -> None:
    old = [trace(f"s{i}", []) for i in range(9)]
    with pytest.raises(NoData, match="zero"):
        pair(old, old).whole.al_ratio()


def test_merged_blocks_equal_one_pairing() -> None:
    old, new = run(1, n=20), parted(slower(run(1, n=20), 0.3), 25)
    whole = pair(old, new)
    joined = merge([pair(old[:8], new[:8]), pair(old[8:], new[8:])])
    assert whole.prefix is not None
    assert joined.prefix is not None
    assert joined.prefix.coverage == pytest.approx(whole.prefix.coverage)
    assert joined.prefix.al_ratio() == whole.prefix.al_ratio()
    assert (joined.parted, joined.compared) == (whole.parted, whole.compared)
    with pytest.raises(NoData, match="no blocks"):
        merge([])


def test_on_recorded_rebuilds_the_prefix_is_far_sharper() -> None:
    pairs = pair(recorded("eagle3-v49152-dl3", 32), recorded("eagle3-v49152-dl3", 128))
    assert pairs.prefix is not None
    prefix, whole = pairs.prefix.al_ratio(), pairs.whole.al_ratio()
    assert pairs.parting_rate == pytest.approx(0.473, abs=0.001)
    assert prefix.high - prefix.low < (whole.high - whole.low) / 5  # type: ignore[operator]
