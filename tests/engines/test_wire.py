"""Messages between parent and child: what arrives is what was sent, or one clear error."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines import (
    Counters,
    EngineConfig,
    EngineInfo,
    Request,
    RequestTotals,
    Sampling,
    Speculation,
    TokenScore,
    Trace,
)
from pytest_speedbench.engines.process import wire

COUNTS = st.integers(0, 1 << 40)
TOKENS = st.lists(st.integers(0, 1 << 20), max_size=8)
FLOATS = st.floats(allow_nan=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | COUNTS | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PAIRS = st.lists(st.tuples(st.text(), PLAIN), max_size=3).map(tuple)
SPECULATIONS = st.builds(Speculation, st.text(), COUNTS, st.none() | st.text())
SAMPLINGS = st.builds(Sampling, COUNTS, FLOATS, COUNTS, st.booleans(), COUNTS)
VARIABLES = st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple)
CONFIGS = st.builds(
    EngineConfig,
    engine=st.text(),
    model=st.text(),
    speculation=SPECULATIONS,
    max_batch=COUNTS,
    url=st.text(),
    args=PAIRS,
    prefix_caching=st.booleans(),
    raw=st.booleans(),
    environment=VARIABLES,
    surroundings=VARIABLES,
    python=st.text(),
)
REQUESTS = st.builds(
    Request,
    st.text(),
    TOKENS.map(tuple),
    SAMPLINGS,
    TOKENS.map(tuple),
    SPECULATIONS,
    st.text(),
    VARIABLES,
    PAIRS,
)
TRACES = st.builds(
    Trace,
    st.text(),
    COUNTS,
    FLOATS,
    TOKENS,
    TOKENS,
    st.lists(FLOATS, max_size=4),
    COUNTS,
    st.none() | TOKENS,
    st.none() | TOKENS,
    st.just("stop"),
    st.text(),
    COUNTS,
    st.none() | st.builds(RequestTotals, st.none() | COUNTS),
    st.none() | st.text(),
    st.none() | COUNTS,
)
SCORES = st.builds(
    TokenScore, st.dictionaries(COUNTS, FLOATS, max_size=4), COUNTS, FLOATS, st.none() | FLOATS
)


def arrived(content: object) -> object:
    return wire.decode(wire.encode(("kind", content)))[1]


@given(CONFIGS, st.lists(REQUESTS, max_size=2), st.lists(TRACES, max_size=2), SCORES)
def test_everything_arrives_as_it_was_sent(
    config: EngineConfig, requests: list[Request], traces: list[Trace], score: TokenScore
) -> None:
    assert wire.read_config(arrived(config)) == config
    assert wire.read_requests(arrived(requests)) == requests
    assert wire.read_traces(arrived(traces)) == traces
    assert wire.read_score(arrived(score)) == score


def test_counters_and_info_arrive_as_they_were_sent() -> None:
    info = EngineInfo("vllm", "0.1", "cpu", "float32", {"a": [1, None]}, packages={"torch": "2"})
    assert wire.read_info(arrived(info)) == info
    assert wire.read_counters(arrived(Counters(1, 2, 3))) == Counters(1, 2, 3)
    assert wire.read_counters(arrived(None)) is None


def test_numbers_of_other_libraries_arrive_as_numbers() -> None:
    trace = Trace("r", 1, 0.0, [np.int64(7)], array("I", [1]), [np.float64(0.5), math.inf])
    assert wire.read_traces(arrived([trace])) == [Trace("r", 1, 0.0, [7], [1], [0.5, math.inf])]


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"{}", b"[]", b"[1]", b"[" * 100_000])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(wire.ProtocolError):
        wire.decode(data)


@pytest.mark.parametrize("data", [None, 3, [3], [{"id": "r", "unknown": 1}], [{"prompt_ids": 4}]])
def test_content_of_another_form_is_refused(data: object) -> None:
    with pytest.raises(wire.ProtocolError):
        wire.read_requests(data)
