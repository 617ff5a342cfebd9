"""The shared client of all servers, over real HTTP: a load, its traces, its bad days."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_speedbench.engines import (
    Engine,
    EngineConfig,
    EngineDied,
    EngineError,
    Request,
    Sampling,
    Speculation,
    Trace,
    open_engine,
)
from pytest_speedbench.measure.check import check_counters, check_traces

from .fake import serving
from .vllm_fake import MODEL, Vllm

EAGLE3 = Speculation("eagle3", 3, "head")


def config(url: str, speculation: Speculation = EAGLE3, *args: tuple[str, object]) -> EngineConfig:
    return EngineConfig("vllm-server", MODEL, speculation, 8, url, args)


def requests(count: int, name: str = "r") -> list[Request]:
    return [Request(f"{name}{i}", (1, 2, 3), Sampling(16), (7,), EAGLE3) for i in range(count)]


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


def test_what_is_asked_for(engine: Engine, vllm: tuple[Vllm, str]) -> None:
    engine.submit(requests(1))
    drain(engine, 1)
    body = vllm[0].script.asked[0]
    assert body["prompt"] == [1, 2, 3]
    assert body["stop_token_ids"] == [7]
    assert body["max_tokens"] == 16
    assert body["return_token_ids"] is True
    assert body["stream_options"] == {"include_usage": True}


def test_unknown_address_is_one_clear_error() -> None:
    with pytest.raises(EngineDied, match=r"no server answers at http://127.0.0.1:9: start it"):
        open_engine(config("http://127.0.0.1:9/v1"), 3)


def test_an_overloaded_server_names_the_batch_size(engine: Engine, vllm: tuple[Vllm, str]) -> None:
    vllm[0].script.status = 429
    vllm[0].script.refusal = '{"error": {"message": "too many requests"}}'
    engine.submit(requests(2))
    with pytest.raises(EngineError, match=r"HTTP 429 .*: too many requests\n.*lower --speed-bs"):
        drain(engine, 2)
