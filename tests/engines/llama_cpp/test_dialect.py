"""llama.cpp's server as an engine, against a fake one: traces, withheld tokens, errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_speedbench.engines import (
    NO_SPECULATION,
    EngineConfig,
    EngineError,
    Request,
    Sampling,
    Speculation,
    Trace,
    open_engine,
)
from pytest_speedbench.engines.llama_cpp import vocabulary
from pytest_speedbench.engines.serving.client import ServerEngine
from pytest_speedbench.measure.check import check_counters, check_traces

from ..serving.fake import serving
from .fake import STOP, LlamaCpp, Step, spelled, word

NGRAM = Speculation("ngram", 4)
REQUEST = Request("a", (1, 5, 6), Sampling(32), (STOP,), NGRAM)


@dataclass
class WordTokenizer:
    """The methods of a Hugging Face tokenizer that the adapter uses."""

    words: int = 100
    all_special_ids: tuple[int, ...] = (0, 1, STOP)

    def __len__(self) -> int:
        return self.words

    def decode(self, token_ids: list[int], **_: Any) -> str:
        return "".join(map(word, token_ids))


@pytest.fixture(autouse=True)
def tokenizer(monkeypatch: pytest.MonkeyPatch) -> WordTokenizer:
    found = WordTokenizer()
    monkeypatch.setattr(vocabulary, "_load", lambda source: found)
    return found


@contextmanager
def engine_on(
    server: LlamaCpp, speculation: Speculation = NGRAM, batch: int = 4
) -> Iterator[ServerEngine]:
    with serving(server.script) as url:
        args = (("tokenizer", "words"), ("reference_url", url))
        config = EngineConfig("llama-cpp", "tiny", speculation, batch, url, args)
        engine = open_engine(config, 10.0)
        try:
            assert isinstance(engine, ServerEngine)
            yield engine
        finally:
            engine.close()


def ask(engine: ServerEngine, *requests: Request) -> list[Trace]:
    engine.hold(4)
    engine.submit(requests)
    traces: list[Trace] = []
    while len(traces) < len(requests):
        traces += engine.collect(10.0)
    return traces


def test_every_step_is_read_with_its_draft() -> None:
    with engine_on(LlamaCpp()) as engine:
        before = engine.counters()
        [trace] = ask(engine, REQUEST)
        grown = engine.counters()
        assert before is not None
        assert grown is not None
        check_traces([trace], NGRAM)
        check_counters([trace], NGRAM, grown - before)
    assert trace.token_ids == [10, 11, 12, 13, 14, 15]
    assert (trace.chunks, trace.steps) == ([1, 3, 1, 1], [3, 1, 1])
    assert (trace.drafted, trace.accepted) == ([4, 4], [2, 0])
    assert trace.finish_reason == "length"
    assert trace.totals is None
    assert trace.times == sorted(trace.times)


def test_a_count_of_fewer_tokens_than_were_sent_is_refused() -> None:
    server = LlamaCpp()
    honest = server.events

    def dishonest(body: dict[str, Any]) -> list[Any]:
        events: list[Any] = honest(body)
        events[2]["timings"]["predicted_n"] = 1
        return events

    with engine_on(server) as engine:
        server.script.events = dishonest
        with pytest.raises(EngineError, match="counts 1 output tokens, but sent 3"):
            ask(engine, REQUEST)


def test_the_body_of_a_request() -> None:
    server = LlamaCpp(speculative=False, steps=[Step([11])])
    with engine_on(server, NO_SPECULATION) as engine:
        sampling = Sampling(7, temperature=0.5, seed=3, ignore_eos=True)
        ask(engine, Request("a", (1, 5), sampling, (STOP,)))
    [body] = server.script.asked[-1:]
    assert body["prompt"] == [1, 5]
    assert body["n_predict"] == 7
    assert (body["temperature"], body["seed"], body["ignore_eos"]) == (0.5, 3, True)
    assert body["samplers"] == ["temperature"]  # no top-k, top-p, min-p of the server's own
    assert body["cache_prompt"] is False


def test_engine_info() -> None:
    with engine_on(LlamaCpp()) as engine:
        info = engine.info
    assert (info.engine, info.version, info.dtype) == ("llama-cpp", "b11549-0123abc", "Q4_1")
    assert info.details["max_model_len"] == 2048
    assert info.details["slots"] == 8
    assert info.details["speculative.n_min"] == 1
    assert "temperature" not in info.details  # each request has its own


def test_a_stop_token_of_the_model_ends_the_output_and_is_part_of_it() -> None:
    server = LlamaCpp(steps=[Step([11, STOP], 4, 3)], stop_type="eos")
    with engine_on(server) as engine:
        [trace] = ask(engine, REQUEST)
    assert trace.token_ids == [10, 11, STOP]
    assert (trace.steps, trace.accepted, trace.finish_reason) == ([2], [3], "stop")


def test_a_stop_token_that_the_server_does_not_know_is_cut_here() -> None:
    with engine_on(LlamaCpp()) as engine:
        [trace] = ask(engine, Request("a", (1,), Sampling(32), (12,), NGRAM))
        assert engine.counters() is None  # the server may have generated more
        assert engine.counters() is not None
        [whole] = ask(engine, Request("b", (1,), Sampling(32, ignore_eos=True), (12,), NGRAM))
    assert trace.token_ids == [10, 11, 12]
    assert (trace.steps, trace.finish_reason) == ([2], "stop")
    assert whole.tokens == 6


# -- tokens that the stream withholds ------------------------------------------------------------


def test_withheld_ids_come_from_the_tokenizer() -> None:
    fox, e_acute = spelled("🦊"), spelled("é")
    steps = [Step([*fox[:1]]), Step([*fox[1:], 11], 4, 3), Step(e_acute, 4, 1)]
    with engine_on(LlamaCpp(steps=steps)) as engine:
        before = engine.counters()
        [trace] = ask(engine, REQUEST)
        grown = engine.counters()
        assert before is not None
        assert grown is not None
        assert (grown - before).output_tokens == trace.tokens
    assert trace.token_ids == [10, *fox, 11, *e_acute]
    # One step, or two, before the fox was whole: that is open, their number is not.
    assert trace.totals is not None
    assert (trace.totals.steps, trace.totals.accepted_tokens) == (3, 4)


def test_without_drafts_every_withheld_token_is_a_step() -> None:
    fox = spelled("🦊")
    server = LlamaCpp(speculative=False, steps=[Step([token]) for token in (*fox, 11)])
    with engine_on(server, NO_SPECULATION) as engine:
        [trace] = ask(engine, Request("a", (1,), Sampling(32)))
    assert trace.token_ids == [10, *fox, 11]
    assert trace.chunks == [1] * 6


def test_if_the_tokenizer_disagrees_the_most_likely_tokens_are_taken() -> None:
    first, second = spelled("é")
    server = LlamaCpp(
        speculative=False,
        steps=[Step([first]), Step([second]), Step([11])],
        spelling=False,
        likely=[3, second, first],  # a word, or a byte that begins no character, cannot stand there
    )
    with engine_on(server, NO_SPECULATION) as engine:
        before = engine.counters()
        [trace] = ask(engine, Request("a", (1,), Sampling(32)))
        grown = engine.counters()
    assert trace.token_ids == [10, first, second, 11]
    assert server.script.asked[-1]["prompt"] == [1, 10]
    assert before is not None
    assert grown is not None
    assert (grown - before).output_tokens == trace.tokens  # its own question is not counted


def test_an_output_that_ends_within_a_character_keeps_its_last_token() -> None:
    first = spelled("é")[0]
    server = LlamaCpp(speculative=False, steps=[Step([11]), Step([first])], likely=[4, first])
    with engine_on(server, NO_SPECULATION) as engine:
        [trace] = ask(engine, Request("a", (1,), Sampling(3)))
    assert trace.token_ids == [10, 11, first]
    assert trace.chunks == [1, 1, 1]


def test_a_token_that_cannot_be_reconstructed_is_an_error() -> None:
    server = LlamaCpp(speculative=False, steps=[Step([spelled("é")[0]])], likely=[3, 4])
    with (
        engine_on(server, NO_SPECULATION) as engine,
        pytest.raises(EngineError, match=r"request a: the server withheld the token at position 1"),
    ):
        ask(engine, Request("a", (1,), Sampling(3)))


# -- teacher forcing -----------------------------------------------------------------------------


def test_score_requests_more_tokens_until_all_candidates_are_among_them() -> None:
    server = LlamaCpp(likely=[*range(3, 99), *range(100, 320)])
    with engine_on(server) as engine:
        before = engine.counters()
        score = engine.score([1, 5, 6, 7], 3, [3, 319])
        after = engine.counters()
        asked = server.script.asked[-2:]
    assert (score.top_token, score.top_logprob) == (3, -0.5)
    assert set(score.logprobs) == {3, 319}
    assert score.logprobs[319] < score.logprobs[3]
    assert [body["prompt"] for body in asked] == [[1, 5, 6]] * 2
    assert asked[0]["n_probs"] < 316 <= asked[1]["n_probs"]
    assert before is not None
    assert after is not None


def test_a_candidate_outside_the_vocabulary_is_an_error() -> None:
    with (
        engine_on(LlamaCpp()) as engine,
        pytest.raises(EngineError, match=r"vocabulary has no tokens \[9999\]"),
    ):
        engine.score([1, 5], 1, [9999])


# -- what is not as the case wants it ------------------------------------------------------------


def test_a_server_that_does_not_speculate_is_refused() -> None:
    with (
        pytest.raises(EngineError, match=r"does not speculate, but the case needs ngram dl4"),
        engine_on(LlamaCpp(speculative=False)),
    ):
        pass


def test_a_server_that_speculates_is_refused_as_the_arm_without_sd() -> None:
    with (
        pytest.raises(
            EngineError, match=r"speculates, but the case needs no SD.*reference_url=URL"
        ),
        engine_on(LlamaCpp(), NO_SPECULATION),
    ):
        pass


def test_fewer_slots_than_the_batch_size_are_refused() -> None:
    with (
        pytest.raises(EngineError, match=r"has 2 slots.*batch size of 4.*--parallel 4"),
        engine_on(LlamaCpp(slots=2)),
    ):
        pass


def test_another_vocabulary_is_refused(tokenizer: WordTokenizer) -> None:
    server = LlamaCpp()
    server.script.posts["/detokenize"] = lambda body: {"content": "zebra"}
    with (
        pytest.raises(EngineError, match=r"different vocabularies \('zebra' instead of"),
        engine_on(server),
    ):
        pass


def test_a_smaller_vocabulary_is_refused(tokenizer: WordTokenizer) -> None:
    tokenizer.words = 1000
    with (
        pytest.raises(EngineError, match=r"it has 356 tokens, the tokenizer has 1000"),
        engine_on(LlamaCpp()),
    ):
        pass


def test_min_tokens_is_refused_unless_it_is_the_whole_output() -> None:
    with engine_on(LlamaCpp()) as engine:
        ask(engine, Request("a", (1,), Sampling(6, min_tokens=6), (STOP,), NGRAM))
        with pytest.raises(EngineError, match=r"min_tokens only if it equals max_tokens"):
            ask(engine, Request("b", (1,), Sampling(6, min_tokens=3), (STOP,), NGRAM))


def test_a_prompt_that_is_too_long_is_reported_with_the_servers_message() -> None:
    server = LlamaCpp()
    server.script.status = 400
    server.script.refusal = (
        '{"error":{"code":400,"message":"request (3000 tokens) exceeds the available context size '
        '(2048 tokens), try increasing it","type":"exceed_context_size_error"}}'
    )
    with (
        engine_on(server) as engine,
        pytest.raises(EngineError, match=r"3000 tokens\) exceeds the available context size"),
    ):
        ask(engine, REQUEST)
