"""Real vLLM on the CPU, real SmolLM2, a real EAGLE-3 head: traces against vLLM's own counters."""

from __future__ import annotations

import json
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
from pytest_speedbench.engines.vllm import speculative_config
from pytest_speedbench.measure.check import check_counters, check_traces
from pytest_speedbench.measure.load import Turn
from pytest_speedbench.measure.metrics import request_traces
from pytest_speedbench.stats import micro_al

from .conftest import HEAD, TIMEOUT, Driver, needs_demo, needs_vllm, started

pytestmark = [needs_demo, needs_vllm, pytest.mark.engine]

ARGS = (("max_model_len", 1024), ("dtype", "float32"))
EAGLE3 = Speculation("eagle3", 3, str(HEAD))
NGRAM = Speculation("ngram", 3)


def config(speculation: Speculation, *more: tuple[str, object]) -> EngineConfig:
    return EngineConfig("vllm", DEMO_MODEL, speculation, 4, args=(*ARGS, *more))


@pytest.fixture(scope="module")
def plain(tokenizer: object) -> Iterator[list[Trace]]:
    driver = started(config(Speculation()), tokenizer)
    yield next(driver).run(Speculation(), batch_size=4)
    driver.close()


@pytest.fixture(scope="module", params=[EAGLE3, NGRAM], ids=lambda s: s.method)
def speculating(request: pytest.FixtureRequest, tokenizer: object) -> Iterator[tuple]:
    engines = started(config(request.param), tokenizer)
    yield next(engines), request.param
    engines.close()


def test_traces_agree_with_the_engines_counters_and_with_plain_greedy_output(
    speculating: tuple[Driver, Speculation], plain: list[Trace]
) -> None:
    driver, speculation = speculating
    before = driver.engine.counters()
    traces = driver.run(speculation, batch_size=4)
    after = driver.engine.counters()
    check_traces(traces, speculation)
    check_counters(traces, speculation, after - before)
    assert (after - before).accepted_tokens > 0
    assert [t.token_ids for t in traces] == [t.token_ids for t in plain]


def test_requests_are_really_held_in_flight_together(
    speculating: tuple[Driver, Speculation],
) -> None:
    driver, speculation = speculating
    traces = driver.run(speculation, batch_size=2, sampling=Sampling(24, ignore_eos=True))
    edges = sorted([(t.submitted, 1) for t in traces] + [(t.times[-1], -1) for t in traces])
    live, most = 0, 0
    for _, change in edges:
        live += change
        most = max(most, live)
    assert most == 2


def test_ngram_steps_without_a_draft_count_as_steps(
    speculating: tuple[Driver, Speculation],
) -> None:
    """vLLM's own average leaves them out, so it reads higher than the acceptance length."""
    driver, speculation = speculating
    traces = driver.run(speculation, sampling=Sampling(32))
    turns = [Turn(t.request_id, "x", 0, t) for t in traces]
    ours = micro_al(request_traces(turns)).value
    drafting = sum(len(t.drafted) for t in traces)
    engines = 1 + sum(sum(t.accepted) for t in traces) / drafting
    steps = sum(len(t.steps) for t in traces)
    if speculation.method == "ngram":
        assert drafting < steps
        assert engines > ours
    else:
        assert drafting == steps
        assert engines == pytest.approx(ours, abs=0.2)


def test_score_returns_the_targets_log_probabilities(
    speculating: tuple[Driver, Speculation], plain: list[Trace], tokenizer: object
) -> None:
    prompt = tokenizer.render([{"role": "user", "content": "Why is the sky blue?"}])
    chosen = plain[-1].token_ids[0]
    score = speculating[0].engine.score([*prompt, chosen], len(prompt), [chosen, 17])
    assert score.top_token == chosen
    assert score.logprobs[17] < score.logprobs[chosen]


def test_a_head_without_its_vocabulary_map_is_refused_before_loading(tmp_path: Path) -> None:
    head = json.loads((HEAD / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(head), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(EngineError, match="no 'd2t' map"):
        open_engine(config(Speculation("eagle3", 3, str(tmp_path))), TIMEOUT)


def test_a_missing_model_is_one_clear_error() -> None:
    broken = EngineConfig("vllm", "/no/such/model", Speculation(), 1, args=ARGS)
    with pytest.raises(EngineError, match="vLLM does not start with model '/no/such/model'"):
        open_engine(broken, TIMEOUT)


def test_keys_of_vllm_are_passed_through() -> None:
    given = config(NGRAM, ("speculative.prompt_lookup_max", 7))
    assert speculative_config(given) == {
        "method": "ngram",
        "num_speculative_tokens": 3,
        "prompt_lookup_max": 7,
        "prompt_lookup_min": 2,
    }
