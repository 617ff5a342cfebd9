"""The shared client of all servers, over real HTTP: a load, its traces, its errors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from pytest_speedbench.engines import (
    Engine,
    EngineConfig,
    EngineDied,
    EngineError,
    Request,
    RequestTotals,
    Sampling,
    Speculation,
    Trace,
    open_engine,
)
from pytest_speedbench.measure.check import check_counters, check_traces

from .fake import Event, serving
from .vllm_fake import MODEL, Vllm

EAGLE3 = Speculation("eagle3", 3, "head")


def config(url: str, speculation: Speculation = EAGLE3, *args: tuple[str, object]) -> EngineConfig:
    return EngineConfig("vllm-server", MODEL, speculation, 8, url, args)


def requests(count: int, name: str = "r") -> list[Request]:
    """``count`` of them; the last token of a prompt is the request's number."""
    return [Request(f"{name}{i}", (1, 2, i), Sampling(16), (7,), EAGLE3) for i in range(count)]


def drain(engine: Engine, count: int) -> list[Trace]:
    traces: list[Trace] = []
    while len(traces) < count:
        traces += engine.collect(5)
    return traces


@pytest.fixture
def vllm() -> Iterator[tuple[Vllm, str]]:
    fake = Vllm()
    with serving(fake.script) as url:
        yield fake, url


@pytest.fixture
def engine(vllm: tuple[Vllm, str]) -> Iterator[Engine]:
    found = open_engine(config(vllm[1]), 3)
    yield found
    found.close()


def test_a_stream_becomes_a_step_trace_that_agrees_with_the_counters(engine: Engine) -> None:
    before = engine.counters()
    engine.hold(4)
    engine.submit(requests(6))
    traces = drain(engine, 6)
    grown = engine.counters() - before
    check_traces(traces, EAGLE3)
    check_counters(traces, EAGLE3, grown)
    assert {t.request_id for t in traces} == {f"r{i}" for i in range(6)}
    one = traces[0]
    assert one.token_ids == [100, 101, 102, 103, 104]
    assert one.steps == [3, 1]
    assert (one.drafted, one.accepted) == ([3, 3], [2, 0])
    assert one.finish_reason == "length"
    assert one.totals is None
    assert one.submitted < one.times[0] <= one.times[-1]


def test_the_body_of_a_request(engine: Engine, vllm: tuple[Vllm, str]) -> None:
    engine.submit(requests(1))
    drain(engine, 1)
    body = vllm[0].script.asked[0]
    assert body["prompt"] == [1, 2, 0]
    assert body["stop_token_ids"] == [7]
    assert body["max_tokens"] == 16
    assert body["return_token_ids"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert "top_p" not in body


def test_filters_that_keep_all_tokens_are_named(engine: Engine, vllm: tuple[Vllm, str]) -> None:
    """A server applies those of the checkpoint where a request names none."""
    (request,) = requests(1)
    engine.submit([replace(request, sampling=replace(request.sampling, temperature=0.7, top_k=20))])
    drain(engine, 1)
    body = vllm[0].script.asked[0]
    assert (body["top_p"], body["top_k"], body["min_p"]) == (1.0, 20, 0.0)


def test_unknown_address_is_one_clear_error() -> None:
    with pytest.raises(EngineDied, match=r"no server answers at http://127.0.0.1:9 .*: start it"):
        open_engine(config("http://127.0.0.1:9/v1"), 3)


def test_an_overloaded_server_names_the_batch_size(engine: Engine, vllm: tuple[Vllm, str]) -> None:
    vllm[0].script.status = 429
    vllm[0].script.refusal = '{"error": {"message": "too many requests"}}'
    engine.submit(requests(2))
    with pytest.raises(EngineError, match=r"HTTP 429 .*: too many requests\n.*lower --speed-bs"):
        drain(engine, 2)


def test_counters_are_read_once_they_hold_what_was_received(
    engine: Engine, vllm: tuple[Vllm, str]
) -> None:
    """The real server writes them a moment after the last token left."""
    fake = vllm[0]
    late: list[str] = []

    def metrics() -> str:
        late.append(fake.metrics())
        return late[max(0, len(late) - 3)]

    engine.counters()
    late.append(fake.metrics())
    fake.script.pages["/metrics"] = metrics
    engine.submit(requests(2))
    drain(engine, 2)
    assert engine.counters().output_tokens == 10


def test_counters_include_other_clients(engine: Engine, vllm: tuple[Vllm, str]) -> None:
    before = engine.counters()
    engine.submit(requests(1))
    drain(engine, 1)
    vllm[0].generated += 100
    assert (engine.counters() - before).output_tokens == 105


def test_the_batch_size_is_held_and_not_exceeded(engine: Engine, vllm: tuple[Vllm, str]) -> None:
    fake = vllm[0]
    lock, running, most = threading.Lock(), 0, 0
    all_first = threading.Barrier(5)

    def events(body: dict[str, Any]) -> Iterator[Event]:
        nonlocal running, most
        *answer, last = fake.events(body)
        with lock:
            running += 1
            most = max(most, running)
        if body["prompt"][-1] < 5:
            all_first.wait(30)
        yield from [0.02, *answer]
        with lock:
            running -= 1  # before the end arrives: the client may send its next request at once
        yield last

    fake.script.events = events
    engine.hold(5)
    engine.submit(requests(20))
    drain(engine, 20)
    assert most == 5


def test_follow_ups_may_go_first(engine: Engine, vllm: tuple[Vllm, str]) -> None:
    fake = vllm[0]
    submitted = threading.Event()

    def events(body: dict[str, Any]) -> Iterator[Event]:
        submitted.wait(30)
        yield from fake.events(body)

    fake.script.events = events
    engine.hold(1)
    engine.submit(requests(3))
    engine.submit(requests(1, "follow-up"), first=True)
    submitted.set()
    order = [trace.request_id for trace in drain(engine, 4)]
    assert order == ["r0", "follow-up0", "r1", "r2"]


def test_cancelled_requests_come_back_as_aborted(engine: Engine, vllm: tuple[Vllm, str]) -> None:
    fake = vllm[0]
    cancelled = threading.Event()

    def events(body: dict[str, Any]) -> Iterator[Event]:
        first, *rest = fake.events(body)
        yield first
        cancelled.wait(30)
        yield from rest

    fake.script.events = events
    engine.hold(2)
    engine.submit(requests(4))
    engine.cancel(["r0", "r3"])
    cancelled.set()
    reasons = {trace.request_id: trace.finish_reason for trace in drain(engine, 4)}
    assert reasons == {"r0": "abort", "r1": "length", "r2": "length", "r3": "abort"}


def test_a_request_cancelled_before_its_first_step_comes_back_too(engine: Engine) -> None:
    def at_once() -> None:
        engine._load.submit(requests(3), False)
        engine._load.cancel(["r0"])

    engine.hold(1)
    engine.in_flight = 3
    engine.http.call(at_once)
    reasons = {trace.request_id: trace.finish_reason for trace in drain(engine, 3)}
    assert reasons == {"r0": "abort", "r1": "length", "r2": "length"}


def test_nothing_in_flight_is_nothing_to_wait_for(engine: Engine) -> None:
    assert engine.collect(60) == []


def test_a_request_counts_from_when_it_leaves_not_from_when_its_connection_was_asked_for(
    vllm: tuple[Vllm, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many that are sent at once, the last waits for the connections of the others."""
    connect = aiohttp.TCPConnector.connect

    async def late(*arguments: Any, **more: Any) -> Any:
        await asyncio.sleep(0.1)
        return await connect(*arguments, **more)

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", late)
    engine = open_engine(config(vllm[1]), 3)
    asked = time.perf_counter()
    engine.submit(requests(1))
    (trace,) = drain(engine, 1)
    assert asked + 0.1 <= trace.submitted <= trace.times[0]
    engine.close()


def test_merged_chunks_are_split(engine: Engine, vllm: tuple[Vllm, str]) -> None:
    vllm[0].chunks = [1, 4]
    engine.submit(requests(1))
    trace = drain(engine, 1)[0]
    assert trace.steps == [3, 1]
    assert trace.times[1] == trace.times[2]
    check_traces([trace], EAGLE3)


def test_merged_chunks_of_a_lookup_method_give_totals(vllm: tuple[Vllm, str]) -> None:
    fake, url = vllm
    fake.chunks, fake.accepted = [1, 6, 1], [3, 0]
    engine = open_engine(config(url, Speculation("ngram", 3)), 3)
    engine.submit(requests(1))
    trace = drain(engine, 1)[0]
    engine.close()
    assert trace.totals == RequestTotals(4, 6, 3)
    assert trace.drafted is None
    check_traces([trace], Speculation("ngram", 3))


def test_steps_without_a_draft_of_a_method_that_usually_drafts(
    engine: Engine, vllm: tuple[Vllm, str]
) -> None:
    """vLLM lowers the draft length by batch size, down to 0."""
    fake, _ = vllm
    fake.chunks, fake.accepted = [1, 1, 3, 1, 1, 4], [2, 3]
    engine.submit(requests(1))
    trace = drain(engine, 1)[0]
    assert trace.steps == [1, 3, 1, 1, 4]
    assert (trace.drafted, trace.accepted) == ([3, 3], [2, 3])
    check_traces([trace], EAGLE3)


def test_a_version_without_request_metrics_is_checked_by_its_counters(
    engine: Engine, vllm: tuple[Vllm, str]
) -> None:
    fake = vllm[0]

    def events(body: dict) -> list:
        found = fake.events(body)
        del found[-2]["metrics"]
        return found

    fake.script.events = events
    before = engine.counters()
    engine.submit(requests(2))
    traces = drain(engine, 2)
    assert traces[0].steps == [3, 1]
    assert traces[0].drafted is None
    check_counters(traces, EAGLE3, engine.counters() - before)


def test_scores_are_the_logprobs_of_the_last_prompt_token(
    engine: Engine, vllm: tuple[Vllm, str]
) -> None:
    def completions(body: dict) -> dict:
        last = {str(body["prompt"][-1]): {"logprob": -2.0, "rank": 4, "decoded_token": "b"}}
        last["5"] = {"logprob": -0.5, "rank": 1, "decoded_token": "a"}
        return {"choices": [{"text": "", "prompt_logprobs": [None, last]}]}

    vllm[0].script.posts["/v1/completions"] = completions
    score = engine.score([1, 2, 9], 2, [9, 5])
    assert score.logprobs == {9: -2.0, 5: -0.5}
    assert (score.top_token, score.top_logprob) == (5, -0.5)
    assert [body["prompt"] for body in vllm[0].script.asked] == [[1, 2, 9], [1, 2, 5]]


def test_what_the_server_reports_about_itself(engine: Engine) -> None:
    assert engine.info.version == "0.32.0"
    assert engine.info.details["max_model_len"] == 2048
    assert engine.info.details["prefix_caching"] is False
    assert engine.info.details["kv_blocks"] == "640"
