"""Real transformers, real SmolLM2: every method's steps, against the library's own counts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_speedbench.engines import (
    EngineConfig,
    EngineError,
    Sampling,
    Speculation,
    Trace,
    open_engine,
)
from pytest_speedbench.engines.demo import DEMO_MODEL
from pytest_speedbench.measure.check import check_counters, check_traces

from .conftest import PROMPTS, TIMEOUT, Driver, needs_demo, started

pytestmark = [needs_demo, pytest.mark.engine]

NONE = Speculation()
ENDING = "What is the capital of France?"  # answered in one short sentence
METHODS = (
    Speculation("ngram", 3),
    Speculation("draft_model", 3, DEMO_MODEL),
    Speculation("early_exit", 2, "24"),
)


@pytest.fixture(scope="module")
def driver(tokenizer: object) -> Iterator[Driver]:
    # One thread and float32: the same sums in every batch shape, so greedy text is the same.
    config = EngineConfig("transformers", DEMO_MODEL, args=(("dtype", "float32"),))
    yield from started(config, tokenizer)


@pytest.fixture(scope="module")
def plain(driver: Driver) -> list[Trace]:
    return driver.run(NONE)


def test_without_speculation_every_step_emits_one_token(plain: list[Trace]) -> None:
    assert all(trace.steps == [1] * (trace.tokens - 1) for trace in plain)
    assert all(trace.prefill_tokens == 1 and trace.drafted is None for trace in plain)


@pytest.mark.parametrize("speculation", METHODS, ids=lambda s: s.method)
def test_speculation_keeps_greedy_output_and_agrees_with_the_librarys_counts(
    driver: Driver, plain: list[Trace], speculation: Speculation
) -> None:
    before = driver.engine.counters()
    traces = driver.run(speculation)
    after = driver.engine.counters()
    assert [t.token_ids for t in traces] == [t.token_ids for t in plain]
    check_traces(traces, speculation)
    check_counters(traces, speculation, after - before)
    assert (after - before).drafts > 0


def test_the_target_as_its_own_drafter_is_nearly_always_accepted(driver: Driver) -> None:
    """Not always: drafting and verifying have other shapes, and round differently."""
    traces = driver.run(
        Speculation("draft_model", 3, DEMO_MODEL), sampling=Sampling(24, ignore_eos=True)
    )
    drafted = sum(sum(trace.drafted) for trace in traces)
    assert sum(sum(trace.accepted) for trace in traces) > 0.8 * drafted


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random model with a tokenizer of its own: 300 pieces of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("stranger")
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"]
    )
    pieces.train_from_iterator(PROMPTS, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=pieces, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(folder)
    shape = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    return str(folder)


def test_a_drafter_with_another_tokenizer_drafts_and_keeps_the_output(
    driver: Driver, plain: list[Trace], stranger: str
) -> None:
    speculation = Speculation("draft_model", 3, stranger)
    before = driver.engine.counters()
    traces = driver.run(speculation)
    grown = driver.engine.counters() - before
    assert [t.token_ids for t in traces] == [t.token_ids for t in plain]
    check_traces(traces, speculation)
    check_counters(traces, speculation, grown)
    assert grown.draft_tokens > 0
    # The library re-encodes drafts, which may then be longer than was asked for.
    assert max(max(t.drafted, default=0) for t in traces) <= 3


def test_another_vocabulary_and_a_temperature_are_refused(driver: Driver, stranger: str) -> None:
    sampling = Sampling(8, temperature=1.0)
    with pytest.raises(EngineError, match="only at temperature 0"):
        driver.run(Speculation("draft_model", 3, stranger), sampling=sampling)


def test_a_stranger_without_its_tokenizer_is_refused_and_the_engine_goes_on(
    driver: Driver, stranger: str, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(stranger) / name, tmp_path)
    with pytest.raises(EngineError, match="both tokenizers are needed"):
        driver.run(Speculation("draft_model", 3, str(tmp_path)), prompts=PROMPTS[:1])
    assert driver.run(NONE, prompts=PROMPTS[:1], sampling=Sampling(2))[0].tokens == 2


def test_stop_token_ends_the_output_and_ignore_eos_does_not(driver: Driver) -> None:
    short = driver.run(NONE, prompts=(ENDING,), sampling=Sampling(64))[0]
    full = driver.run(NONE, prompts=(ENDING,), sampling=Sampling(64, ignore_eos=True))[0]
    assert short.finish_reason == "stop"
    assert short.tokens < 64
    assert full.finish_reason == "length"
    assert full.tokens == 64


def test_score_prefers_the_token_that_greedy_decoding_chose(
    driver: Driver, plain: list[Trace], tokenizer: object
) -> None:
    prompt = tokenizer.render([{"role": "user", "content": "Why is the sky blue?"}])
    chosen = plain[-1].token_ids[0]
    score = driver.engine.score([*prompt, chosen], len(prompt), [chosen, 17])
    assert score.top_token == chosen
    assert score.logprobs[chosen] == pytest.approx(score.top_logprob)
    assert score.logprobs[17] < score.logprobs[chosen]


def test_a_model_that_does_not_exist_is_one_clear_error() -> None:
    with pytest.raises(EngineError, match=r"(?s)cannot load the model.*--speed-model"):
        open_engine(EngineConfig("transformers", "/no/such/model"), TIMEOUT)


def test_an_argument_that_does_not_exist_is_one_clear_error() -> None:
    with pytest.raises(EngineError, match=r"argument 'attention' \(--speed-engine-arg\)"):
        open_engine(EngineConfig("transformers", DEMO_MODEL, args=(("attention", 1),)), TIMEOUT)


@pytest.mark.parametrize(
    ("speculation", "message"),
    [
        (Speculation("draft_model", 3), "--speed-drafter"),
        (Speculation("early_exit", 3, "ten"), "--speed-drafter 10"),
        (Speculation("eagle3", 3, "x"), "it has: none, ngram, draft_model, early_exit"),
    ],
)
def test_impossible_configurations_are_refused_before_loading(
    speculation: Speculation, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        open_engine(EngineConfig("transformers", DEMO_MODEL, speculation), TIMEOUT)
