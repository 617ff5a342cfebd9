from __future__ import annotations

import numpy as np
import pytest

from pytest_speedbench.stats import (
    NoData,
    calibrated_ulps,
    classify_gap,
    compare_tie_rates,
    first_token_check,
    tolerance,
)
from pytest_speedbench.stats.ties import ulp


@pytest.mark.parametrize("value", [1.0, 1.5, 17.3, 250.0, 1e-3])
def test_ulps_are_numpys(value: float) -> None:
    assert ulp(value, "float32") == float(np.spacing(np.float32(value)))
    assert ulp(value, "float16") == float(np.spacing(np.float16(value)))


def test_bfloat16_keeps_eight_bits() -> None:
    assert ulp(20.0, "bfloat16") == 16 / 128
    assert tolerance(-20.0, "bfloat16") == 4 * 16 / 128
    assert ulp(0.0, "float16") == 2.0**-24


def test_a_gap_is_a_tie_within_the_tolerance() -> None:
    assert classify_gap(0.25, 20.0, "bfloat16") == "tie"
    assert classify_gap(0.25, 20.0, "float32") == "defect"
    assert classify_gap(float("inf"), 20.0, "bfloat16") == "defect"


def test_calibration_covers_every_healthy_gap() -> None:
    assert calibrated_ulps([0.1, 0.75], [20.0, 20.0], "bfloat16") == 6
    assert calibrated_ulps([0.0], [20.0], "bfloat16") == 4
    with pytest.raises(NoData, match="never diverge"):
        calibrated_ulps([], [], "bfloat16")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ulp(1.0, "int8"), "unknown dtype"),  # type: ignore[arg-type]
        (lambda: ulp(float("nan"), "float16"), "finite"),
        (lambda: tolerance(1.0, "float16", 0), "ulps must be positive"),
        (lambda: classify_gap(float("nan"), 1.0, "float16"), "NaN"),
        (lambda: calibrated_ulps([float("nan")], [1.0], "float16"), "finite"),
        (lambda: compare_tie_rates(5, 4, 0, 4), "between 0 and"),
        (lambda: first_token_check({1: -1, 2: 3}, {1: 1.0}), "negative"),
        (lambda: first_token_check({1: 3}, {1: 1.5}), "probabilities must lie"),
        (lambda: first_token_check({1: 3}, {1: 0.9, 2: 0.9}), "more than 1"),
    ],
)
def test_bad_arguments_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_tie_rates_far_above_the_healthy_ones_are_seen() -> None:
    assert compare_tie_rates(60, 100, 20, 100).far_above
    healthy = compare_tie_rates(22, 100, 20, 100)
    assert not healthy.far_above
    assert healthy.low < healthy.rate < healthy.high
    with pytest.raises(NoData):
        compare_tie_rates(0, 0, 1, 2)


def test_first_tokens_of_a_correct_sampler_are_rarely_rejected() -> None:
    rng = np.random.default_rng(0)
    p = np.array([0.6, 0.2, 0.1, 0.05, 0.03, 0.02])
    rejected = 0
    for seed in range(200):
        counts = dict(enumerate(rng.multinomial(60, p).tolist()))
        rejected += first_token_check(
            counts, dict(enumerate(p.tolist())), level=0.95, draws=2000, seed=seed
        ).rejected
    assert rejected <= 20


def test_the_p_value_is_near_the_chi_square_one_for_many_draws() -> None:
    from scipy.stats import power_divergence

    check = first_token_check({1: 530, 2: 290, 3: 180}, {1: 0.5, 2: 0.3, 3: 0.2})
    g, p = power_divergence([530, 290, 180], [500, 300, 200], lambda_="log-likelihood")
    assert check.statistic == pytest.approx(g)
    assert check.p_value == pytest.approx(p, abs=0.01)


def test_a_wrong_sampler_is_rejected() -> None:
    assert first_token_check({1: 950, 2: 50}, {1: 0.5, 2: 0.5}).rejected
    assert first_token_check({1: 100, 9: 100}, {1: 0.99}).rejected


def test_a_token_of_no_probability_is_impossible() -> None:
    assert first_token_check({1: 99, 2: 1}, {1: 1.0, 2: 0.0}).impossible == (2,)
    assert first_token_check({1: 99, 3: 1}, {1: 0.5, 2: 0.5}).impossible == (3,)
    assert first_token_check({1: 99, 3: 1}, {1: 0.95}).impossible == ()


def test_nothing_to_compare_is_no_data() -> None:
    with pytest.raises(NoData, match="no tokens"):
        first_token_check({}, {1: 1.0})
    with pytest.raises(NoData, match="one token"):
        first_token_check({1: 5}, {1: 1.0})
