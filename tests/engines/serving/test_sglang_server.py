"""SGLang's server over real HTTP, with answers in the format of 0.5.23."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pytest_speedbench.engines import (
    Engine,
    EngineConfig,
    EngineError,
    Request,
    RequestTotals,
    Sampling,
    Speculation,
    Trace,
    open_engine,
)
from pytest_speedbench.measure.check import check_traces
from pytest_speedbench.measure.metrics import request_traces
from pytest_speedbench.measure.results import Turn
from pytest_speedbench.stats import acceptance_rate, micro_al

from .fake import serving
from .sglang_fake import MODEL, Sglang

EAGLE3 = Speculation("eagle3", 3, "org/head")
SHORT = Sampling(16)


@contextmanager
def joined(
    fake: Sglang, speculation: Speculation = EAGLE3, *args: tuple[str, object]
) -> Iterator[Engine]:
    with serving(fake.script) as url:
        engine = open_engine(EngineConfig("sglang", MODEL, speculation, 8, url, args), 5)
        try:
            yield engine
        finally:
            engine.close()


def run(engine: Engine, count: int = 3, sampling: Sampling = SHORT) -> list[Trace]:
    engine.hold(2)
    engine.submit([Request(f"r{n}", (1, 2, 3), sampling, (7,)) for n in range(count)])
    traces: list[Trace] = []
    while len(traces) < count:
        traces += engine.collect(5)
    return traces


@pytest.mark.parametrize("incremental", [True, False])
def test_chunks_that_are_steps_make_step_traces(incremental: bool) -> None:
    with joined(Sglang(incremental=incremental)) as engine:
        for trace in run(engine):
            check_traces([trace], EAGLE3)
            assert trace.token_ids == [100, 101, 102, 103, 104]
            assert trace.steps == [3, 1]
            assert (trace.drafted, trace.accepted) == ([3, 3], [2, 0])
            assert trace.totals is None
            assert trace.finish_reason == "length"


@pytest.mark.parametrize("incremental", [True, False])
def test_merged_chunks_leave_totals(incremental: bool) -> None:
    with joined(Sglang(chunks=(1, 4), incremental=incremental)) as engine:
        (trace,) = run(engine, 1)
    assert trace.totals == RequestTotals(2, 6, 2)
    assert (trace.drafted, trace.token_ids) == (None, [100, 101, 102, 103, 104])


@pytest.mark.parametrize("chunks", [(1, 3, 1, 4, 2), (1, 4, 6)], ids=["steps", "merged"])
def test_the_acceptance_length_does_not_depend_on_merging(chunks: tuple[int, ...]) -> None:
    """11 tokens in 4 steps after the prefill's; SGLang's own average says 11 / 4."""
    with joined(Sglang(chunks=chunks, accepted=(2, 0, 3, 1))) as engine:
        turns = [Turn(t.request_id, "math", 0, t) for t in run(engine, 3)]
    found = request_traces(turns)
    assert micro_al(found).value == 2.5
    assert acceptance_rate(found).value == 0.5


def test_without_speculation_every_token_is_a_step() -> None:
    with joined(Sglang(chunks=(1, 3, 1), accepted=(), algorithm=None), Speculation()) as engine:
        (trace,) = run(engine, 1)
    assert trace.chunks == [1] * 5


def test_a_server_that_drafts_a_tree_has_no_number_of_drafts() -> None:
    fake = Sglang(chunks=(1, 4), accepted=(2, 0))
    fake.info |= {"speculative_eagle_topk": 4, "speculative_num_draft_tokens": 8}
    with joined(fake) as engine:
        (trace,) = run(engine, 1)
        assert engine.info.details["draft_tree"] is True
    assert trace.totals == RequestTotals(2, None, 2)


def test_the_body_of_a_request() -> None:
    fake = Sglang()
    with joined(fake) as engine:
        run(engine, 1)
        run(engine, 1, Sampling(16, temperature=0.5, seed=9, ignore_eos=True, min_tokens=3))
    greedy, sampled = (body["sampling_params"] for body in fake.script.asked)
    assert fake.script.asked[0]["input_ids"] == [1, 2, 3]
    assert greedy == {
        "max_new_tokens": 16,
        "min_new_tokens": 0,
        "temperature": 0.0,
        "ignore_eos": False,
        "stop_token_ids": [7],
    }
    assert sampled["sampling_seed"] == 9
    assert (sampled["stop_token_ids"], sampled["min_new_tokens"]) == ([], 0)


def test_what_the_record_keeps_of_the_server() -> None:
    with joined(Sglang()) as engine:
        info = engine.info
    assert (info.engine, info.version, info.device) == ("sglang", "0.5.23", "unknown")
    assert info.details["joined"] is True
    assert info.details["tp_size"] == 2
    assert info.details["attention_backend"] == "fa3"
    assert info.details["prefix_caching"] is False
    assert info.details["speculative_method"] == "eagle3"
    assert info.details["speculative_ngram_max_bfs_breadth"] == 10
    assert "internal_states" not in info.details
    assert info.packages == {}  # those of the server are not known


def test_foreign_traffic_is_detected_with_a_metrics_page() -> None:
    fake = Sglang()
    with joined(fake) as engine:
        run(engine, 1)
        engine.counters()
        run(engine, 1)
        assert engine.score([1, 2, 3], 2, [3]).top_token == 3
        assert engine.counters() is None  # it counts verifications and no drafts
        assert "counters" not in engine.info.details
        fake.generated += 5
        engine.counters()
        assert "other clients use the server" in str(engine.info.details["counters"])


def test_a_server_without_a_metrics_page_is_measured_all_the_same() -> None:
    with joined(Sglang(metrics=False)) as engine:
        assert engine.counters() is None
        assert len(run(engine, 1)) == 1


def test_score_asks_for_one_token_after_the_prefix() -> None:
    fake = Sglang()
    with joined(fake) as engine:
        found = engine.score([1, 2, 3, 4], 3, [4, 9])
    assert found.logprobs == {4: -0.25, 9: -4.0}
    assert (found.top_token, found.top_logprob) == (4, -0.25)
    assert fake.script.asked[0]["input_ids"] == [1, 2, 3]
    assert fake.script.asked[0]["token_ids_logprob"] == [4, 9]


REFUSED: dict[str, Callable[[], tuple[Sglang, Speculation]]] = {
    "has the speculative algorithm none, method eagle3 is EAGLE3": lambda: (
        Sglang(algorithm=None),
        EAGLE3,
    ),
    "has the speculative algorithm EAGLE, method eagle3 is EAGLE3": lambda: (
        Sglang(algorithm="EAGLE"),
        EAGLE3,
    ),
    r"speculates \(EAGLE3\), but this is the arm without SD": lambda: (Sglang(), Speculation()),
    "num_draft_tokens=6, where dl=3 needs 4": lambda: (Sglang(draft_length=5), EAGLE3),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_server_that_does_not_fit_the_case_is_refused(message: str) -> None:
    fake, speculation = REFUSED[message]()
    with pytest.raises(EngineError, match=message), joined(fake, speculation):
        pass


def test_a_server_with_another_model_is_refused_unless_only_its_name_differs() -> None:
    fake = Sglang()
    fake.info |= {"served_model_name": "mine", "model_path": "/models/mine"}
    message = "serves 'mine' / '/models/mine', not 'org/model'"
    with pytest.raises(EngineError, match=message), joined(fake):
        pass
    with joined(fake, EAGLE3, ("served_model_name", "mine")) as engine:
        assert engine.info.details["served_model"] == "mine"


def test_mtp_is_what_sglang_resolves_it_to() -> None:
    with joined(Sglang(algorithm="EAGLE"), Speculation("mtp", 3)) as engine:
        assert run(engine, 1)[0].steps == [3, 1]


def test_a_request_that_the_server_gives_up_is_broken_off_with_its_message() -> None:
    fake = Sglang()
    fake.reason = {"type": "abort", "message": "KV cache pool is full", "status_code": 500}
    with joined(fake) as engine:
        (trace,) = run(engine, 1)
    assert (trace.finish_reason, trace.failure) == ("abort", "abort: KV cache pool is full")


def test_a_server_is_started_with_the_engines_arguments(standin: None) -> None:
    asked = EngineConfig("sglang", MODEL, EAGLE3, 8, args=(("serve", True), ("tp_size", 2)))
    engine = open_engine(asked, 60)
    try:
        (trace,) = run(engine, 1)
        details = engine.info.details
        assert trace.steps == [3, 1]
        assert details["max_running_requests"] == 8
        assert details["prefix_caching"] is False
        assert details["joined"] is False
    finally:
        engine.close()
