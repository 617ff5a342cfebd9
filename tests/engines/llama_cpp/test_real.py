"""llama.cpp's real server on the CPU with the demo model, which is also its own drafter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pytest_speedbench.engines import (
    NO_SPECULATION,
    EngineConfig,
    EngineError,
    Sampling,
    Speculation,
    open_engine,
)
from pytest_speedbench.engines.demo import DEMO_MODEL
from pytest_speedbench.measure.check import check_counters, check_traces
from pytest_speedbench.measure.tokenizer import HuggingFaceTokenizer

from ..conftest import Driver, needs_demo, needs_llama_cpp, started

pytestmark = [needs_demo, needs_llama_cpp, pytest.mark.engine]

DRAFT = Speculation("draft_model", 3, DEMO_MODEL)
NGRAM = Speculation("ngram", 4)
CONFIG = EngineConfig("llama-cpp", DEMO_MODEL, DRAFT, 4, args=(("max_model_len", 512),))
LONG = Sampling(64, ignore_eos=True)
# Characters of several tokens each, whose ids the server withholds.
SIGNS = "Repeat exactly: 😊 你好 🦊🦊 你好 😊"


@pytest.fixture(scope="module")
def drafting(tokenizer: HuggingFaceTokenizer) -> Iterator[Driver]:
    yield from started(CONFIG, tokenizer)


@pytest.fixture(scope="module")
def plain(tokenizer: HuggingFaceTokenizer) -> Iterator[Driver]:
    yield from started(CONFIG.without_speculation(), tokenizer)


def test_a_model_that_drafts_for_itself_is_nearly_always_right(drafting: Driver) -> None:
    before = drafting.engine.counters()
    traces = drafting.run(DRAFT, batch_size=4, sampling=LONG)
    grown = drafting.engine.counters()
    assert before is not None
    assert grown is not None
    check_traces(traces, DRAFT)
    check_counters(traces, DRAFT, grown - before)
    assert (grown - before).drafts == sum(len(trace.steps) for trace in traces)
    steps = [size for trace in traces for size in trace.steps]
    assert sum(steps) / len(steps) > 3.5
    assert all(trace.tokens == 64 and trace.totals is None for trace in traces)


def test_greedy_output_is_the_same_with_and_without(drafting: Driver, plain: Driver) -> None:
    with_sd = drafting.run(DRAFT, sampling=LONG)
    without = plain.run(NO_SPECULATION, sampling=LONG)
    assert all(trace.chunks == [1] * 64 for trace in without)
    for ours, theirs in zip(with_sd, without, strict=True):
        same = [a == b for a, b in zip(ours.token_ids, theirs.token_ids, strict=True)]
        if not all(same):  # a tie, which several tokens at once decide otherwise
            at = same.index(False)
            prompt = drafting.requests(DRAFT)[with_sd.index(ours)].prompt_ids
            pair = [ours.token_ids[at], theirs.token_ids[at]]
            text = [*prompt, *theirs.token_ids[:at], pair[1]]
            score = plain.engine.score(text, len(text) - 1, pair)
            assert abs(score.logprobs[pair[0]] - score.logprobs[pair[1]]) < 0.5


def test_withheld_tokens_are_found_again(plain: Driver, tokenizer: HuggingFaceTokenizer) -> None:
    [trace] = plain.run(NO_SPECULATION, sampling=LONG, prompts=(SIGNS,))
    assert min(trace.token_ids) >= 0
    assert trace.chunks == [1] * 64
    text = tokenizer.decode(trace.token_ids).rstrip("\N{REPLACEMENT CHARACTER}")
    assert "\N{REPLACEMENT CHARACTER}" not in text
    assert not text.isascii()


def test_score_is_the_targets_own_although_it_speculates(
    drafting: Driver, plain: Driver, tokenizer: HuggingFaceTokenizer
) -> None:
    prompt = tokenizer.render([{"role": "user", "content": "Why is the sky blue?"}])
    chosen = plain.run(NO_SPECULATION)[-1].token_ids[0]
    scores = [
        d.engine.score([*prompt, chosen], len(prompt), [chosen, 17]) for d in (drafting, plain)
    ]
    assert scores[0].top_token == scores[1].top_token == chosen
    assert scores[0].logprobs == pytest.approx(scores[1].logprobs, abs=0.01)
    assert scores[0].logprobs[17] < scores[0].logprobs[chosen]


def test_a_cancelled_request_leaves_the_others_right(drafting: Driver) -> None:
    alone = drafting.run(DRAFT, sampling=LONG)
    engine = drafting.engine
    requests = drafting.requests(DRAFT, LONG)
    engine.hold(4)
    engine.submit(requests)
    engine.cancel([requests[0].id])
    traces = {}
    while len(traces) < len(requests):
        traces |= {trace.request_id: trace for trace in engine.collect(300)}
    assert traces[requests[0].id].finish_reason == "abort"
    for request, before in zip(requests[1:], alone[1:], strict=True):
        assert traces[request.id].tokens == before.tokens


def test_lookup_drafts_what_it_has_seen(tokenizer: HuggingFaceTokenizer) -> None:
    driver = started(replace(CONFIG, speculation=NGRAM), tokenizer)
    running = next(driver)
    before = running.engine.counters()
    traces = running.run(NGRAM, batch_size=4, sampling=LONG)
    grown = running.engine.counters()
    driver.close()
    assert before is not None
    assert grown is not None
    check_traces(traces, NGRAM)
    check_counters(traces, NGRAM, grown - before)
    assert grown.accepted_tokens > 0
    assert any(1 in trace.steps for trace in traces)


def test_a_file_that_is_not_a_model_is_one_message(tmp_path: object) -> None:
    broken = tmp_path / "broken.gguf"  # type: ignore[operator]
    broken.write_bytes(b"GGUF, but not really")
    wanted = replace(CONFIG, model=str(broken), speculation=NO_SPECULATION)
    wanted = replace(wanted, args=(*wanted.args, ("tokenizer", DEMO_MODEL)))
    with pytest.raises(EngineError, match=r"llama-cpp does not start, its server ended"):
        open_engine(wanted, 60)
