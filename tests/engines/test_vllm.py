"""Real vLLM on the CPU, real SmolLM2, a real EAGLE-3 head: traces against vLLM's own counters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
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
from pytest_speedbench.engines.demo import DEMO_MODEL, demo_folder
from pytest_speedbench.engines.vllm.arguments import speculative_config
from pytest_speedbench.measure.check import check_counters, check_traces
from pytest_speedbench.measure.metrics import request_traces
from pytest_speedbench.measure.results import Turn
from pytest_speedbench.stats import micro_al

from .conftest import HEAD, TIMEOUT, Driver, needs_demo, needs_vllm, started
from .heads import eagle, medusa, target_shape

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
    shape = {"dtype": "BF16", "shape": [head["draft_vocab_size"], head["hidden_size"]]}
    header = json.dumps({"lm_head.weight": {**shape, "data_offsets": [0, 0]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(EngineError, match="no 'd2t' map"):
        open_engine(config(Speculation("eagle3", 3, str(tmp_path))), TIMEOUT)


@pytest.fixture(scope="module")
def drafters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A drafter for each method that takes one: the target itself, and random heads."""
    folder, shape = tmp_path_factory.mktemp("heads"), target_shape(demo_folder())
    return {
        "draft_model": DEMO_MODEL,
        "medusa": str(medusa(folder / "many", shape)),
        "eagle": str(eagle(folder / "first", shape)),
    }


@pytest.mark.parametrize("method", ["draft_model", "medusa", "eagle"])
def test_methods_with_a_drafter_run_and_lose_nothing(
    method: str, drafters: dict[str, str], plain: list[Trace], tokenizer: object
) -> None:
    speculation = Speculation(method, 3, drafters[method])
    engines = started(config(speculation), tokenizer)
    driver = next(engines)
    before = driver.engine.counters()
    traces = driver.run(speculation, batch_size=4)
    grown = driver.engine.counters() - before
    engines.close()
    check_traces(traces, speculation)
    check_counters(traces, speculation, grown)
    assert [t.token_ids for t in traces] == [t.token_ids for t in plain]
    assert grown.draft_tokens == 3 * grown.drafts > 0
    if method == "draft_model":  # the target agrees with itself, but for roundings
        assert grown.accepted_tokens > 0.9 * grown.draft_tokens


def test_a_method_that_the_model_does_not_have_is_one_clear_error() -> None:
    with pytest.raises(EngineError, match=r"(?s)does not start with model 'demo', method 'mtp'"):
        open_engine(config(Speculation("mtp", 1)), TIMEOUT)


def test_a_cache_too_small_for_the_context_is_one_clear_error() -> None:
    small = config(Speculation(), ("kv_cache_memory_bytes", 1 << 20))
    with pytest.raises(EngineError, match=r"(?s)does not start.*(KV cache|cache blocks)"):
        open_engine(small, TIMEOUT)


def test_a_cache_too_small_for_the_batch_size_names_the_fix(tokenizer: object) -> None:
    """Room for 5 blocks of 128 tokens, and four prompts of two blocks each."""
    block = 128 * 30 * 2 * 3 * 64 * 4  # tokens, layers, keys and values, heads, width, float32
    narrow = (("max_model_len", 512), ("dtype", "float32"), ("kv_cache_memory_bytes", 5 * block))
    engines = started(EngineConfig("vllm", DEMO_MODEL, Speculation(), 4, args=narrow), tokenizer)
    driver = next(engines)
    long = tuple(f"{number} " + "word " * 170 for number in range(4))
    try:
        with pytest.raises(EngineError, match=r"too small for this batch size.*--speed-bs"):
            driver.run(Speculation(), batch_size=4, prompts=long)
        assert len(driver.run(Speculation(), batch_size=2, prompts=long)) == 4
    finally:
        engines.close()


def test_killing_pytest_leaves_no_process_of_the_engine(tmp_path: Path) -> None:
    program = (
        "import os, time\n"
        "from pytest_speedbench.engines import EngineConfig, open_engine\n"
        "from pytest_speedbench.engines.process.lifetime import descendants\n"
        "args = (('max_model_len', 256), ('dtype', 'float32'))\n"
        f"engine = open_engine(EngineConfig('vllm', {DEMO_MODEL!r}, args=args), {TIMEOUT})\n"
        "print(*descendants(os.getpid()), flush=True)\n"
        "time.sleep(600)\n"
    )
    # As on a GPU: the engine core and its worker are processes of their own.
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) > 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 30
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < end, f"still alive: {left}"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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
