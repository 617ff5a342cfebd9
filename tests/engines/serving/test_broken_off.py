"""Answers that a server breaks off: traces like others while it goes on, else one error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from pytest_speedbench.engines import (
    Engine,
    EngineDied,
    EngineError,
    RequestTotals,
    Speculation,
    open_engine,
)
from pytest_speedbench.engines.serving.metrics import MetricNames

from .fake import Event, Script, Unframed, serving
from .test_client import config, drain, requests
from .test_openai import MODEL, chat_chunk, joined, stream, usage
from .vllm_fake import Vllm

Answers = Sequence[Event] | tuple[int, str]
BROKEN: dict[str, tuple[Answers, str]] = {
    "500": ((500, '{"error": {"message": "no memory"}}'), "HTTP 500: no memory"),
    "502 of a proxy": ((502, "<h1>Bad Gateway</h1>"), "HTTP 502: <h1>Bad Gateway</h1>"),
    "503": ((503, ""), "HTTP 503"),
    "429": ((429, '{"detail": "slow down"}'), "HTTP 429: slow down"),
    "408": ((408, ""), "HTTP 408"),
    "an error event": (({"error": {"message": "assert", "code": 500}},), "HTTP 500: assert"),
    "a word for a code": (({"error": {"message": "x", "code": "server_error"}},), "error: x"),
    "an error of text": (({"error": "worker died"},), "error: worker died"),
    "an error, not wrapped": (({"object": "error", "message": "x", "code": 503},), "HTTP 503: x"),
    "nothing": ((), "no finish reason"),
    "only the end": (("[DONE]",), "no finish reason"),
    "what is not HTTP": ((0.05, Unframed(b"no chunk\r\n")), "not HTTP"),
    "an abort, without counts": (({"choices": [{"finish_reason": "abort"}]}, "[DONE]"), "abort"),
}
LIMIT = 1.0
"""Of the time without a new token, in seconds; far above what a busy machine takes to answer."""


@pytest.fixture
def engine(vllm: Vllm) -> Iterator[Engine]:
    found = open_engine(config(vllm.url), 3)
    yield found
    found.close()


def failing(vllm: Vllm, broken: Answers, which: Callable[[int], bool]) -> None:
    """Answers ``broken`` to the requests whose number in their batch, from 0, is one of ``which``;
    a stream of events begins like every other."""

    def events(body: dict[str, Any]) -> Answers:
        whole = vllm.events(body)
        if not which(_number(body)):
            return whole
        return broken if isinstance(broken, tuple) and _is_status(broken) else [*whole[:1], *broken]

    vllm.script.events = events  # type: ignore[assignment]


def _number(body: dict[str, Any]) -> int:
    """As the prompt says it: requests may arrive in another order than they are sent."""
    number: int = body["prompt"][-1]
    return number


def _is_status(broken: Answers) -> bool:
    return bool(broken) and isinstance(broken[0], int)


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN)
def test_one_answer_that_breaks_off_leaves_the_others(
    engine: Engine, vllm: Vllm, broken: Answers, reason: str
) -> None:
    failing(vllm, broken, lambda number: number == 2)
    engine.submit(requests(5))
    found = {trace.request_id: trace for trace in drain(engine, 5)}
    failed = found.pop("r2")
    assert (failed.finish_reason, failed.failure) == ("abort", reason)
    assert failed.chunks == ([] if _is_status(broken) else [1])
    assert {(t.finish_reason, t.failure, tuple(t.steps)) for t in found.values()} == {
        ("length", "", (3, 1))
    }


def stalling(vllm: Vllm, which: Callable[[int], bool]) -> None:
    """Sends one token, and then nothing, to the requests whose number in their batch, from 0, is
    one of ``which``, to every other one a quarter of the time limit late; the rest take as long."""

    def events(body: dict[str, Any]) -> Sequence[Event]:
        number = _number(body)
        first, *rest = vllm.events(body)
        if which(number):
            return [number % 2 * LIMIT / 4, first, 30.0]
        return [first, LIMIT / 4, *rest]

    vllm.script.events = events


def test_an_answer_that_stalls_while_others_go_on_is_broken_off(vllm: Vllm) -> None:
    engine = open_engine(config(vllm.url), LIMIT)
    stalling(vllm, lambda number: number == 2)
    engine.hold(2)
    engine.submit(requests(9))
    found = {trace.request_id: trace for trace in drain(engine, 9)}
    stalled = found.pop("r2")
    assert (stalled.finish_reason, stalled.failure) == ("abort", f"no new token for {LIMIT:g} s")
    assert {(t.finish_reason, t.failure) for t in found.values()} == {("length", "")}
    engine.close()


def test_the_last_answer_of_a_load_may_stall(vllm: Vllm) -> None:
    """Nothing goes on beside it any more, but others came to their end since it was sent."""
    last_is_sent = threading.Event()

    def events(body: dict[str, Any]) -> Iterator[Event]:
        number = _number(body)
        first, *rest = vllm.events(body)
        yield first
        if number == 7:
            last_is_sent.set()
            yield LIMIT / 2
            yield from [*rest[:1], 30.0]
        elif number > 3:
            last_is_sent.wait()
        yield from rest

    vllm.script.events = events
    engine = open_engine(config(vllm.url), LIMIT)
    engine.hold(4)
    engine.submit(requests(8))
    found = {trace.request_id: trace.failure for trace in drain(engine, 8)}
    assert found.pop("r7") == f"no new token for {LIMIT:g} s"
    assert set(found.values()) == {""}
    engine.submit(requests(2, "more"))
    assert [trace.failure for trace in drain(engine, 2)] == ["", ""]
    engine.close()


def test_a_server_on_which_all_answers_stall_has_died(vllm: Vllm) -> None:
    engine = open_engine(config(vllm.url), LIMIT)
    stalling(vllm, lambda number: number > 1)
    engine.hold(2)
    engine.submit(requests(50))
    with pytest.raises(EngineDied, match=r"no new token for .* s, after 1: .*--speed-timeout"):
        drain(engine, 50)
    assert len(vllm.script.asked) < 9
    engine.close()


def test_a_server_that_fails_from_the_start_ends_the_run_at_once(
    engine: Engine, vllm: Vllm
) -> None:
    failing(vllm, (500, "no kernel"), lambda number: True)
    engine.hold(4)
    engine.submit(requests(50))
    with pytest.raises(EngineDied, match=r"HTTP 500 .*: no kernel\n.*its own log"):
        drain(engine, 50)
    assert len(vllm.script.asked) < 12


def test_the_first_of_many_in_flight_may_fail(engine: Engine, vllm: Vllm) -> None:
    failing(vllm, (500, ""), lambda number: number == 0)
    engine.hold(4)
    engine.submit(requests(4))
    assert sorted(trace.failure for trace in drain(engine, 4)) == ["", "", "", "HTTP 500"]


@pytest.mark.parametrize("health", [(503, ""), (500, "")])
def test_a_server_that_is_no_longer_healthy_has_died(
    engine: Engine, vllm: Vllm, health: tuple[int, str]
) -> None:
    engine.submit(requests(1, "before"))
    drain(engine, 1)
    failing(vllm, (500, "engine dead"), lambda number: True)
    vllm.script.pages["/health"] = health
    engine.submit(requests(9))
    with pytest.raises(EngineDied, match=r"HTTP 500 .*: engine dead"):
        drain(engine, 9)
    assert len(vllm.script.asked) == 2


def test_a_server_that_is_gone_has_died() -> None:
    vllm = Vllm()
    with serving(vllm.script) as url:
        engine = open_engine(config(url), 3)
        engine.submit(requests(1, "before"))
        drain(engine, 1)
    engine.submit(requests(9))
    with pytest.raises(EngineDied, match=r"no server answers at .*correct --speed-url"):
        drain(engine, 9)
    engine.close()


def test_counters_of_a_run_with_a_broken_answer_are_no_foreign_traffic(vllm: Vllm) -> None:
    """A server that counts output tokens alone generates the rest of an answer unseen."""
    vllm.spec_counters = False
    engine = open_engine(config(vllm.url, Speculation()), 3)
    vllm.accepted = None
    engine.dialect.metrics = MetricNames(drafts="x", generated="vllm:generation_tokens")
    failing(vllm, (), lambda number: number == 1)
    engine.counters()
    engine.submit(requests(3))
    drain(engine, 3)
    engine.counters()
    assert "counters" not in engine.info.details
    engine.close()


def test_a_chat_server_without_a_health_page() -> None:
    """Its list of models, or whatever it answers there, shows that it goes on."""
    script = Script()

    def events(body: dict[str, Any]) -> Answers:
        if body["messages"][0]["content"] == "Sing 0":
            return 500, ""
        return stream(tokens=4)(body)

    script.events = events  # type: ignore[assignment]
    script.pages["/v1/models"] = {"data": [{"id": MODEL}]}
    with joined(script) as engine:
        engine.submit([*_chats(3)])
        found = {trace.request_id: trace.failure for trace in drain(engine, 3)}
    assert found == {"c0": "HTTP 500", "c1": "", "c2": ""}


def _chats(count: int) -> Iterator[Any]:
    for number in range(count):
        (request,) = requests(1, "c")
        yield type(request)(
            f"c{number}",
            request.prompt_ids,
            request.sampling,
            messages=(("user", f"Sing {number}"),),
        )


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_concerns_every_request_ends_the_run(engine: Engine, vllm: Vllm, status: int) -> None:
    engine.submit(requests(1, "before"))
    drain(engine, 1)
    failing(vllm, (status, ""), lambda number: True)
    engine.submit(requests(9))
    with pytest.raises(EngineError, match=f"HTTP {status}"):
        drain(engine, 9)
    assert len(vllm.script.asked) == 2


def test_a_broken_answer_has_no_totals(vllm: Vllm) -> None:
    """Nothing is known of its steps, whatever the server reported before it failed."""
    script = Script(lambda body: [chat_chunk("a"), chat_chunk(None, "error"), usage(1), "[DONE]"])
    with joined(script) as engine:
        engine.submit(list(_chats(1)))
        (trace,) = drain(engine, 1)
    assert (trace.failure, trace.totals) == ("error", RequestTotals())
