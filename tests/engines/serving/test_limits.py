"""Limits of time and size on what a server sends: each ends the request, and says so."""

from __future__ import annotations

import gc
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pytest_speedbench.engines import EngineDied, EngineError, Sampling
from pytest_speedbench.engines.serving import http as client
from pytest_speedbench.engines.serving.address import Address
from pytest_speedbench.engines.serving.http import Http

from .fake import Event, Script, serving
from .test_openai import chat_chunk, joined, one, stream, usage

TIMEOUT = 0.3


@contextmanager
def reading(url: str, timeout: float = TIMEOUT) -> Iterator[Http]:
    http = Http(Address(url, key="top-secret"), timeout)
    try:
        yield http
    finally:
        http.close()


def endless(*events: Event) -> Iterator[Event]:
    while True:
        yield from events


@pytest.mark.parametrize(
    "silence",
    [
        (b": ping\n\n", 0.05),
        (chat_chunk(""), 0.05),
        (chat_chunk(None), 0.05),
        ({"choices": [{"delta": {"tool_calls": []}}]}, 0.05),
        (usage(1), 0.05),
        (b"x", 0.05),
        (b"x" * 10_000, 0.05),
        (b"\n", 0.05),
    ],
    ids=["comments", "empty", "no text", "no tool", "usage", "bytes", "line", "blank lines"],
)
def test_what_brings_no_token_does_not_reset_the_time_limit(silence: tuple[Event, ...]) -> None:
    script = Script(stream())
    with joined(script) as engine:
        engine.http.timeout = TIMEOUT
        script.events = lambda body: endless(*silence)
        with pytest.raises(EngineDied, match=r"no new token for 0.3 s, after 0: .*--speed-timeout"):
            one(engine)


def test_a_slow_stream_with_tokens_goes_on() -> None:
    """It takes longer than the limit, and each token a fifth of it."""
    limit = 1.5
    events = [event for text in "abcdef" for event in (chat_chunk(text), limit / 5)]
    script = Script(stream())
    with joined(script) as engine:
        engine.http.timeout = limit
        script.events = lambda body: [*events, chat_chunk(None, "stop"), usage(6), "[DONE]"]
        assert one(engine).tokens == 6


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (chat_chunk("w "), "output in 25 chunks"),
        (chat_chunk("w" * 30_000), "30000 bytes of text"),
        (chat_chunk("w", token_ids=[1, 2, 3]), "6 output tokens"),
        ({"choices": [{"delta": {"x": 1}}]}, "output in 25 chunks"),
    ],
)
def test_a_server_that_ignores_max_tokens_is_ended(event: Event, what: str) -> None:
    script = Script(stream())
    with joined(script) as engine:
        script.events = lambda body: endless(event)
        with pytest.raises(EngineError, match=rf"sent {what}, more than max_tokens=4"):
            one(engine, Sampling(4))


@pytest.mark.parametrize("sent", [b"data: " + b"x" * (3 << 20), b"data: x\n" * (3 << 20)])
def test_an_event_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(client, "_EVENT_BYTES", 1 << 20)
    script = Script(stream())
    with joined(script) as engine:
        script.events = lambda body: [sent]
        with pytest.raises(EngineError, match=r"sent an event of more than 1 MiB"):
            one(engine)


def test_a_page_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_BODY_BYTES", 1 << 20)
    script = Script(pages={"/metrics": "x" * (2 << 20)})
    with (
        serving(script) as url,
        reading(url) as http,
        pytest.raises(EngineError, match=r"/metrics sent a response of more than 1 MiB"),
    ):
        http.get_text("/metrics")


@contextmanager
def raw_server(answer: Callable[[], Iterator[bytes]]) -> Iterator[str]:
    """Sends what ``answer`` yields to one client, until that goes away."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                for block in answer():
                    connection.sendall(block)
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()


def headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-Padding: x\r\n" * 10


def long_header() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX: "
    while True:
        yield b"x" * 10_000


def chunk_size() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"1" * 10_000


def late_chunk_size() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    time.sleep(0.1)  # so that it does not arrive with the headers
    yield b"no hexadecimal number\r\n"
    time.sleep(30)


def late_second_chunk() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    time.sleep(0.1)
    yield b"no hexadecimal number\r\n"
    time.sleep(30)


@pytest.mark.parametrize(
    "answer", [headers, long_header, chunk_size, late_chunk_size, late_second_chunk]
)
def test_what_is_not_http_is_said_so(answer: Callable[[], Iterator[bytes]]) -> None:
    with (
        raw_server(answer) as url,
        reading(url, 20.0) as http,  # a busy machine needs time for the first bytes
        pytest.raises(EngineError, match=r"/x answered with something that is not HTTP"),
    ):
        http.get_text("/x")


def test_a_connection_that_is_reset_between_requests_is_nobodys_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Such as by a server that ends while connections to it are kept."""
    listening = socket.create_server(("127.0.0.1", 0))
    answered = threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            time.sleep(0.05)  # so that the body does not arrive with the headers
            connection.sendall(b"ok")
            answered.wait(20)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    thread = threading.Thread(target=serve)
    thread.start()
    with listening, reading(f"http://127.0.0.1:{listening.getsockname()[1]}", 20.0) as http:
        assert http.get_text("/x") == "ok"
        answered.set()
        thread.join()
        time.sleep(0.05)  # for the event loop to see it
        listening.close()
        assert http.status("/x") is None
        gc.collect()
    assert caplog.text == ""


def slow_header() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX: "
    while True:
        time.sleep(0.02)
        yield b"x"


def early_hints() -> Iterator[bytes]:
    while True:
        time.sleep(0.02)
        yield b"HTTP/1.1 100 Continue\r\n\r\n"


def slow_page() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    while True:
        time.sleep(0.02)
        yield b"x"


@pytest.mark.parametrize("answer", [slow_header, early_hints, slow_page])
def test_a_response_that_trickles_is_ended(answer: Callable[[], Iterator[bytes]]) -> None:
    with (
        raw_server(answer) as url,
        reading(url) as http,
        pytest.raises(EngineDied, match=r"did not answer within 0.3 s"),
    ):
        http.get_text("/metrics")


def test_a_compressed_response_is_refused_before_it_is_inflated() -> None:
    bomb = zlib.compress(b"\0" * (1 << 20))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n"
    with (
        raw_server(lambda: iter([head % len(bomb) + bomb])) as url,
        reading(url) as http,
        pytest.raises(EngineError, match=r"is compressed \(deflate\)"),
    ):
        http.get_text("/v1/models")


def test_a_redirect_to_another_origin_is_not_followed() -> None:
    script = Script(pages={"/x": "stolen"})
    with (
        serving(script) as other,
        serving(Script(redirects={"/x": f"{other}/x?key=1"})) as url,
        reading(url) as http,
        pytest.raises(EngineError, match=r"redirects to another server, http://127.0.0.1:\d+, "),
    ):
        http.get_text("/x")
    assert not script.headers


def test_a_redirect_within_the_origin_is_followed_a_few_times() -> None:
    script = Script(pages={"/x/": "here"}, redirects={"/x": "/x/", "/loop": "/loop"})
    with serving(script) as url, reading(url) as http:
        assert http.get_text("/x") == "here"
        with pytest.raises(EngineError, match=r"/loop redirects without an end"):
            http.get_text("/loop")
