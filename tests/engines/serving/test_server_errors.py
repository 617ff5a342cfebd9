"""Servers that refuse, stall, contradict themselves, fail or restart: one clear error each."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pytest_speedbench.engines import (
    Engine,
    EngineDied,
    EngineError,
    Speculation,
    Trace,
    open_engine,
)
from pytest_speedbench.engines.serving.address import parse_url

from .fake import Event, serving
from .test_client import config, drain, requests
from .vllm_fake import Vllm

TIMEOUT = 1.0


@pytest.fixture
def engine(vllm: Vllm) -> Iterator[Engine]:
    found = open_engine(config(vllm.url), TIMEOUT)
    yield found
    found.close()


def send(engine: Engine, count: int = 1) -> None:
    engine.submit(requests(count))
    drain(engine, count)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, {"error": {"message": "bad key"}}, r"HTTP 401 .*: bad key\n.*OPENAI_API_KEY"),
        (404, {"detail": "no such model"}, r"HTTP 404 .*: no such model\n.*served_model_name"),
        (429, {"error": "slow down"}, r"HTTP 429 .*: slow down\n.*lower --speed-bs"),
        (503, {"message": "loading"}, r"HTTP 503 .*: loading\n.*lower --speed-bs"),
        (400, {"error": {"message": "too long"}}, r"HTTP 400 .*: too long\n.*--speed-max-tokens"),
        (500, {"error": {"message": "assertion"}}, r"HTTP 500 .*: assertion\n.*its own log"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(
    engine: Engine, vllm: Vllm, status: int, body: dict, message: str
) -> None:
    vllm.script.status, vllm.script.refusal = status, json.dumps(body)
    with pytest.raises(EngineError, match=message):
        send(engine, 3)
    if status == 400:  # one request was refused: the server goes on
        vllm.script.status = 200
        send(engine, 3)
        return
    with pytest.raises(EngineError, match=message):  # it stays broken, and asks no more
        engine.counters()


def test_an_overloaded_server_is_asked_once_and_not_again(engine: Engine, vllm: Vllm) -> None:
    vllm.script.status = 429
    with pytest.raises(EngineError):
        send(engine)
    time.sleep(0.1)
    assert len(vllm.script.asked) == 1


def test_an_error_page_of_another_kind_is_quoted(engine: Engine, vllm: Vllm) -> None:
    vllm.script.status, vllm.script.refusal = 500, "<html>" + "x" * 5000
    with pytest.raises(EngineError, match=r"HTTP 500 .*: <html>x{290,}…\n"):
        send(engine)


def replaced(vllm: Vllm, *events: Event, keep: int = 2) -> None:
    """The stream's first ``keep`` events as ever, then others."""
    vllm.script.events = lambda body: [*vllm.events(body)[:keep], *events]


def test_a_stream_that_ends_early(engine: Engine, vllm: Vllm) -> None:
    replaced(vllm)
    with pytest.raises(EngineDied, match=r"request r0: .* ended the stream early, after 2 chun"):
        send(engine)


def test_a_connection_that_breaks(vllm: Vllm) -> None:
    """Chunked transfer that stops without its end."""
    with _raw_server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:") as port:
        engine = open_engine(config(vllm.url), TIMEOUT)
        engine.http.address = type(engine.http.address)(f"http://127.0.0.1:{port}")
        with pytest.raises(EngineDied, match=r"closed the connection early"):
            send(engine)
        engine.close()


class _raw_server:
    """Answers one connection with given bytes, then closes it."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def __enter__(self) -> int:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.answer_once, daemon=True)
        self.thread.start()
        return self.socket.getsockname()[1]

    def answer_once(self) -> None:
        connection, _ = self.socket.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(self.answer)

    def __exit__(self, *error: object) -> None:
        self.thread.join()
        self.socket.close()


def test_garbage_instead_of_json(engine: Engine, vllm: Vllm) -> None:
    replaced(vllm, "{not json")
    with pytest.raises(EngineError, match=r"not JSON: '\{not json'; is --speed-url"):
        send(engine)


def test_an_event_that_is_not_an_object(engine: Engine, vllm: Vllm) -> None:
    replaced(vllm, "[1, 2]")
    with pytest.raises(EngineError, match=r"not JSON: '\[1, 2\]'"):
        send(engine)


def test_json_of_another_form_is_shown(engine: Engine, vllm: Vllm) -> None:
    replaced(vllm, {"choices": "none"})
    with pytest.raises(EngineError, match=r"not that of its API \(choices: .*got 'none'\)"):
        send(engine)


def test_an_error_inside_the_stream(engine: Engine, vllm: Vllm) -> None:
    replaced(vllm, {"error": {"message": "CUDA out of memory", "code": 500}})
    with pytest.raises(EngineDied, match=r"HTTP 500 .*: CUDA out of memory"):
        send(engine)


def test_a_stall_ends_within_the_time_limit(engine: Engine, vllm: Vllm) -> None:
    replaced(vllm, 30.0)
    with pytest.raises(EngineDied, match=r"no new token for 1 s, after 2: .*--speed-timeout"):
        send(engine)


def test_fewer_tokens_than_the_server_counts(engine: Engine, vllm: Vllm) -> None:
    vllm.script.events = lambda body: [
        vllm.chunk([1]),
        vllm.chunk([2], "length"),
        vllm.usage(3, 4),
    ]
    with pytest.raises(EngineError, match=r"counts 4 output tokens, but its stream contained 2"):
        send(engine)


@pytest.mark.parametrize("ids", [True, False])
def test_more_tokens_than_were_asked_for(engine: Engine, vllm: Vllm, ids: bool) -> None:
    vllm.script.events = lambda body: [
        vllm.chunk([1]) if ids else {"choices": [{"text": "a"}]},
        {"choices": [{"text": "b", "finish_reason": "length"}]},
        vllm.usage(3, 10**18),
    ]
    with pytest.raises(EngineError, match=rf"counts {10**18} output tokens, .* max_tokens=\d+"):
        send(engine)


def test_text_that_the_server_counts_as_no_tokens(engine: Engine, vllm: Vllm) -> None:
    vllm.script.events = lambda body: [
        {"choices": [{"text": "a"}]},
        {"choices": [{"text": "b", "finish_reason": "length"}]},
        vllm.usage(3, 0),
    ]
    with pytest.raises(EngineError, match=r"counts 0 output tokens .* output in 2 chunks"):
        send(engine)


def test_steps_that_the_chunks_contradict(engine: Engine, vllm: Vllm) -> None:
    vllm.chunks, vllm.accepted = [1, 2, 2], [3, 3]
    with pytest.raises(
        EngineError, match=r"reports \[3, 3\] accepted .* its stream, \[1, 2, 2\] tokens"
    ):
        send(engine)


def test_traces_finished_before_the_failure_are_not_lost(engine: Engine, vllm: Vllm) -> None:
    answered = []

    def events(body: dict) -> list[Event]:
        answered.append(body)
        return vllm.events(body) if len(answered) <= 3 else ["{not json"]

    vllm.script.events = events
    engine.submit(requests(6))
    traces: list[Trace] = []
    with pytest.raises(EngineError, match="not JSON"):
        _collect_into(traces, engine)
    assert [trace.request_id for trace in traces] == ["r0", "r1", "r2"]
    assert len(answered) == 4  # those that waited were not sent any more


def _collect_into(traces: list[Trace], engine: Engine) -> None:
    while True:
        traces += engine.collect(5)


def test_a_page_without_speculation(vllm: Vllm) -> None:
    vllm.spec_counters = False
    with pytest.raises(EngineError, match=r"does not speculate: .*--speculative-config"):
        open_engine(config(vllm.url), TIMEOUT)


def test_a_server_that_speculates_is_refused_as_the_arm_without_sd(vllm: Vllm) -> None:
    with pytest.raises(
        EngineError, match=r"reference_url=URL, or leave the arm out, --speed-rounds 0"
    ):
        open_engine(config(vllm.url, Speculation()), TIMEOUT)


def test_a_server_of_another_draft_length(vllm: Vllm) -> None:
    engine = open_engine(config(vllm.url, Speculation("eagle3", 5)), TIMEOUT)
    with pytest.raises(EngineError, match=r"drafts 3 tokens per step, .* dl=5: use --speed-dl 3"):
        send(engine)
    engine.close()


def test_the_arm_without_speculation_has_an_address_of_its_own(vllm: Vllm) -> None:
    plain = Vllm(chunks=[1, 1], accepted=None)
    with serving(plain.script) as url:
        engine = open_engine(config(vllm.url, Speculation(), ("reference_url", url)), TIMEOUT)
        engine.submit(requests(1))
        assert drain(engine, 1)[0].steps == [1]
        engine.close()
    assert len(plain.script.asked) == 1


def test_another_model(vllm: Vllm) -> None:
    vllm.script.pages["/v1/models"] = {"data": [{"id": "org/other"}]}
    with pytest.raises(EngineError, match=r"does not serve 'org/model'; it serves: 'org/other'"):
        open_engine(config(vllm.url), TIMEOUT)
    named = config(vllm.url, Speculation("eagle3", 3), ("served_model_name", "org/other"))
    engine = open_engine(named, TIMEOUT)
    send(engine)
    assert vllm.script.asked[-1]["model"] == "org/other"
    engine.close()


def test_a_counter_that_resets(engine: Engine, vllm: Vllm) -> None:
    send(engine)
    engine.counters()
    vllm.drafts = vllm.draft_tokens = vllm.accepted_tokens = vllm.generated = 0
    with pytest.raises(EngineError, match=r"counter of drafts at .*/metrics went from 2 to 0"):
        engine.counters()


def test_a_metrics_page_that_cannot_be_parsed(vllm: Vllm) -> None:
    vllm.script.pages["/metrics"] = "<html><body>welcome</body></html>"
    with pytest.raises(EngineError, match=r"/metrics is not a metrics page"):
        open_engine(config(vllm.url), TIMEOUT)


def test_a_server_that_is_still_loading(vllm: Vllm) -> None:
    vllm.script.pages["/health"] = (503, '{"error": {"message": "Loading model"}}')
    expected = r"HTTP 503 from .*/health: Loading model\n  the server is loading.*wait until"
    with pytest.raises(EngineError, match=expected):
        open_engine(config(vllm.url), TIMEOUT)


def test_a_server_that_accepts_connections_and_says_nothing(vllm: Vllm) -> None:
    def hang() -> str:
        time.sleep(30)
        return ""

    vllm.script.pages["/health"] = hang
    with pytest.raises(EngineDied, match=r"/health did not answer within 1 s: the server hangs"):
        open_engine(config(vllm.url), TIMEOUT)


def test_streams_that_are_finished_and_never_end(engine: Engine, vllm: Vllm) -> None:
    vllm.script.events = lambda body: [*vllm.events(body)[:-1], 30.0]
    with pytest.raises(EngineDied, match=r"sent a finish reason, and did not end the stream"):
        send(engine)


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "http://", "http://[::1", "http://host:port", "http://host:99999", "x"],
)
def test_an_address_that_is_not_a_url(url: str) -> None:
    with pytest.raises(EngineError, match=r"expected an address such as http://localhost:8000"):
        open_engine(config(url), TIMEOUT)


@pytest.mark.parametrize("url", ["http://me:hidden@host", "http://me:hidden@[host"])
def test_a_password_in_the_address_is_not_repeated(url: str) -> None:
    with pytest.raises(EngineError, match=r"holds a password") as caught:
        parse_url(url)
    assert "hidden" not in str(caught.value)


def test_the_key_is_sent_and_shown_nowhere(vllm: Vllm) -> None:
    named = config(vllm.url, Speculation("eagle3", 3), ("api_key", "sk-very-secret"))
    engine = open_engine(named, TIMEOUT)
    vllm.script.status = 401
    vllm.script.refusal = '{"error": "no such key: sk-very-secret"}'
    with pytest.raises(EngineError, match=r"no such key: \*\*\*") as caught:
        send(engine)
    assert vllm.script.headers[0]["Authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in f"{caught.value!r} {engine.info!r} {engine.http.address!r}"
    engine.close()


def test_a_closed_engine_says_so(engine: Engine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="engine vllm-server is closed"):
        engine.submit(requests(1))
