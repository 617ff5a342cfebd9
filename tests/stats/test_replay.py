"""Replay compares both builds on the same tokens, in whole steps, without bias."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.stats import (
    Conclusion,
    NoData,
    ReplayedSums,
    Segment,
    StepTrace,
    count_common,
    count_replayed,
    divergence_of,
    falls_with_distance,
    next_resume,
    non_inferiority,
    replayed_sums,
)
from pytest_speedbench.stats.sums import merge_replayed

from .replays import World, replayed
from .stats_makers import trace, without_ids

#            0 | 1 2 | 3 | 4 5 6 | 7 8
BASELINE = trace(steps=[2, 1, 3, 2])


def segment(start: int, steps: list[int], ids: list[int], prefill: int = 1) -> Segment:
    return Segment(start, prefill, np.array(steps, dtype=np.int64), np.array(ids))


def test_the_free_output_counts_up_to_the_last_common_start() -> None:
    free = segment(0, [2, 2, 2, 2], [0, 1, 2, 3, 4, 9, 9, 9, 9])  # starts at 1, 3, 5, 7
    assert divergence_of(BASELINE, free) == 5
    counted = count_replayed(BASELINE, [free])
    assert (counted.tokens, counted.old_steps, counted.new_steps) == (2, 1, 1)
    assert (counted.left_out, counted.divergences) == (6, 1)


def test_a_request_resumes_so_that_a_step_of_the_baseline_is_its_first() -> None:
    resume = next_resume(BASELINE, 5)
    assert resume is not None
    assert (resume.prompt_tokens, resume.counted_from) == (6, 7)  # the prefill emits token 6
    assert next_resume(BASELINE, 1) == next_resume(BASELINE, 0)  # the prompt holds the token
    verified = next_resume(BASELINE, 2, prefill_tokens=0)
    assert verified is not None
    assert (verified.prompt_tokens, verified.counted_from) == (3, 3)  # a first pass is a step
    assert next_resume(BASELINE, 6) is None


def test_a_worked_example() -> None:
    free = segment(0, [1, 1, 2, 4], [0, 1, 2, 3, 9, 9, 9, 9, 9])  # starts at 1, 2, 3, 5
    rest = segment(6, [1, 1], [6, 7, 8])
    counted = count_replayed(BASELINE, [free, rest])
    # Tokens 1 and 2, then 7 and 8: 2 of the baseline's steps against 4.
    assert (counted.tokens, counted.old_steps, counted.new_steps) == (4, 2, 4)
    assert counted.left_out == 4
    logs = np.log([2, 3, 2, 3])  # of tokens 1, 2, 7, 8: one and two tokens after their prompts
    assert counted.old_distance == pytest.approx(logs.sum() / 2)
    assert counted.new_distance == pytest.approx(logs.sum())


def test_two_builds_along_one_text_count_between_common_starts() -> None:
    text = trace(steps=[1] * 8)  # ids 0 … 8
    whole = segment(0, [2, 1, 3, 2], list(range(9)))  # starts at 1, 3, 4, 7
    free = segment(0, [1, 1, 2, 4], [0, 1, 2, 3, 9, 9, 9, 9, 9])  # starts at 1, 2, 3, 5
    rest = segment(5, [1, 2], [5, 6, 7, 8])  # starts at 6, 7
    counted = count_common(text, [whole], [free, rest])
    assert (counted.tokens, counted.old_steps, counted.new_steps) == (4, 2, 3)  # 1 … 3, 7 and 8
    swapped = count_common(text, [free, rest], [whole])
    assert (swapped.tokens, swapped.old_steps, swapped.new_steps) == (4, 3, 2)
    assert (counted.divergences, swapped.divergences) == (1, 0)


def test_an_output_without_a_divergence_counts_whole() -> None:
    same = segment(0, [2, 1, 3, 2], list(range(9)))
    counted = count_replayed(BASELINE, [same])
    assert divergence_of(BASELINE, same) is None
    assert (counted.tokens, counted.old_steps, counted.new_steps) == (8, 4, 4)
    assert counted.left_out == 0


@pytest.mark.parametrize("ids", [list(range(7)), list(range(11))], ids=["too early", "too late"])
def test_an_output_of_another_length_differs_at_its_end(ids: list[int]) -> None:
    other = segment(0, [2, 1, len(ids) - 4], ids)
    assert divergence_of(BASELINE, other) == min(len(ids), 9)
    assert count_replayed(BASELINE, [other]).tokens == 3  # up to token 4, where both start a step


def test_a_first_pass_that_verifies_drafts_is_a_step() -> None:
    old = trace(steps=[3, 2, 4], prefill=0)
    free = segment(0, [3, 6], [0, 1, 2, 3, 9, 9, 9, 9, 9], prefill=0)
    rest = segment(5, [2, 2], [5, 6, 7, 8], prefill=0)
    counted = count_replayed(old, [free, rest])
    assert (counted.tokens, counted.old_steps, counted.new_steps) == (7, 2, 3)


def test_a_request_that_differs_at_once_adds_nothing() -> None:
    counted = count_replayed(BASELINE, [segment(0, [8], [9] * 9), segment(2, [6], [9] * 7)])
    assert (counted.tokens, counted.divergences) == (0, 2)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([segment(1, [2, 1, 3], [1, 2, 3, 4, 5, 6, 7])], "where no step of the baseline does"),
        ([segment(0, [8], list(range(9))), segment(2, [6], list(range(2, 9)))], "what was counted"),
        ([segment(0, [3], list(range(9)))], "9 token ids for other step sizes"),
    ],
)
def test_segments_that_contradict_the_baseline(segments: list[Segment], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_replayed(BASELINE, segments)


def test_replay_needs_token_ids() -> None:
    with pytest.raises(ValueError, match="needs the baseline's token ids"):
        count_replayed(without_ids([BASELINE])[0], [segment(0, [8], list(range(9)))])
    with pytest.raises(NoData, match="nothing was replayed"):
        replayed_sums([])


ACCEPT = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=7)


@given(ACCEPT, st.integers(0, 1), st.floats(0, 0.3), st.integers(2, 60), st.integers(0, 10**6))
def test_counted_tokens_are_whole_steps_of_both_and_none_is_counted_twice(
    accept: list[float], prefill: int, ties: float, tokens: int, seed: int
) -> None:
    baseline, segments = replayed(World(tuple(accept), ties, prefill=prefill), tokens, seed)
    counted = count_replayed(baseline, segments)
    assert counted.tokens + counted.left_out == baseline.decode_tokens
    assert counted.left_out >= 0
    for steps in (counted.old_steps, counted.new_steps):
        assert counted.tokens / (len(accept) + 1) <= steps <= counted.tokens
    if not any(divergence_of(baseline, s) is not None for s in segments):
        assert counted.left_out == 0


@given(ACCEPT, st.floats(0, 0.3), st.integers(2, 60), st.integers(0, 10**6))
def test_the_same_steps_on_both_sides_change_nothing(
    accept: list[float], ties: float, tokens: int, seed: int
) -> None:
    """Every resumption falls in with the baseline, whose steps it repeats."""
    baseline, _ = replayed(World(tuple(accept), 0.0), tokens, seed)
    differs = np.flatnonzero(np.random.default_rng(seed).random(tokens) < ties)
    segments, start = [], 0
    while True:
        later = differs[differs >= (start + 1 if start else 0)]
        ids = np.arange(start, tokens)
        ids[later[0] - start if len(later) else tokens :] = -1
        ends = baseline.prefill_tokens + np.cumsum(baseline.steps)
        inside = baseline.steps[ends > start + 1]
        segments.append(Segment(start, 1, inside, ids))
        resume = next_resume(baseline, int(later[0])) if len(later) else None
        if resume is None:
            break
        start = resume.prompt_tokens
    counted = count_replayed(baseline, segments)
    assert counted.old_steps == counted.new_steps
    assert counted.old_distance == pytest.approx(counted.new_distance)


def sums_of(world: World, samples: int, tokens: int = 128) -> ReplayedSums:
    found = []
    for seed in range(samples):
        baseline, segments = replayed(world, tokens, seed)
        found.append((f"s{seed}", f"c{seed % 3}", [count_replayed(baseline, segments)]))
    return replayed_sums(found)


@pytest.mark.parametrize(
    "world",
    [
        World((0.5,), 0.02),
        World((0.8, 0.7, 0.6), 0.02),
        World((0.3, 0.95, 0.95, 0.95), 0.02, agree=0.5),  # steps of 1 or 5
        World((0.9,) * 7, 0.01, prefill=0),
    ],
    ids=["DL 1", "DL 3", "all or nothing", "DL 7, verified"],
)
def test_a_healthy_rebuild_has_no_bias(world: World) -> None:
    replay = sums_of(world, 1200)
    sums = replay.sums
    extra = sums.new_steps - sums.old_steps
    assert abs(extra.mean()) < 3.5 * extra.std() / len(extra) ** 0.5
    assert extra.std() / len(extra) ** 0.5 < 0.01 * sums.old_steps.mean()
    assert replay.divergences > 0.3 * len(extra)


def test_eight_divergences_per_thousand_tokens_leave_out_less_than_four_percent() -> None:
    replay = sums_of(World((0.6, 0.6, 0.6), 0.016), 300)
    assert 0.006 < replay.divergences / (300 * 128) < 0.010
    assert replay.sums.coverage > 0.96


def test_a_loss_is_seen_wherever_it_is() -> None:
    free = sums_of(World((0.8, 0.8, 0.8), 0.0, loss=0.1), 300).sums
    many = sums_of(World((0.8, 0.8, 0.8), 0.02, loss=0.1), 300).sums
    assert many.al_ratio().value == pytest.approx(free.al_ratio().value, abs=0.01)
    assert many.al_ratio().value < 0.95


def test_a_state_that_a_prefill_heals_shows_as_a_trend() -> None:
    healed = sums_of(World((0.8, 0.8, 0.8), 0.02, loss=0.15, heals=20), 300)
    assert falls_with_distance(healed) < 0.01
    even = sums_of(World((0.8, 0.8, 0.8), 0.02, loss=0.15), 300)
    assert falls_with_distance(even) > 0.05


def test_trends_are_rarely_found_where_there_is_none() -> None:
    replay = sums_of(World((0.8, 0.7, 0.6), 0.02, loss=0.05), 1500)
    parts = [_rows(replay, slice(30 * k, 30 * k + 30)) for k in range(50)]
    assert sum(falls_with_distance(part) < 0.1 for part in parts) <= 12


def _rows(replay: ReplayedSums, rows: slice) -> ReplayedSums:
    sums = replay.sums
    kept = {
        name: getattr(sums, name)[rows]
        for name in ("samples", "strata", "old_tokens", "old_steps", "new_tokens", "new_steps")
    }
    return replace(
        replay,
        sums=replace(sums, **kept),
        old_distance=replay.old_distance[rows],
        new_distance=replay.new_distance[rows],
    )


def test_too_few_samples_show_no_trend() -> None:
    assert falls_with_distance(sums_of(World((0.5,), 0.1, loss=0.9, heals=2), 5)) == 1.0


def test_merged_parts_are_the_whole() -> None:
    whole = sums_of(World((0.8, 0.7), 0.02), 40)
    joined = merge_replayed([_rows(whole, slice(0, 15)), _rows(whole, slice(15, 40))])
    assert joined.sums.al_ratio() == whole.sums.al_ratio()
    assert joined.new_distance.tolist() == whole.new_distance.tolist()


# -- the gate ----------------------------------------------------------------------------------


def gated(world: World, samples: int, margin: float, given_up: int = 0):  # type: ignore[no-untyped-def]
    """A decision by replay, beside the free outputs."""
    counted, old, new = [], [], []
    for seed in range(samples):
        baseline, segments = replayed(world, 128, seed)
        name = f"s{seed}"
        counted.append((name, "a", [count_replayed(baseline, segments)]))
        old.append(replace(baseline, sample=name))
        free = segments[0]
        new.append(StepTrace(name, "a", 0, world.prefill, free.steps, free.token_ids))
    sums = replayed_sums(counted, given_up=given_up)
    return non_inferiority(old, new, margin=margin, replayed=sums, draft_length=len(world.accept))


HEALTHY = World((0.8, 0.7, 0.6), 0.01)


def test_replay_gives_a_pass_with_few_samples() -> None:
    decision = gated(HEALTHY, 100, 0.05)
    assert decision.conclusion is Conclusion.PASS
    assert decision.carried_by.evidence == "replay"
    assert "over the baseline's text (9" in decision.reason


def test_replay_gives_a_fail() -> None:
    decision = gated(replace(HEALTHY, loss=0.15), 100, 0.02)
    assert decision.conclusion is Conclusion.FAIL
    assert decision.carried_by.evidence == "replay"


@pytest.mark.parametrize(
    ("world", "given_up", "reason"),
    [
        (replace(HEALTHY, ties=0.3), 0, "replay covers only"),
        (HEALTHY, 6, "replay gave up 6 of 60 samples"),
        (
            replace(HEALTHY, ties=0.03, loss=0.2, heals=25),
            0,
            "AL falls with the distance from the prefill",
        ),
    ],
)
def test_what_withholds_a_pass_by_replay_is_named(world: World, given_up: int, reason: str) -> None:
    decision = gated(world, 60, 0.1, given_up)
    assert decision.conclusion is not Conclusion.PASS or decision.carried_by.evidence == "whole"
    narrow = gated(world, 60, 0.01, given_up)
    assert narrow.conclusion is Conclusion.FAIL or reason in narrow.reason
