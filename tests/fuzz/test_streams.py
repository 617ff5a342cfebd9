"""Streams of servers: cut anywhere they are the same; of any content they end in a trace or one
error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from engines.serving.fake import serving
from engines.serving.test_client import EAGLE3, config, requests
from engines.serving.vllm_fake import Vllm
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines import EngineError, Trace, open_engine
from pytest_speedbench.measure.check import check_traces

from .mutations import damaged, refused, share

TIMEOUT = 5.0
WHOLE = Vllm().events({"prompt": [1, 2, 3]})
RAW = st.sampled_from(
    [
        *(b"", b"\n", b"\r\n", b": comment\n\n", b"event: x\n", b"id: 1\n", b"retry: 9\n", b"data"),
        *(b"data:\n\n", b"data: [DONE]\n\n", b"data: {}\n\n", b"data: null\n\n", b"data: [[]]\n\n"),
        *(b"data: {\n\n", b"\xff\xfe", b"data: \x1b[31m\n\n", b'data: {"error": "\\u001b[2J"}\n\n'),
    ]
)


def lines(events: list[Any]) -> bytes:
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return "".join(f"data: {text}\n\n" for text in texts).encode(errors="surrogatepass")


@contextmanager
def server(blocks: list[bytes]) -> Iterator[str]:
    fake = Vllm()
    fake.script.events = lambda body: blocks
    with serving(fake.script) as url:
        yield url


def answer(blocks: list[bytes]) -> Trace | None:
    """The trace of the stream, or None where it is refused."""
    with server(blocks) as url:
        engine = open_engine(config(url), TIMEOUT)
        try:
            engine.submit(requests(1))
            traces = engine.collect(TIMEOUT)
            check_traces(traces, EAGLE3)
        except EngineError as error:
            refused(error)
            return None
        finally:
            engine.close()
    (trace,) = traces
    return trace


def shape(trace: Trace | None) -> tuple[Any, ...]:
    assert trace is not None
    return trace.token_ids, trace.chunks, trace.accepted, trace.finish_reason, trace.totals


@share(6)
@given(st.lists(st.integers(0, len(lines(WHOLE))), max_size=6))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    content = lines(WHOLE)
    ends = [0, *sorted(cuts), len(content)]
    blocks = [content[a:b] for a, b in pairwise(ends)]
    assert shape(answer(blocks)) == shape(answer([content]))


@share(12)
@given(damaged(WHOLE), st.randoms(use_true_random=False), st.booleans())
def test_events_of_another_form_or_order(events: list[Any], draws: Any, mixed: bool) -> None:
    if mixed:
        draws.shuffle(events)
    trace = answer([lines(events)])
    assert trace is None or trace.tokens <= 16


@share(8)
@given(st.lists(RAW | st.binary(max_size=8), max_size=5), st.integers(0, 5))
def test_bytes_that_are_no_events(extra: list[bytes], at: int) -> None:
    blocks = [lines([event]) for event in WHOLE]
    trace = answer([*blocks[:at], *extra, *blocks[at:]])
    assert trace is None or trace.tokens <= 16
