"""Answers that the engine broke off, in whole sessions: library engine and server."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import aiohttp  # noqa: F401 - a run inside a run would import it anew each time
import prometheus_client.parser  # noqa: F401
import pytest
from engines.serving.fake import Event, Script, serving
from engines.serving.test_openai import chat_chunk, stream, usage

from pytest_speedbench.baselines.records import decode_run
from pytest_speedbench.engines import openai
from pytest_speedbench.engines.registry import engine_type

from .conftest import Project, text_of

FAILS = ("--speed-engine-arg", "fail_every=4")


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """A chat server, and an adapter that needs no model's tokenizer."""
    monkeypatch.setattr(openai, "ENGINE", replace(openai.ENGINE, tokenizer="words"))
    engine_type.cache_clear()
    yield Script(stream())
    engine_type.cache_clear()


def one_turn(project: Project, body: str = "assert speed.acceptance_length > 0") -> None:
    """A test with eight samples of one turn each."""
    project.split("prompts.jsonl", 8)
    project.gate("split='prompts.jsonl'", body)


def test_too_many_failures_end_the_run_with_their_number(project: Project) -> None:
    one_turn(project)
    result = project.run(*FAILS)
    assert result.ret == 1
    message = "1 of 2 answers were broken off ('error': 1) by the engine"
    assert message in text_of(result)
    assert "at most 1.0% of the run's 8 may be" in text_of(result)
    assert "--speed-max-failed=SHARE" in text_of(result)


@pytest.mark.parametrize("reports", ["steps", "totals"])
def test_failures_that_are_allowed_are_left_out_and_noted(project: Project, reports: str) -> None:
    one_turn(project, "assert speed.acceptance_length > 1; assert len(speed.traces) == 6")
    told = ("--speed-engine-arg", f"reports={reports}")
    options = (*FAILS, *told, "--speed-max-failed=25%", "--benchmark-autosave")
    result = project.run(*options)
    result.assert_outcomes(passed=1)
    note = "2 of 8 answers were broken off ('error': 2): they are left out of every number"
    assert note in text_of(result)
    record = project.records()[0]
    assert note in record.notes
    assert (record.arm.answers, record.arm.failed) == (8, {"error": 2})
    assert decode_run([record]).arm.failed == {"error": 2}


def test_counters_that_hold_failed_answers_give_no_al(project: Project) -> None:
    project.gate("bs=4", body="assert speed.output_tps > 0")
    told = ("--speed-engine-arg", "reports=counters")
    result = project.run(*FAILS, *told, "--speed-max-failed=50%", "--benchmark-autosave")
    result.assert_outcomes(passed=1)
    assert "no AL: the engine's counters hold what was decoded of answers" in text_of(result)
    assert "acceptance_length" not in project.records()[0].metrics


def every_second(broken: Iterable[Event] | tuple[int, str]) -> Callable[[dict[str, Any]], Any]:
    """Whole answers, and after each of them ``broken``."""
    number, lock = itertools.count(), threading.Lock()
    whole = [chat_chunk("a "), chat_chunk("b "), chat_chunk(None, "stop"), usage(2), "[DONE]"]

    def events(body: dict[str, Any]) -> Iterable[Event] | tuple[int, str]:
        with lock:
            return broken if next(number) % 2 else whole

    return events


@pytest.mark.parametrize("reason", ["abort", "content_filter", "SomethingNew"])
def test_a_server_that_breaks_answers_off(project: Project, chat: Script, reason: str) -> None:
    chat.events = every_second([chat_chunk("a "), chat_chunk(None, reason), usage(1), "[DONE]"])
    one_turn(project, "assert speed.output_tps > 0")
    with serving(chat) as url:
        result = project.run(f"--speed-url={url}", speed_engine="openai")
    assert result.ret == 1
    assert f"1 of 1 answers were broken off ({reason!r}: 1)" in text_of(result)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ((500, '{"error": "no memory"}'), "HTTP 500: no memory"),
        ([chat_chunk("a "), {"error": {"message": "assert"}}], "error: assert"),
        ([chat_chunk("a ")], "no finish reason"),
    ],
)
def test_a_failed_answer_is_left_out_and_noted(
    project: Project, chat: Script, broken: Any, reason: str
) -> None:
    chat.events = every_second(broken)
    one_turn(project, "assert len(speed.traces) == 4; assert speed.output_tps > 0")
    with serving(chat) as url:
        options = (f"--speed-url={url}", "--speed-max-failed=50%")
        result = project.run(*options, speed_engine="openai")
    result.assert_outcomes(passed=1)
    assert f"4 of 8 answers were broken off ({reason!r}: 4): they are left out" in text_of(result)


def test_decoding_steps_of_some_requests_alone_give_no_al(project: Project, chat: Script) -> None:
    report = {"num_spec_steps": 1, "num_draft_tokens": 3, "num_accepted_draft_tokens": 0}
    last = usage(2, metrics={"speculative_decoding": report})
    chat.events = every_second([chat_chunk("a "), chat_chunk("b", "stop"), last, "[DONE]"])
    one_turn(project, "assert speed.output_tps > 0")
    with serving(chat) as url:
        result = project.run(f"--speed-url={url}", speed_engine="openai")
    result.assert_outcomes(passed=1)
    note = "no AL: the engine does not report how many decoding steps 4 of 8 requests took"
    assert note in text_of(result)


@pytest.mark.parametrize("field", ["content", "reasoning"])
def test_loops_in_text_without_token_ids_are_noted_and_kept(
    project: Project, chat: Script, field: str
) -> None:
    again = [{"choices": [{"delta": {field: "It never came back. "}}]}] * 6
    chat.events = lambda body: [*again, chat_chunk(None, "length"), usage(16), "[DONE]"]
    one_turn(project, "assert speed.output_tps > 0")
    with serving(chat) as url:
        options = (f"--speed-url={url}", "--benchmark-autosave")
        result = project.run(*options, speed_engine="openai")
    result.assert_outcomes(passed=1)
    assert "8 of 8 answers repeat themselves" in text_of(result)
    assert [request.repeats for request in project.records()[0].requests] == [True] * 8


def test_reasoning_is_not_part_of_the_next_turn(project: Project, chat: Script) -> None:
    project.file(
        "turns.jsonl",
        '{"id": "a", "category": "math", "turns": ["One?", "Two?"]}\n',
    )
    thought = {"choices": [{"delta": {"reasoning_content": "THOUGHT "}}]}
    chat.events = lambda body: [thought, *stream(tokens=4)(body)]
    project.gate("split='turns.jsonl', category='all'", body="assert speed.output_tps > 0")
    with serving(chat) as url:
        result = project.run(f"--speed-url={url}", speed_engine="openai", speed_category=None)
    result.assert_outcomes(passed=1)
    history = [m for body in chat.asked for m in body["messages"] if m["role"] == "assistant"]
    assert history
    assert {message["content"] for message in history} == {"The red boat"}


def test_a_buffered_stream_gives_no_rate(project: Project, chat: Script) -> None:
    chat.events = lambda body: [0.2, *stream()(body)]
    project.gate(body="print(speed.user_tps)")
    with serving(chat) as url:
        options = ("--benchmark-autosave", f"--speed-url={url}")
        result = project.run(*options, speed_engine="openai", speed_samples="1")
    result.assert_outcomes(failed=1)
    assert "NoData: the stream came in bursts" in text_of(result)


def test_a_joined_server_that_reports_cache_hits_caches_prefixes(
    project: Project, chat: Script
) -> None:
    last = usage(7)
    last["usage"]["prompt_tokens_details"] = {"cached_tokens": 4}
    chat.events = stream(last)
    project.gate(body="assert speed.cache_hit_rate > 0")
    with serving(chat) as url:
        result = project.run(f"--speed-url={url}", speed_engine="openai")
    result.assert_outcomes(passed=1)
    assert "80% of the prompt tokens came from the engine's prefix cache" in text_of(result)
    assert "whether the server caches prefixes is unknown" not in text_of(result)


def test_a_joined_servers_method_is_not_what_the_user_says(project: Project, chat: Script) -> None:
    project.gate(body="assert speed.output_tps > 0")
    with serving(chat) as url:
        options = ("--benchmark-autosave", f"--speed-url={url}")
        result = project.run(*options, speed_engine="openai", speed_method="ngram")
    result.assert_outcomes(passed=1)
    record = project.records()[0]
    assert record.engine.details["speculative_method"] == "unknown"
    assert "method 'ngram' is as given: the server does not report its method" in record.notes
    assert "whether the server caches prefixes is unknown" in text_of(result)
