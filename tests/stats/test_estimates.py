from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_speedbench.stats import (
    Estimate,
    NoData,
    StepTrace,
    acceptance_by_position,
    acceptance_rate,
    by_stratum,
    macro_al,
    micro_al,
)
from pytest_speedbench.stats.bootstrap import ratio_interval, ratio_of_ratios_interval
from pytest_speedbench.stats.data import stratum_codes
from pytest_speedbench.stats.delta import log_ratio_of_ratios, ratio, t_quantile

from .stats_makers import run, trace

DL = 3
STEPS = st.lists(st.integers(1, DL + 1), min_size=1, max_size=30)
RUNS = st.lists(STEPS, min_size=1, max_size=12)


def traces_of(lists: list[list[int]]) -> list[StepTrace]:
    return [trace(f"s{i}", steps, stratum=f"c{i % 2}") for i, steps in enumerate(lists)]


def drafted(one: StepTrace, dl: int) -> StepTrace:
    return replace(one, drafted=np.full(len(one.steps), dl), accepted=one.steps - 1)


@given(RUNS)
def test_al_lies_between_one_and_dl_plus_one(lists: list[list[int]]) -> None:
    for metric in (micro_al, macro_al):
        assert 1 <= metric(traces_of(lists)).value <= DL + 1


@given(RUNS, st.randoms())
def test_al_does_not_depend_on_order(lists: list[list[int]], random: object) -> None:
    traces = traces_of(lists)
    mixed = list(traces)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert micro_al(mixed).value == pytest.approx(micro_al(traces).value)
    assert macro_al(mixed).value == pytest.approx(macro_al(traces).value)


@given(RUNS)
def test_al_does_not_change_when_every_output_is_repeated(lists: list[list[int]]) -> None:
    doubled = [steps + steps for steps in lists]
    assert micro_al(traces_of(doubled)).value == pytest.approx(micro_al(traces_of(lists)).value)


@given(RUNS)
def test_accepted_tokens_and_steps_add_up_to_al(lists: list[list[int]]) -> None:
    traces = [drafted(one, DL) for one in traces_of(lists)]
    assert 1 + DL * acceptance_rate(traces).value == pytest.approx(micro_al(traces).value)


def test_micro_weighs_steps_and_macro_requests() -> None:
    traces = [trace("a", [4] * 10), trace("b", [1] * 10 + [1] * 20)]
    assert micro_al(traces).value == pytest.approx(70 / 40)
    assert macro_al(traces).value == pytest.approx(2.5)


def test_the_prefills_token_counts_only_where_it_was_drafted() -> None:
    assert micro_al([trace(steps=[2, 2], prefill=1)]).value == 2
    assert micro_al([trace(steps=[3, 2], prefill=0)]).value == 2.5


def test_intervals_nest_with_the_level_and_need_five_samples() -> None:
    traces = run(1)
    narrow, wide = micro_al(traces, 0.9), micro_al(traces, 0.99)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high  # type: ignore[operator]
    few = micro_al(traces[:4])
    assert (few.low, few.high, few.n) == (None, None, 4)


def test_turns_of_a_sample_are_one_cluster() -> None:
    turns = [trace("a", [2, 2], turn=t) for t in range(6)]
    assert micro_al(turns).n == 1


def test_acceptance_by_position_is_conditional() -> None:
    one = drafted(trace(steps=[4, 2, 1, 3]), 3)
    values = [e.value for e in acceptance_by_position([one], 3) if e]
    assert values == pytest.approx([3 / 4, 2 / 3, 1 / 2])


def test_without_draft_counts_the_cut_off_last_step_is_left_out() -> None:
    values = [e and e.value for e in acceptance_by_position([trace(steps=[4, 2, 1])], 3)]
    assert values == [1.0, 0.5, 1.0]
    assert acceptance_by_position([trace(steps=[1, 1])], 2)[1] is None


def test_by_stratum_names_every_stratum() -> None:
    traces = [trace("a", [2]), trace("b", [], stratum="qa")]
    result = by_stratum(traces)
    assert isinstance(result["math"], Estimate)
    assert result["qa"] is None


@pytest.mark.parametrize("metric", [micro_al, macro_al, acceptance_rate])
def test_nothing_to_compute_from_is_no_data(metric: object) -> None:
    for traces in ([], [trace(steps=[])]):
        with pytest.raises(NoData):
            metric(traces)  # type: ignore[operator]


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="draft length"):
        acceptance_by_position([trace()], 0)
    with pytest.raises(ValueError, match="level"):
        micro_al([trace()], 1.0)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_bootstrap_and_delta_method_agree(seed: int) -> None:
    traces = run(seed, n=150)
    tokens = np.array([float(t.decode_tokens) for t in traces])
    steps = np.array([float(len(t.steps)) for t in traces])
    codes = stratum_codes([t.stratum for t in traces])
    low, high = ratio_interval(tokens, steps, codes, resamples=4000)
    value, error = ratio(tokens, steps, codes)
    assert (high - low) == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert (high + low) / 2 == pytest.approx(value, abs=0.2 * error)


def test_bootstrap_and_delta_method_agree_on_a_paired_ratio() -> None:
    old, new = run(1, n=200), run(2, n=200)
    sums = [
        (np.array([float(t.decode_tokens) for t in r]), np.array([float(len(t.steps)) for t in r]))
        for r in (old, new)
    ]
    codes = stratum_codes([t.stratum for t in old])
    low, high = ratio_of_ratios_interval(sums[1], sums[0], codes)
    _, error = log_ratio_of_ratios(sums[1], sums[0], codes)
    assert np.log(high / low) == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_delta_method_is_the_standard_error_of_a_mean_for_equal_sizes() -> None:
    values = np.random.default_rng(0).normal(size=40)
    codes = np.zeros(40, dtype=np.intp)
    _, error = ratio(values, np.ones(40), codes)
    assert error == pytest.approx(values.std(ddof=1) / 40**0.5)


def test_t_quantile_is_students() -> None:
    from scipy.stats import t

    assert t_quantile(0.95, 7) == pytest.approx(t.ppf(0.975, 7))


def test_the_interval_covers_as_often_as_it_says() -> None:
    truth = micro_al(run(0, n=4000, tokens=30)).value
    estimates = [micro_al(run(seed, n=30, tokens=30)) for seed in range(1, 201)]
    covered = sum(e.low <= truth <= e.high for e in estimates)  # type: ignore[operator]
    assert covered >= 180


def test_a_stratified_interval_is_narrower_than_a_pooled_one() -> None:
    categories = [run(1, n=40, accept=0.8), run(2, n=40, accept=0.3)]
    named = [
        [replace(t, sample=f"{name}{t.sample}", stratum=name) for t in traces]
        for name, traces in zip("ab", categories, strict=True)
    ]
    apart = micro_al([*named[0], *named[1]])
    pooled = micro_al([replace(t, stratum="a") for t in (*named[0], *named[1])])
    assert apart.value == pooled.value
    assert apart.high - apart.low < 0.8 * (pooled.high - pooled.low)  # type: ignore[operator]
