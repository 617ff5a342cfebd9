"""SGLang's arguments against its real classes, where they can be imported; its answers in shape."""

from __future__ import annotations

import argparse

import pytest

from pytest_speedbench.engines import (
    EngineConfig,
    EngineDied,
    EngineError,
    Request,
    RequestTotals,
    Sampling,
    Speculation,
    Trace,
)
from pytest_speedbench.engines.methods import own_names
from pytest_speedbench.engines.registry import check
from pytest_speedbench.engines.serving.schema import SglangMeta
from pytest_speedbench.engines.sglang.answer import describe, finish_reason, score_request, totals
from pytest_speedbench.engines.sglang.arguments import (
    counts_drafts,
    server_arguments,
    speculative_arguments,
)
from pytest_speedbench.engines.sglang.server import SglangDialect, launch
from pytest_speedbench.measure.check import check_traces

from .conftest import Start, numbered, run

EAGLE3 = Speculation("eagle3", 3, "org/head")
ALGORITHMS = own_names("sglang")
DRAFTING = [method for method in ALGORITHMS if method != "none"]
CHAINS = ("draft_model", "eagle", "eagle3", "mtp")


def config(
    speculation: Speculation = EAGLE3, *args: tuple[str, object], model: str = "org/model"
) -> EngineConfig:
    return EngineConfig("sglang", model, speculation, 8, args=args)


def drafting(method: str, dl: int = 3) -> Speculation:
    return Speculation(method, dl, None if method in ("ngram", "mtp") else "org/drafter")


# -- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize("dl", [1, 3, 7])
@pytest.mark.parametrize("method", DRAFTING)
def test_the_draft_length_is_the_window_without_its_root(method: str, dl: int) -> None:
    found = speculative_arguments(drafting(method, dl))
    assert found["speculative_algorithm"] == ALGORITHMS[method]
    assert found["speculative_num_draft_tokens"] - 1 == dl
    steps = dl if method in CHAINS else None
    assert found.get("speculative_num_steps") == steps
    assert found.get("speculative_eagle_topk") == (1 if method in CHAINS else None)


def test_the_window_of_ngram_holds_one_candidate_a_position() -> None:
    found = speculative_arguments(drafting("ngram"))
    assert found["speculative_ngram_min_bfs_breadth"] == 1
    assert found["speculative_ngram_max_bfs_breadth"] == 1


def test_without_speculation_there_are_no_arguments_of_it() -> None:
    given = config(Speculation(), ("speculative.draft_attention_backend", "fa3"), ("tp_size", 2))
    assert server_arguments(given) == {
        "model_path": "org/model",
        "max_running_requests": 8,
        "disable_radix_cache": True,
        "random_seed": 0,
        "tp_size": 2,
    }


def test_the_users_arguments_win_also_in_the_speculative_part() -> None:
    given = config(
        EAGLE3,
        ("disable_radix_cache", False),
        ("mem_fraction_static", 0.6),
        ("speculative.draft_attention_backend", "fa3"),
        ("serve", False),
    )
    found = server_arguments(given)
    assert found["disable_radix_cache"] is False
    assert found["mem_fraction_static"] == 0.6
    assert found["speculative_draft_attention_backend"] == "fa3"
    assert "serve" not in found


def test_a_method_outside_the_table_is_passed_on_with_careful_traits() -> None:
    asked = Speculation("dspark", 3, "org/drafter")
    assert speculative_arguments(asked) == {
        "speculative_algorithm": "DSPARK",
        "speculative_num_draft_tokens": 4,
        "speculative_draft_model_path": "org/drafter",
    }
    assert not counts_drafts(asked, {})
    assert "draft_tree" not in describe({"speculative_algorithm": "DSPARK"}, asked)


REFUSED = {
    "method eagle3 needs a drafter": (Speculation("eagle3", 3), ()),
    "use --speed-method instead": (EAGLE3, (("speculative.algorithm", "NGRAM"),)),
    "use --speed-dl instead": (EAGLE3, (("speculative_num_steps", 5),)),
    "use --speed-drafter instead": (EAGLE3, (("speculative.draft_model_path", "x"),)),
    "=8 contradicts dl=3, whose window is 4": (EAGLE3, (("speculative.num_draft_tokens", 8),)),
    "drafts a tree: set the number": (EAGLE3, (("speculative.eagle_topk", 4),)),
    "trie is 18 tokens deep, too little for dl=20": (Speculation("ngram", 20), ()),
    "serve=maybe: expected true or false": (EAGLE3, (("serve", "maybe"),)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_configurations_that_cannot_work_are_refused_before_loading(
    message: str, standin: None
) -> None:
    speculation, args = REFUSED[message]
    with pytest.raises(EngineError, match=message):
        check(config(speculation, *args))


def test_a_tree_with_a_window_and_a_deeper_trie_are_accepted(standin: None) -> None:
    check(config(EAGLE3, ("speculative.eagle_topk", 4), ("speculative.num_draft_tokens", 8)))
    check(config(Speculation("ngram", 20), ("speculative.ngram_max_trie_depth", 40)))


@pytest.mark.parametrize("method", ALGORITHMS)
def test_the_real_server_arguments_take_them(method: str) -> None:
    module = pytest.importorskip(
        "sglang.srt.server_args", reason="needs pip install 'pytest-speedbench[sglang]'"
    )
    speculation = drafting(method) if method != "none" else Speculation()
    wanted = server_arguments(config(speculation, ("tp_size", 2)))
    made = module.ServerArgs(**wanted)
    assert {name: getattr(made, name) for name in wanted} == wanted


def test_the_real_request_classes_accept_our_requests() -> None:
    """Its schema of ``/generate``, and its sampling parameters."""
    schema = pytest.importorskip(
        "sglang.api.v1.api_types", reason="needs pip install 'pytest-speedbench[sglang]'"
    )
    from sglang.srt.sampling.sampling_params import SamplingParams

    asked = Request("r", (1, 2, 3), Sampling(8), (7,))
    body = SglangDialect(config()).body(asked)
    assert schema.GenerateRequest.from_json_value(body).input_ids == [1, 2, 3]
    question = schema.GenerateRequest.from_json_value(score_request([1, 2], [3, 4]))
    assert question.token_ids_logprob == [3, 4]
    made = SamplingParams(**body["sampling_params"])
    made.normalize(None)
    made.verify(vocab_size=100)
    assert (made.max_new_tokens, made.stop_token_ids, made.top_k) == (8, {7}, 1)  # 1 is greedy


# -- answers --------------------------------------------------------------------------------

META = {
    "id": "r1",
    "finish_reason": {"type": "length", "length": 40},
    "prompt_tokens": 5,
    "completion_tokens": 40,
    "cached_tokens": 0,
    "num_retractions": 0,
    "e2e_latency": 0.5,
    "spec_accept_rate": 26 / 39,
    "spec_accept_length": 40 / 13,
    "spec_num_correct_drafts": 26,
    "spec_num_proposed_drafts": 39,
    "spec_verify_ct": 13,
    "spec_correct_drafts_histogram": [2, 3, 1, 7],
}


def meta(**other: object) -> SglangMeta:
    return SglangMeta.model_validate({**META, **other})


def test_the_steps_are_the_verifications_and_not_the_engines_own_average() -> None:
    found = totals(meta(), counts_drafts=True)
    assert found == RequestTotals(13, 39, 26)
    assert (META["completion_tokens"] - 1) / found.steps == 3.0
    assert META["spec_accept_length"] == pytest.approx(3.08, abs=0.01)


def test_older_names_of_the_draft_counts_are_read() -> None:
    older = {"completion_tokens": 9, "spec_verify_ct": 4}
    older |= {"spec_accept_token_num": 4, "spec_draft_token_num": 12}
    assert totals(SglangMeta(**older), counts_drafts=True) == RequestTotals(4, 12, 4)


def test_a_tree_and_padded_ngrams_have_no_number_of_drafts() -> None:
    assert totals(meta(), counts_drafts=False) == RequestTotals(13, None, 26)


@pytest.mark.parametrize("arguments", [{}, {"speculative_adaptive": False}])
def test_a_chain_of_a_fixed_length_has_one(arguments: dict[str, object]) -> None:
    assert counts_drafts(drafting("eagle3"), arguments)


def test_adaptive_steps_have_no_number_of_drafts() -> None:
    # SGLang reports passes times the widest window.
    assert not counts_drafts(drafting("eagle3"), {"speculative_adaptive": True})


def test_missing_fields_are_unknown_unless_nothing_was_verified() -> None:
    assert totals(SglangMeta(completion_tokens=7), counts_drafts=True) == RequestTotals()
    assert totals(SglangMeta(completion_tokens=1), counts_drafts=True) == RequestTotals(0, 0, 0)


def test_the_prefill_after_a_preemption_is_a_step() -> None:
    assert totals(meta(num_retractions=2), counts_drafts=True).steps == 15


def test_an_abort_is_named_with_its_message() -> None:
    assert finish_reason({"type": "abort"}) == "abort"
    gave_up = {"type": "abort", "message": "out of memory", "status_code": 500}
    assert finish_reason(gave_up) == "abort: out of memory"
    assert finish_reason({"type": "length", "length": 4}) == "length"
    assert finish_reason(None) is None


def test_another_draft_length_than_configured_is_an_error() -> None:
    with pytest.raises(EngineError, match="num_draft_tokens=8, where dl=3 needs 4"):
        describe({"speculative_num_draft_tokens": 8}, EAGLE3)
    tree = {"speculative_num_draft_tokens": 8, "speculative_eagle_topk": 4}
    assert describe({**tree, "speculative_num_steps": 3}, EAGLE3)["draft_tree"] is True
    with pytest.raises(EngineError, match="num_steps=5, where dl=3 needs 3"):
        describe({**tree, "speculative_num_steps": 5}, EAGLE3)


def test_an_engine_without_speculation_reports_none() -> None:
    found = describe({"speculative_algorithm": None}, EAGLE3)
    assert found["speculative_method"] == "none"


# -- the backend in its child process, on a stand-in for the package --------------------------


def test_chunks_proven_to_be_steps_make_step_traces(start: Start) -> None:
    with start(config()) as engine:
        traces = run(engine, *numbered())
        check_traces(traces, EAGLE3)
        for number, trace in enumerate(traces):
            assert trace.token_ids == list(range(100 * number + 1, 100 * number + 21))
            assert trace.totals is None
            assert trace.drafted == [3] * len(trace.steps)
            assert trace.accepted is not None
            assert sum(trace.accepted) >= sum(trace.steps) - len(trace.steps)
        assert engine.info.version == "0.5.23"
        assert engine.info.dtype == "bfloat16"  # what the argument "auto" became
        assert engine.info.details["speculative_method"] == "eagle3"
        assert engine.info.details["prefix_caching"] is False


def test_merged_chunks_leave_totals_with_the_same_acceptance_length(
    start: Start,
) -> None:
    with start(config()) as engine:
        (exact,) = run(engine, *numbered(1))
    with start(config(model="merging")) as engine:
        (merged,) = run(engine, *numbered(1))
    assert merged.token_ids == exact.token_ids
    assert len(merged.chunks) < len(exact.chunks)
    assert exact.accepted is not None
    assert merged.totals == RequestTotals(
        len(exact.steps), 3 * len(exact.steps), sum(exact.accepted)
    )


def test_without_speculation_every_token_is_a_step_merged_or_not(start: Start) -> None:
    with start(config(Speculation(), model="merging")) as engine:
        (trace,) = run(engine, *numbered(1))
    assert trace.chunks == [1] * 20
    assert trace.totals is None


def test_a_stream_that_ends_too_early_is_an_answer_broken_off(start: Start) -> None:
    with start(config(model="breaking")) as engine:
        found = {trace.request_id: trace for trace in run(engine, *numbered(2))}
    assert (found["r0"].finish_reason, found["r0"].failure) == ("abort", "no finish reason")
    assert (found["r1"].finish_reason, found["r1"].tokens) == ("length", 20)


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


def test_the_ngram_trie_is_emptied_between_loads(
    start: Start,
) -> None:
    with start(config(drafting("ngram"))) as engine:
        first, second = (run(engine, *numbered(2)) for _ in range(2))
        assert [t.chunks for t in first] == [t.chunks for t in second]
        assert first[0].drafted is None  # padding is no draft
        assert all(trace.steps_proven for trace in first)
        assert engine.info.details["shared_draft_pool"] is True


def test_score_asks_for_one_token_after_the_prefix(start: Start) -> None:
    with start(config(Speculation())) as engine:
        found = engine.score([1, 2, 3, 4], 3, [4, 9])
    assert found.logprobs == {4: -0.25, 9: -4.0}
    assert (found.top_token, found.top_logprob) == (4, -0.25)


def test_an_overlong_prompt_and_a_missing_model_are_clear_errors(start: Start) -> None:
    with start(config()) as engine:
        engine.hold(1)
        engine.submit([Request("long", tuple(range(2000)), Sampling(4))])
        with pytest.raises(EngineError, match=r"refuses request long \(2000 prompt tokens"):
            engine.collect(5)
        engine.submit([Request("empty", (), Sampling(4))])
        with pytest.raises(EngineError, match="request empty: the prompt is empty"):
            engine.collect(5)
        assert run(engine, *numbered(2))[1].tokens == 20  # the engine goes on
    with (
        pytest.raises(EngineError, match="SGLang does not start with model 'missing'"),
        start(config(model="missing")),
    ):
        pass


def test_min_tokens_needs_the_tokenizer(start: Start) -> None:
    asked = Request("r", (1, 2), Sampling(4, min_tokens=2))
    with start(config()) as engine:
        engine.submit([asked])
        with pytest.raises(EngineError, match="skip_tokenizer_init=false"):
            engine.collect(5)
    with start(config(EAGLE3, ("skip_tokenizer_init", False))) as engine:
        assert run(engine, asked)[0].tokens == 4


def test_a_stream_without_output_runs_into_the_time_limit(start: Start) -> None:
    with start(config(model="silent"), timeout=6) as engine:
        engine.submit(numbered(1))
        with pytest.raises(EngineDied, match="sent nothing for 6 s"):
            engine.collect(20)


def test_the_command_line_takes_the_same_arguments() -> None:
    module = pytest.importorskip(
        "sglang.srt.server_args", reason="needs pip install 'pytest-speedbench[sglang]'"
    )
    wanted = server_arguments(config(EAGLE3, ("tp_size", 2)))
    command = list(launch(config(EAGLE3, ("tp_size", 2)), 31000).command)
    assert command[1:3] == ["-m", "sglang.launch_server"]
    parser = argparse.ArgumentParser()
    module.ServerArgs.add_cli_args(parser)
    made = module.ServerArgs.from_cli_args(parser.parse_args(command[3:]))
    assert {name: getattr(made, name) for name in wanted} == wanted
    assert (made.port, made.incremental_streaming_output) == (31000, True)


def test_a_request_resumes_an_output_by_its_token_ids(start: Start) -> None:
    with start(config()) as engine:
        (request,) = numbered(1)
        (whole,) = run(engine, request)
        ids = (*request.prompt_ids, *whole.token_ids[:7])
        rest = Sampling(len(whole.token_ids) - 7, ignore_eos=True)
        (resumed,) = run(engine, Request("rest", ids, rest, resumed=7))
    assert resumed.token_ids == whole.token_ids[7:]
    assert resumed.prefill_tokens == 1
    assert resumed.totals is None
    check_traces([resumed], EAGLE3)
