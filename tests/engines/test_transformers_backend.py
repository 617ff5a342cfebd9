"""The transformers backend on models of random weights, in this process: steps, counts, errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.engines import (
    EngineConfig,
    EngineError,
    Request,
    Sampling,
    Speculation,
    Trace,
)
from pytest_speedbench.engines.transformers import TransformersBackend
from pytest_speedbench.measure.check import check_counters, check_traces

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("torch", "transformers"))),
    reason="needs pip install 'pytest-speedbench[transformers]'",
)

PROMPT = (5, 9, 5, 9, 5, 9)
TOKENS = 16
WINDOW = 128
NONE = Speculation()


def save(folder: Path, seed: int, vocabulary: int = 48) -> str:
    import torch
    import transformers

    torch.manual_seed(seed)
    shape = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=WINDOW,
        initializer_range=0.5,
    )
    transformers.LlamaForCausalLM(shape).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("target"), 0)


@pytest.fixture(scope="module")
def drafter(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("drafter"), 1)


@pytest.fixture(scope="module")
def backend(target: str) -> Iterator[TransformersBackend]:
    import torch

    args = (("dtype", "float32"), ("device", "cpu"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the models are smaller than what starting a second one costs
    backend = TransformersBackend(EngineConfig("transformers", target, args=args))
    yield backend
    backend.close()
    torch.set_num_threads(threads)


def run(
    backend: TransformersBackend, speculation: Speculation = NONE, **request: Any
) -> tuple[Trace, str | None]:
    """One request to its end: its trace, and how it ended."""
    sampling = Sampling(**{"max_tokens": TOKENS, **request.pop("sampling", {})})
    asked = Request("r", PROMPT, sampling, speculation=speculation, **request)
    backend.add(asked)
    outputs = backend.step()
    trace = Trace("r", len(PROMPT), 0.0, prefill_tokens=backend.prefill_tokens(asked))
    for output in outputs:
        trace.token_ids += output.token_ids
        trace.chunks.append(len(output.token_ids))
        trace.times.append(output.time)
    trace.drafted, trace.accepted = outputs[-1].drafted, outputs[-1].accepted
    assert backend.step() == []
    return trace, outputs[-1].finish_reason


def test_without_speculation_every_step_emits_one_token(
    backend: TransformersBackend, target: str
) -> None:
    import torch
    import transformers

    trace, finish = run(backend)
    assert (trace.steps, finish) == ([1] * (TOKENS - 1), "length")
    assert trace.drafted is None
    assert trace.times == sorted(trace.times)
    model = transformers.AutoModelForCausalLM.from_pretrained(target, dtype="float32")
    model.generation_config.eos_token_id = None
    whole = model.generate(torch.tensor([PROMPT]), max_new_tokens=TOKENS, do_sample=False)
    assert trace.token_ids == whole[0, len(PROMPT) :].tolist()


@pytest.mark.parametrize("method", ["ngram", "draft_model", "early_exit"])
def test_speculation_keeps_greedy_output_and_counts_its_drafts(
    backend: TransformersBackend, drafter: str, method: str
) -> None:
    speculation = Speculation(method, 3, {"draft_model": drafter, "early_exit": "1"}.get(method))
    before = backend.counters()
    trace, _ = run(backend, speculation)
    assert trace.token_ids == run(backend)[0].token_ids
    check_traces([trace], speculation)
    check_counters([trace], speculation, backend.counters() - before)
    assert trace.drafted
    assert max(trace.drafted) <= 3


def test_drafts_of_the_target_itself_are_accepted(
    backend: TransformersBackend, target: str
) -> None:
    trace, _ = run(backend, Speculation("draft_model", 3, target))
    assert trace.drafted is not None
    assert trace.accepted is not None
    assert trace.drafted[:3] == trace.accepted[:3] == [3, 3, 3]
    assert trace.steps[:3] == [4, 4, 4]


def test_a_stop_token_ends_the_output_and_ignore_eos_does_not(backend: TransformersBackend) -> None:
    whole = run(backend)[0].token_ids
    stop = whole[5]
    trace, finish = run(backend, stop_ids=(stop,))
    assert (trace.token_ids, finish) == (whole[: whole.index(stop) + 1], "stop")
    trace, finish = run(backend, stop_ids=(stop,), sampling={"ignore_eos": True})
    assert (trace.token_ids, finish) == (whole, "length")


def test_samples_are_those_of_their_seed(backend: TransformersBackend) -> None:
    drawn = [
        run(backend, sampling={"temperature": 1.0, "seed": seed})[0].token_ids for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_score_is_that_of_the_token_which_greedy_decoding_chose(
    backend: TransformersBackend,
) -> None:
    tokens = run(backend)[0].token_ids
    score = backend.score([*PROMPT, *tokens], len(PROMPT) + 3, range(48))
    assert score.top_token == tokens[3]
    assert score.top_logprob == max(score.logprobs.values())
    assert sum(map(math.exp, score.logprobs.values())) == pytest.approx(1, abs=1e-4)


def test_an_aborted_request_is_not_run(backend: TransformersBackend) -> None:
    backend.add(Request("r", PROMPT, Sampling(8)))
    backend.abort("r")
    assert backend.step() == []


def test_a_request_beyond_the_window_is_refused(backend: TransformersBackend) -> None:
    with pytest.raises(EngineError, match=f"6 prompt tokens and max_tokens={WINDOW}; expected"):
        backend.add(Request("r", PROMPT, Sampling(WINDOW)))


def test_a_drafter_of_another_vocabulary_needs_temperature_0_and_tokenizers(
    backend: TransformersBackend, tmp_path: Path
) -> None:
    other = Speculation("draft_model", 3, save(tmp_path, 2, vocabulary=40))
    with pytest.raises(EngineError, match="a different vocabulary than the target, which works"):
        backend.add(Request("r", PROMPT, Sampling(8, temperature=1.0), speculation=other))
    with pytest.raises(EngineError, match="both tokenizers are needed, but"):
        backend.add(Request("r", PROMPT, Sampling(8), speculation=other))


def test_what_cannot_be_loaded_is_one_error(target: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="transformers cannot load the model"):
        TransformersBackend(EngineConfig("transformers", str(tmp_path)))
    with pytest.raises(EngineError, match=r"--speed-engine-arg.*dtype"):
        TransformersBackend(EngineConfig("transformers", target, args=(("dtyp", "float32"),)))
