"""Answers as servers send them: reasoning, tools, unknown fields, and counts that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_speedbench.engines import EngineError, Trace

from .fake import Event, Script
from .test_openai import chat_chunk, joined, one, stream, usage

Json = dict[str, Any]
END = (chat_chunk(None, "stop"), "[DONE]")


def delta(**fields: object) -> Json:
    return {"id": "1", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def answered(*events: Event, tokens: int, **counts: object) -> Trace:
    """The trace of a stream of ``events``, which the server counts as ``tokens``."""
    last = usage(tokens)
    last["usage"] |= counts
    with joined(Script(lambda body: [*events, END[0], last, END[1]])) as engine:
        return one(engine)


@pytest.mark.parametrize(
    "thought",
    [
        delta(reasoning_content="Hm. "),
        delta(reasoning="Hm. ", content=None),
        delta(reasoning="Hm. ", reasoning_content="Hm. "),
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm. "}]}]),
    ],
)
def test_reasoning_is_output_and_not_part_of_the_answer(thought: Json) -> None:
    trace = answered(thought, chat_chunk("The "), chat_chunk("boat"), tokens=3)
    assert (trace.text, trace.chunks) == ("The boat", [1, 1, 1])
    assert trace.hidden_tokens == 0


@pytest.mark.parametrize(
    "other",
    [
        delta(reasoning_details=[{"type": "reasoning.text", "text": "t"}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": "x"}}]),
        delta(function_call={"name": "f", "arguments": ""}),
        delta(refusal="no"),
        delta(audio={"data": "UklGRg=="}),
        delta(whatever_comes_next={"deep": [{"er": "x"}]}),
        delta(content=[{"type": "image", "url": "x"}]),
        {"choices": [{"delta": {}, "logprobs": {"content": [{"token": "\ufffd", "logprob": -1}]}}]},
    ],
)
def test_output_in_any_field_is_an_arrival(other: Json) -> None:
    trace = answered(other, chat_chunk("boat"), tokens=2)
    assert (trace.text, trace.chunks) == ("boat", [1, 1])


@pytest.mark.parametrize(
    "nothing",
    [
        delta(role="assistant", content=""),
        delta(tool_calls=[], refusal=None, audio={}),
        delta(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": ""}]),
        {"choices": [{"delta": None}]},
        {"choices": []},
        {"choices": None, "usage": None},
    ],
)
def test_fields_without_output_are_no_arrivals(nothing: Json) -> None:
    trace = answered(nothing, chat_chunk("boat"), tokens=1)
    assert trace.chunks == [1]


def test_an_answer_in_parts_is_put_together() -> None:
    parts = [{"type": "text", "text": "The "}, {"type": "text", "text": "boat"}]
    assert answered(delta(content=parts), tokens=1).text == "The boat"


@pytest.mark.parametrize("reason", ["content_filter", "abort", "error", "new_word", 7])
def test_an_answer_that_is_broken_off_names_the_reason(reason: object) -> None:
    events: Sequence[Event] = [chat_chunk("The "), chat_chunk(None, reason), usage(1), "[DONE]"]
    script = Script(stream())
    with joined(script) as engine:
        script.events = lambda body: events
        trace = one(engine)
    assert (trace.finish_reason, trace.failure) == ("abort", str(reason))


def test_an_answer_that_was_broken_off_stays_so() -> None:
    events: Sequence[Event] = [chat_chunk("The "), chat_chunk(None, "abort")]
    script = Script(stream())
    with joined(script) as engine:
        script.events = lambda body: [*events, chat_chunk(None, "stop"), usage(1), "[DONE]"]
        trace = one(engine)
    assert (trace.finish_reason, trace.failure) == ("abort", "abort")


def test_a_prompt_has_one_length() -> None:
    with pytest.raises(EngineError, match=r"count of prompt tokens changed from 7 to 9"):
        answered(
            chat_chunk("a"), {**usage(1), "usage": {"prompt_tokens": 7}}, tokens=1, prompt_tokens=9
        )


def test_usage_with_every_event_is_counted_once() -> None:
    events = [{**usage(n), **chat_chunk(text)} for n, text in enumerate("abc", 1)]
    assert answered(*events, tokens=3).tokens == 3


def test_a_count_that_falls_is_not_believed() -> None:
    with pytest.raises(EngineError, match=r"count of output tokens fell from 7 to 2"):
        answered(chat_chunk("a"), usage(7), tokens=2)


@pytest.mark.parametrize("tokens", [5, 7])
def test_fewer_tokens_than_pieces_of_text_cannot_be(tokens: int) -> None:
    events = [chat_chunk("a") for _ in range(12)]
    with pytest.raises(EngineError, match=rf"counts {tokens} output tokens .* in 12 chunks"):
        answered(*events, tokens=tokens)


def test_a_parser_may_split_the_text_of_some_tokens() -> None:
    assert answered(*[chat_chunk("a")] * 12, tokens=8).tokens == 8
    call = delta(tool_calls=[{"index": 0, "function": {"arguments": "x"}}])
    assert answered(*[call] * 14, tokens=7).tokens == 7


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        ({"completion_tokens": -5}, "completion_tokens: expected at least 0, got -5"),
        ({"completion_tokens": 2.5}, "completion_tokens: .* got 2.5"),
        ({"completion_tokens": True}, "completion_tokens: .* got True"),
        ({"completion_tokens": "7"}, "completion_tokens: .* got '7'"),
        ({"prompt_tokens": 10**18}, "prompt_tokens: expected at most 2147483648, got 1"),
        ({"prompt_tokens": -1}, "prompt_tokens: .* got -1"),
    ],
)
def test_a_count_that_cannot_be_names_its_place(counts: Json, what: str) -> None:
    with pytest.raises(EngineError, match=rf"not that of its API \(usage\.{what}"):
        answered(chat_chunk("a"), tokens=1, **counts)


def test_a_prompt_has_no_more_tokens_than_bytes_and_a_template() -> None:
    assert answered(chat_chunk("a"), tokens=1, prompt_tokens=20_000).prompt_tokens == 20_000
    with pytest.raises(EngineError, match=r"counts 1000000 prompt tokens .* prompt of \d+ bytes"):
        answered(chat_chunk("a"), tokens=1, prompt_tokens=10**6)


@pytest.mark.parametrize(
    "text",
    [
        '{"choices": [], "usage": {"completion_tokens": NaN}}',
        '{"choices": [], "usage": {"completion_tokens": Infinity}}',
        '{"choices": [{"delta": {}, "avg_decoded_tokens_per_iter": NaN}]}',
        '{"choices": [], "metrics": {"speculative_decoding": {"num_spec_tokens": -3}}}',
        '{"choices": [], "metrics": {"speculative_decoding": {"per_step_drafted": [1], '
        '"per_step_accepted": [2]}}}',
        '{"choices": [], "metrics": {"speculative_decoding": {"per_step_drafted": [3], '
        '"per_step_accepted": [2], "num_accepted_draft_tokens": 3}}}',
        '{"choices": [], "timings": {"predicted_n": 1, "draft_n": 1e3}}',
        '{"choices": [], "sglext": {"spec_tokens_details": {"spec_verify_ct": -1}}}',
        '{"choices": [], "metrics": {"speculative_decoding": [1, 2]}}',
    ],
)
def test_numbers_that_cannot_be_are_one_clear_error(text: str) -> None:
    with pytest.raises(EngineError, match=r"not that of its API"):
        answered(text, chat_chunk("a"), tokens=1)


def test_tokens_that_a_parser_of_reasoning_hides_are_noticed() -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 12}}
    trace = answered(chat_chunk("The boat"), chat_chunk("."), tokens=14, **details)
    assert (trace.hidden_tokens, trace.chunks) == (12, [13, 1])


def test_a_text_has_no_more_tokens_than_bytes() -> None:
    trace = answered(chat_chunk("a"), chat_chunk("b"), tokens=16)
    assert (trace.hidden_tokens, trace.chunks) == (14, [15, 1])


def test_ids_of_some_tokens_alone_are_not_the_output() -> None:
    chunk = chat_chunk("b", token_ids=[4])
    trace = answered(chat_chunk("a", token_ids=[3]), chunk, tokens=13)
    assert (trace.token_ids, trace.tokens, trace.hidden_tokens) == ([], 13, 11)
