"""Prometheus pages: what is summed, what is missing, what cannot be parsed."""

from __future__ import annotations

import pytest

from pytest_speedbench.engines import Counters, EngineError
from pytest_speedbench.engines.serving.metrics import (
    LLAMA_CPP,
    SGLANG,
    TENSORRT_LLM,
    VLLM,
    MetricNames,
    Reading,
    check_growth,
    parse_page,
)

PAGE = """\
# HELP vllm:spec_decode_num_drafts_total Number of drafts.
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="m"} 3.0
vllm:spec_decode_num_drafts_total{engine="1",model_name="m"} 4.0
# TYPE vllm:spec_decode_num_drafts_created gauge
vllm:spec_decode_num_drafts_created{engine="0",model_name="m"} 1.7e+09
# TYPE vllm:spec_decode_num_draft_tokens_total counter
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 21.0
# TYPE vllm:spec_decode_num_accepted_tokens_total counter
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="m"} 1.2345678e+07
# TYPE vllm:spec_decode_num_accepted_tokens_per_pos_total counter
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",position="0"} 5.0
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",engine="0"} 1.0
"""


def test_counters_are_summed_over_engines_and_read_without_their_suffix() -> None:
    reading = parse_page(PAGE, "here").read(VLLM)
    assert reading == Reading(7, 21, 12_345_678, None)
    assert reading.counters == Counters(7, 21, 12_345_678, None)


def test_labels_of_information_are_kept() -> None:
    assert parse_page(PAGE, "here").infos["vllm:cache_config_info"]["block_size"] == "16"


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (SGLANG, "sglang:spec_verify_calls_total 9\nsglang:generation_tokens_total 30\n", None),
        (
            TENSORRT_LLM,
            "trtllm_spec_decode_num_draft_tokens_total 9\n"
            "trtllm_spec_decode_num_accepted_tokens_total 4\n",
            Counters(0, 9, 4),
        ),
        (
            LLAMA_CPP,
            "llamacpp:spec_decode_num_drafts_total 3\nllamacpp:tokens_predicted_total 8\n"
            "llamacpp:spec_decode_num_draft_tokens_total 9\n"
            "llamacpp:spec_decode_num_accepted_tokens_total 4\n",
            Counters(3, 9, 4, 8),
        ),
    ],
)
def test_every_family_by_its_own_names(
    names: MetricNames, text: str, expected: Counters | None
) -> None:
    assert parse_page(text, "here").read(names).counters == expected


def test_a_page_without_them_is_unknown_and_not_zero() -> None:
    reading = parse_page("process_cpu_seconds_total 3\n", "here").read(VLLM)
    assert reading == Reading()
    assert reading.counters is None


def test_what_is_not_a_metrics_page() -> None:
    with pytest.raises(EngineError, match=r"http://x/metrics is not a metrics page"):
        parse_page("<!doctype html><p>hello there</p>", "http://x/metrics")


def test_counters_only_grow() -> None:
    check_growth(Reading(1, 2, 3, 4), Reading(1, 2, 3, 4), "here")
    check_growth(Reading(), Reading(1, 2, 3, 4), "here")
    with pytest.raises(EngineError, match=r"counter of draft tokens at here went from 2 to 1"):
        check_growth(Reading(1, 2, 3, 4), Reading(1, 1, 3, 4), "here")
    with pytest.raises(EngineError, match=r"counter of generated at here went from 4 to None"):
        check_growth(Reading(1, 2, 3, 4), Reading(1, 2, 3, None), "here")
