"""Replay on real engines: an equal build adds nothing, another dtype is followed to the end."""

from __future__ import annotations

import logging

import pytest
from simulated_runs import measure_with, record_of

from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.replay import replayed_between
from pytest_speedbench.engines import EngineConfig, Sampling, Speculation, open_engine
from pytest_speedbench.engines.demo import DEMO_MODEL
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.measure.load import ClosedLoop
from pytest_speedbench.measure.run import Run
from pytest_speedbench.measure.tokenizer import HuggingFaceTokenizer
from pytest_speedbench.splits import Sample
from pytest_speedbench.stats.pairing import pair

from .conftest import HEAD, PROMPTS, TIMEOUT, needs_demo, needs_vllm

pytestmark = [needs_demo, pytest.mark.engine, pytest.mark.nightly]

_LOG = logging.getLogger(__name__)
SAMPLES = [
    *(Sample(f"p{n}", "short", (text,)) for n, text in enumerate(PROMPTS)),
    Sample("talk", "talk", ("Name three colours.", "Now name three animals.")),
]
ENGINES = [
    pytest.param("transformers", Speculation("ngram", 3), id="transformers"),
    pytest.param("vllm", Speculation("eagle3", 3, str(HEAD)), id="vllm", marks=needs_vllm),
]


def measured(
    engine: str,
    speculation: Speculation,
    dtype: str,
    tokenizer: HuggingFaceTokenizer,
    baselines: tuple[Record | None, ...],
) -> list[Run]:
    """A run for each baseline, on one engine."""
    args = (("dtype", dtype), *((("max_model_len", 512),) if engine == "vllm" else ()))
    started = open_engine(EngineConfig(engine, DEMO_MODEL, speculation, 4, args=args), TIMEOUT)
    try:
        loop = ClosedLoop(started, tokenizer, Sampling(32), speculation, 512)
        batch_size = engine_type(engine).max_speculative_batch or 4
        return [measure_with(loop, SAMPLES, baseline, batch_size) for baseline in baselines]
    finally:
        started.close()


@pytest.mark.parametrize(("engine", "speculation"), ENGINES)
def test_a_build_is_followed_along_the_baselines_text(
    engine: str, speculation: Speculation, tokenizer: HuggingFaceTokenizer
) -> None:
    (first,) = measured(engine, speculation, "float32", tokenizer, (None,))
    baseline = record_of(first)
    (equal,) = measured(engine, speculation, "float32", tokenizer, (baseline,))
    assert equal.replay is not None
    assert not equal.replay.refused
    (other,) = measured(engine, speculation, "bfloat16", tokenizer, (baseline,))
    new = record_of(other)
    same, found = (replayed_between(baseline, record) for record in (record_of(equal), new))
    assert same is not None
    assert found is not None
    assert equal.replay.requests == same.divergences
    assert other.replay is not None
    assert other.replay.requests > 0
    prefix = pair(traces_of(baseline), traces_of(new)).prefix
    assert prefix is not None
    assert found.sums.coverage > prefix.coverage
    assert found.given_up == 0
    assert 0.7 < found.sums.al_ratio().value < 1.4
    _LOG.info(
        "%s: %d resumed requests; compared %.0f%% by common prefixes, %.0f%% by replay; ratio "
        "of AL %.4f and %.4f",
        engine,
        other.replay.requests,
        100 * prefix.coverage,
        100 * found.sums.coverage,
        prefix.al_ratio().value,
        found.sums.al_ratio().value,
    )
