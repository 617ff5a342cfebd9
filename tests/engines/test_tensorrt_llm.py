"""TensorRT-LLM's arguments, against its own classes where it is installed; its answers in shape."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_speedbench.engines import (
    Counters,
    EngineConfig,
    EngineError,
    Request,
    RequestTotals,
    Sampling,
    Speculation,
    Trace,
)
from pytest_speedbench.engines.methods import own_names
from pytest_speedbench.engines.registry import check
from pytest_speedbench.engines.tensorrt_llm import arguments as arguments
from pytest_speedbench.engines.tensorrt_llm.arguments import (
    llm_arguments,
    speculative_config,
)
from pytest_speedbench.engines.tensorrt_llm.backend import (
    build,
    describe,
    iteration_sums,
    sampling_parameters,
    totals,
)
from pytest_speedbench.measure.check import check_counters, check_traces

from .conftest import Start, numbered, run

EAGLE3 = Speculation("eagle3", 3, "org/head")
TYPES = own_names("tensorrt-llm")
DRAFTING = [method for method in TYPES if method != "none"]
# TensorRT-LLM 1.2, where names were others.
OLD = """
class EagleDecodingConfig(DecodingBaseConfig):
class DecodingBaseConfig(StrictBaseModel):
    speculative_model_dir: Optional[Union[str, Path]] = None
class MTPDecodingConfig(DecodingBaseConfig):
    num_nextn_predict_layers: int = 1
"""


def config(
    speculation: Speculation = EAGLE3, *args: tuple[str, object], model: str = "org/model"
) -> EngineConfig:
    return EngineConfig("tensorrt-llm", model, speculation, 8, args=args)


def drafting(method: str, dl: int = 3) -> Speculation:
    free = ("ngram", "suffix", "mtp")
    return Speculation(method, dl, None if method in free else "org/drafter")


# -- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize("dl", [1, 3, 7])
@pytest.mark.parametrize("method", DRAFTING)
def test_the_draft_length_is_max_draft_len(method: str, dl: int) -> None:
    found = speculative_config(config(drafting(method, dl)))
    assert found["decoding_type"] == TYPES[method]
    assert found["max_draft_len"] == dl
    needed = method in ("draft_model", "eagle3", "dflash")
    assert found.get("speculative_model") == ("org/drafter" if needed else None)


def test_the_pool_of_ngrams_is_each_requests_own() -> None:
    assert speculative_config(config(drafting("ngram")))["is_public_pool"] is False


def test_older_releases_get_the_names_that_they_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "_source", lambda: OLD)
    assert speculative_config(config(EAGLE3)) == {
        "decoding_type": "Eagle",
        "max_draft_len": 3,
        "speculative_model_dir": "org/head",
    }
    found = speculative_config(config(drafting("mtp")))
    assert found == {"decoding_type": "MTP", "num_nextn_predict_layers": 3}


def test_what_the_user_gives_wins_and_reaches_every_part() -> None:
    given = config(
        EAGLE3,
        ("kv_cache_config", {"free_gpu_memory_fraction": 0.5}),
        ("cuda_graph_config", None),
        ("tensor_parallel_size", 2),
        ("speculative.eagle3_layers_to_capture", [1, 2, 3]),
        ("serve", False),
    )
    found = llm_arguments(given)
    assert found["kv_cache_config"] == {
        "enable_block_reuse": False,
        "free_gpu_memory_fraction": 0.5,
    }
    assert found["cuda_graph_config"] is None
    assert found["tensor_parallel_size"] == 2
    assert found["speculative_config"]["eagle3_layers_to_capture"] == [1, 2, 3]
    assert "serve" not in found


def test_without_speculation_there_are_no_arguments_of_it() -> None:
    found = llm_arguments(config(Speculation(), ("speculative.max_matching_ngram_size", 3)))
    assert set(found) == {"model", "max_batch_size", "kv_cache_config", "cuda_graph_config"}
    assert found["max_batch_size"] == 8


def test_a_method_outside_the_table_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(Speculation("dspark", 3, "org/drafter"))
    assert llm_arguments(asked)["speculative_config"]["decoding_type"] == "dspark"
    monkeypatch.setattr(arguments, "_source", lambda: '    decoding_type: Literal["DSpark"]')
    assert llm_arguments(asked)["speculative_config"] == {
        "decoding_type": "DSpark",
        "max_draft_len": 3,
        "speculative_model_dir": "org/drafter",
    }
    assert arguments.config_class("dspark") == "DSparkDecodingConfig"


REFUSED = {
    "method eagle3 needs a drafter": (Speculation("eagle3", 3), ()),
    "max_draft_len: use --speed-dl instead": (EAGLE3, (("speculative.max_draft_len", 5),)),
    "use --speed-drafter instead": (EAGLE3, (("speculative.speculative_model_dir", "x"),)),
    "use --speed-method and speculative.KEY=VALUE instead": (EAGLE3, (("speculative_config", {}),)),
    "switches speculation off at larger": (EAGLE3, (("speculative.max_concurrency", 4),)),
    "switches speculation off for good": (EAGLE3, (("speculative.acceptance_window", 4),)),
    "requires ngram to run without its overlap scheduler": (drafting("ngram"), ()),
    "serve=1: expected true or false": (EAGLE3, (("serve", 1),)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_configurations_that_cannot_work_are_refused_before_loading(
    message: str, standin: None
) -> None:
    speculation, args = REFUSED[message]
    with pytest.raises(EngineError, match=message):
        check(config(speculation, *args))


def test_ngram_without_the_overlap_scheduler_is_accepted(standin: None) -> None:
    check(config(drafting("ngram"), ("disable_overlap_scheduler", True)))


@pytest.mark.parametrize("method", TYPES)
def test_the_real_classes_take_them(method: str) -> None:
    llmapi = pytest.importorskip(
        "tensorrt_llm.llmapi", reason="needs pip install 'pytest-speedbench[tensorrt-llm]'"
    )
    asked = config(drafting(method) if method != "none" else Speculation())
    made = build(llmapi, llm_arguments(asked), asked)
    assert made["kv_cache_config"].enable_block_reuse is False
    if method != "none":
        assert made["speculative_config"].max_draft_len == 3


def test_a_release_without_the_class_of_a_method_is_reported() -> None:
    asked = config(drafting("dflash"))
    llmapi = SimpleNamespace(KvCacheConfig=dict, CudaGraphConfig=dict)
    with pytest.raises(EngineError, match="this TensorRT-LLM has no DFlashDecodingConfig"):
        build(llmapi, llm_arguments(asked), asked)


def test_the_end_is_found_by_our_token_ids_and_kept() -> None:
    found = sampling_parameters(Request("r", (1,), Sampling(8, temperature=0.5, seed=7), (2, 3)))
    assert found == {
        "max_tokens": 8,
        "temperature": 0.5,
        "seed": 7,
        "end_id": -1,
        "ignore_eos": True,
        "stop_token_ids": [2, 3],
        "include_stop_str_in_output": True,
        "detokenize": False,
    }
    fixed = sampling_parameters(Request("r", (1,), Sampling(8, ignore_eos=True), (2,)))
    assert "stop_token_ids" not in fixed
    with pytest.raises(EngineError, match="min_tokens may not hold: use ignore_eos"):
        sampling_parameters(Request("r", (1,), Sampling(8, min_tokens=2), (2,)))


# -- answers --------------------------------------------------------------------------------


def finished(iterations: int, drafted: int | None = None, accepted: int = 0) -> Any:
    """A finished ``RequestOutput``; without numbers of drafts it has no metrics."""
    spec = SimpleNamespace(
        acceptance_rate=0.5, total_draft_tokens=drafted, total_accepted_draft_tokens=accepted
    )
    metrics = None if drafted is None else SimpleNamespace(speculative_decoding=spec)
    output = SimpleNamespace(request_perf_metrics=metrics)
    return SimpleNamespace(decoding_iter=iterations, outputs=[output])


def test_the_steps_are_the_iterations_without_the_contexts() -> None:
    found = totals(finished(14, 39, 26), counts_drafts=True)
    assert found == RequestTotals(13, 39, 26)
    assert (40 - 1) / found.steps == 3.0  # TensorRT-LLM's own average of 40 tokens: 40 / 14
    assert totals(finished(14), counts_drafts=True) == RequestTotals(13)
    assert totals(finished(0), counts_drafts=True) == RequestTotals()


def test_a_tree_has_no_number_of_drafts() -> None:
    assert totals(finished(5, 40, 8), counts_drafts=False) == RequestTotals(4, None, 8)


def test_iteration_statistics_are_summed_where_they_tell_of_drafts() -> None:
    stats = [
        {"iter": 1, "specDecodingStats": None},
        {
            "iter": 2,
            "specDecodingStats": {
                "numDraftTokens": 6,
                "numAcceptedTokens": 2,
                "numRequestsWithDraftTokens": 2,
                "acceptanceLength": 2.0,
            },
        },
        {"iter": 3, "specDecodingStats": {"numDraftTokens": 3, "numAcceptedTokens": 3}},
        {"iter": 4},
    ]
    assert iteration_sums(stats) == Counters(2, 9, 5)


def test_another_draft_length_than_configured_is_an_error() -> None:
    args = SimpleNamespace(speculative_config=SimpleNamespace(max_draft_len=1))
    with pytest.raises(EngineError, match="drafts 1 tokens per step, expected dl=3"):
        describe(args, config())
    assert describe(SimpleNamespace(), config())["speculative_method"] == "none"


# -- the backend in its child process, on a stand-in for the package --------------------------


def test_responses_proven_to_be_iterations_make_step_traces(start: Start) -> None:
    with start(config()) as engine:
        traces = run(engine, *numbered())
        check_traces(traces, EAGLE3)
        for number, trace in enumerate(traces):
            assert trace.token_ids == list(range(100 * number + 1, 100 * number + 21))
            assert trace.totals is None
            assert trace.drafted == [3] * len(trace.steps)
        assert engine.counters() is None
        assert engine.info.details["speculative_method"] == "eagle3"
        assert engine.info.details["prefix_caching"] is False
        assert engine.info.details["max_batch_size"] == 8


def test_iteration_statistics_agree_with_the_traces_where_they_are_asked_for(
    start: Start,
) -> None:
    with start(config(EAGLE3, ("enable_iter_perf_stats", True))) as engine:
        before = engine.counters()
        traces = run(engine, *numbered())
        check_counters(traces, EAGLE3, engine.counters() - before)


def test_merged_responses_leave_totals_with_the_same_number_of_steps(
    start: Start,
) -> None:
    with start(config()) as engine:
        (exact,) = run(engine, *numbered(1))
    with start(config(model="merging")) as engine:
        (merged,) = run(engine, *numbered(1))
    assert merged.token_ids == exact.token_ids
    assert merged.totals is not None
    assert merged.totals.steps == len(exact.steps) > len(merged.steps)


@pytest.mark.parametrize("method", DRAFTING)
def test_every_method_starts_with_its_own_class(method: str, start: Start) -> None:
    asked = config(drafting(method), ("disable_overlap_scheduler", True))
    with start(asked) as engine:
        assert engine.info.details["speculative_method"] == TYPES[method].lower()
        check_traces(run(engine, *numbered(1)), asked.speculation)


def test_a_stop_token_ends_the_output_and_is_part_of_it(start: Start) -> None:
    with start(config()) as engine:
        (trace,) = run(engine, *numbered(1, stop=(7,)))
    assert (trace.token_ids[-1], trace.finish_reason) == (7, "stop")


def test_a_cancelled_request_leaves_the_others_right(start: Start) -> None:
    with start(config()) as engine:
        engine.hold(2)
        engine.submit([*numbered(1, tokens=10_000_000), *numbered(3)[1:]])
        engine.cancel(["r0"])
        traces: dict[str, Trace] = {}
        while len(traces) < 3:
            traces.update({trace.request_id: trace for trace in engine.collect(5)})
    assert traces["r0"].finish_reason == "abort"
    assert [traces[name].tokens for name in ("r1", "r2")] == [20, 20]


@pytest.mark.skipif(
    find_spec("torch") is None, reason="needs pip install 'pytest-speedbench[transformers]'"
)
def test_score_reads_the_logits_after_the_prefix(start: Start) -> None:
    with start(config(Speculation())) as engine:
        found = engine.score([1, 2, 3, 4], 3, [4, 9])
    assert found.top_token == 4
    assert found.logprobs[4] - found.logprobs[9] == pytest.approx(4.0, abs=1e-5)
    assert found.magnitude == 4.0


def test_an_overlong_prompt_and_a_missing_model_are_clear_errors(start: Start) -> None:
    with start(config()) as engine:
        engine.submit([Request("long", tuple(range(2000)), Sampling(4))])
        with pytest.raises(EngineError, match=r"refuses request long \(2000 prompt tokens"):
            engine.collect(5)
        engine.submit([Request("empty", (), Sampling(4))])
        with pytest.raises(EngineError, match="request empty: the prompt is empty"):
            engine.collect(5)
        assert run(engine, *numbered(2))[1].tokens == 20  # the engine goes on
    with (
        pytest.raises(EngineError, match="TensorRT-LLM does not start with model 'missing'"),
        start(config(model="missing")),
    ):
        pass


def test_arguments_that_it_does_not_know_are_a_clear_error(start: Start) -> None:
    with (
        pytest.raises(EngineError, match=r"does not start .* Extra inputs are not permitted"),
        start(config(EAGLE3, ("speculative.no_such_key", 1))),
    ):
        pass
