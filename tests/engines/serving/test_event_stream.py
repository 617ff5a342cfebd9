"""The grammar of server-sent events, as servers and proxies write it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines import EngineError, Trace
from pytest_speedbench.engines.serving.event_stream import EventStream, whole_characters

from .fake import Script
from .test_openai import chat_chunk, joined, one, usage

EVENTS = [chat_chunk("The "), chat_chunk("boat"), chat_chunk(None, "stop"), usage(5)]


def lines(end: bytes = b"\n", field: bytes = b"data: ") -> list[bytes]:
    sent = [*(json.dumps(event).encode() for event in EVENTS), b"[DONE]"]
    return [field + data + 2 * end for data in sent]


def in_lines() -> list[bytes]:
    """Each event as JSON of several lines."""
    sent = [*(json.dumps(event, indent=1).encode() for event in EVENTS), b"[DONE]"]
    return [b"".join(b"data: %b\n" % line for line in data.split(b"\n")) + b"\n" for data in sent]


def answered(*blocks: bytes) -> Trace:
    with joined(Script(lambda body: list(blocks))) as engine:
        return one(engine)


@pytest.mark.parametrize(
    "blocks",
    [
        lines(b"\r\n"),
        lines(field=b"data:"),
        [b"\xef\xbb\xbf" + lines()[0], *lines()[1:]],
        [b"id: 7\nevent: message\n" + line for line in lines()],
        [b": ping\n\n", b"retry: 10\n\n", b"data:\n\n", b"data\n\n", *lines()],
        [*lines(), b"data: [DONE]\n\n"],
        lines()[:-1],
        [b"".join(lines())[:-2]],
        in_lines(),
        [line + b"\n" for event in in_lines() for line in event.split(b"\n")[:-1]],
        [line[:-1] for line in lines()],
    ],
    ids=[
        *("CRLF", "no blank", "BOM", "fields", "no data", "done twice", "no end", "no line break"),
        *("several lines", "line by line", "no blank line"),
    ],
)
def test_forms_of_one_stream(blocks: Sequence[bytes]) -> None:
    trace = answered(*blocks)
    assert (trace.text, sum(trace.chunks), trace.finish_reason) == ("The boat", 5, "stop")


@pytest.mark.parametrize(
    "body", [b"<html>busy</html>", json.dumps(EVENTS[0]).encode(), b"\n\nok\n"]
)
def test_a_body_that_is_no_stream_is_quoted(body: bytes) -> None:
    with pytest.raises(EngineError, match=r"not a stream of events, although .* stream=true: '"):
        answered(body)


@pytest.mark.parametrize(
    "sent",
    [
        b'event: error\ndata: {"message": "no memory"}\n\n',
        b"event: error\ndata: no memory\n\n",
        b'event: error\ndata: {"error": {"message": "no memory"}}\n\n',
        b'error: {"code": 500, "message": "no memory", "type": "server_error"}\n\n',
    ],
)
def test_an_event_of_type_error_says_why(sent: bytes) -> None:
    with pytest.raises(EngineError, match=r"(HTTP 500 .*|error in its stream): no memory\n"):
        answered(lines()[0], sent)


def test_an_event_that_is_whole_does_not_wait_for_the_next() -> None:
    stream = EventStream()
    assert stream.feed(b'data: {"a":\n') == []
    assert stream.feed(b"data: 1}\n") == []
    assert stream.feed(b"\n") == [b'{"a":\n1}']
    assert stream.feed(b"data: {}\n") == [b"{}"]
    assert stream.feed(b"data: [DONE]\n") == [b"[DONE]"]


def test_an_event_of_several_lines_that_is_no_json_is_quoted_as_a_whole() -> None:
    with pytest.raises(EngineError, match=r"not JSON: '.*a.*: oops'"):
        answered(b'data: {"a":\ndata: oops\n\n')


def test_an_error_is_of_its_own_event_alone() -> None:
    assert answered(b"event: error\n\n", *lines()).text == "The boat"


@pytest.mark.parametrize("half", [rb"\ud83d", rb"\ude00", b"\xf0\x9f", rb"\ud83d x"])
def test_half_a_character_is_replaced(half: bytes) -> None:
    sent = b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % half
    assert answered(sent, *lines()).text.startswith("\ufffd")


@given(st.text(st.characters(codec="utf-8")))
def test_whole_characters_stay(text: str) -> None:
    for ascii_only in (True, False):
        data = json.dumps(text, ensure_ascii=ascii_only).encode()
        assert whole_characters(data) == data


@pytest.mark.parametrize(
    ("choices", "place"),
    [
        ([{"index": 1, "delta": {"content": "x"}}], r"choices\.0\.index"),
        (EVENTS[0]["choices"] * 2, "choices"),
    ],
)
def test_more_choices_than_were_asked_for(choices: list[dict[str, Any]], place: str) -> None:
    sent = b"data: " + json.dumps({"choices": choices}).encode() + b"\n\n"
    with pytest.raises(EngineError, match=rf"not that of its API \({place}: "):
        answered(sent, *lines())


@given(st.lists(st.integers(0, 1500), max_size=12))
def test_blocks_may_end_anywhere(cuts: list[int]) -> None:
    sent = [
        b": ping\n\n",
        b"event: error\ndata: x\n\n",
        *lines(b"\r\n"),
        *lines(),
        *in_lines(),
        b"data: \n\n",
    ]
    whole = b"".join(sent)
    places = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    stream, apart = EventStream(), []
    for begin, end in pairwise(places):
        apart += stream.feed(whole[begin:end])
    assert [*apart, *stream.end()] == EventStream().feed(whole)


@given(
    st.lists(
        st.sampled_from(
            [
                *(*lines(), *lines(b"\r\n"), *in_lines(), *in_lines()[0].splitlines(keepends=True)),
                *(b"data: \n\n", b"data: 1\n", b"event: error\n", b"\n"),
            ]
        )
    )
)
def test_blocks_of_whole_events_give_what_one_block_gives(blocks: list[bytes]) -> None:
    stream = EventStream()
    apart = [data for block in blocks for data in stream.feed(block)]
    assert apart == EventStream().feed(b"".join(blocks))
