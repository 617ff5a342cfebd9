"""How tokens are chosen: engines that lack something say so before they start."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace

import pytest

from pytest_speedbench.engines import registry
from pytest_speedbench.engines.protocol import EngineConfig, EngineType, Sampling, Speculation
from pytest_speedbench.engines.registry import check, check_sampling, engine_type
from pytest_speedbench.engines.simulated import TARGET
from pytest_speedbench.engines.simulated_text import drawn_from
from pytest_speedbench.errors import EngineError


def test_a_filter_that_an_engine_lacks_is_refused_by_name() -> None:
    adapter = EngineType("mine", ("none",), lambda config, timeout: None, filters=("top_k",))  # type: ignore[arg-type,return-value]
    config = EngineConfig("mine", "m")
    check_sampling(adapter, config, Sampling(temperature=1.0, top_k=5))
    wanted = "engine 'mine' has no min_p (--speed-min-p); of top_k, top_p, min_p it has: top_k"
    with pytest.raises(EngineError) as found:
        check_sampling(adapter, config, Sampling(temperature=1.0, min_p=0.1))
    assert str(found.value) == wanted


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed", "max_tokens"])
def test_a_field_of_a_request_does_not_stand_in_for_an_option(name: str) -> None:
    """Else two ways of sampling would be one case."""
    config = EngineConfig("openai", "m", url="http://gpu-box:8000", args=((name, 1),))
    option = f"--speed-{name.replace('_', '-')}"
    with pytest.raises(EngineError, match=f"--speed-engine-arg {name}: use {option} instead"):
        check_sampling(engine_type("openai"), config, Sampling())


def test_vllm_has_no_min_p_with_speculation() -> None:
    adapter, how = engine_type("vllm"), Sampling(temperature=1.0, min_p=0.1)
    check_sampling(adapter, EngineConfig("vllm", "m"), how)
    speculating = EngineConfig("vllm", "m", Speculation("ngram", 3))
    with pytest.raises(EngineError, match="vLLM has no min_p with speculation: use --speed-top-p"):
        check_sampling(adapter, speculating, how)


LOSES = """
    torch.ops._C.expand_kernel_impl(
        _ensure_int64(output),
        _ensure_int64(input_val),
    )
"""


@pytest.mark.parametrize(
    ("source", "speculation", "temperature", "url", "refused"),
    [
        (LOSES, Speculation("ngram", 3), 0.7, "", True),
        (LOSES, Speculation("ngram", 3), 0.0, "", False),
        (LOSES, Speculation(), 0.7, "", False),
        (LOSES, Speculation("ngram", 3), 0.7, "http://gpu-box:8000", False),
        (LOSES.replace("_ensure_int64(output)", "output"), Speculation("ngram", 3), 0.7, "", False),
    ],
)
def test_a_cpu_build_that_loses_the_temperature_of_drafts_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    speculation: Speculation,
    temperature: float,
    url: str,
    refused: bool,
) -> None:
    from pytest_speedbench.engines.vllm import arguments

    monkeypatch.setattr(arguments, "cpu_build", lambda: True)
    monkeypatch.setattr(arguments, "source_of", lambda package, module: source)
    config = EngineConfig("vllm-server", "m", speculation, url=url)
    expected = pytest.raises(EngineError, match="verifies drafts without the temperature")
    with expected if refused else nullcontext():
        check_sampling(engine_type("vllm-server"), config, Sampling(temperature=temperature))


def test_draft_sampling_is_refused_where_the_engine_has_no_choice() -> None:
    config = EngineConfig("simulated", "m", Speculation("eagle3", 3, None, "probabilistic"))
    with pytest.raises(EngineError, match="engine 'simulated' has no setting for how"):
        check(config)


@pytest.mark.parametrize(
    ("method", "url", "message"),
    [
        ("eagle3", "http://gpu-box:8000", "the drafter of a running server (http://gpu-box:8000) "),
        ("ngram", "", "method 'ngram' looks its drafts up and chooses no tokens (--speed-draft-"),
    ],
)
def test_draft_sampling_is_refused_where_it_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, method: str, url: str, message: str
) -> None:
    own = replace(engine_type("simulated"), draft_samplings=("greedy",), server=True)
    monkeypatch.setattr(registry, "engine_type", lambda name: own)
    config = EngineConfig("theirs", "m", Speculation(method, 3, None, "greedy"), url=url)
    with pytest.raises(EngineError, match=re.escape(message)):
        check(config)


def test_draft_sampling_is_vllms_draft_sample_method() -> None:
    from pytest_speedbench.engines.vllm.arguments import speculative_config

    speculation = Speculation("eagle3", 3, None, "probabilistic")
    found = speculative_config(EngineConfig("vllm", "m", speculation))
    assert found is not None
    assert found["draft_sample_method"] == "probabilistic"


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ({}, 5),
        ({"top_k": 2}, 2),
        ({"top_p": 0.8}, 3),
        ({"min_p": 0.4}, 3),
        ({"top_k": 4, "top_p": 0.9, "min_p": 0.3}, 3),
    ],
)
def test_the_simulated_engine_filters(how: dict[str, float], kept: int) -> None:
    assert len(drawn_from(TARGET, Sampling(temperature=1.0, **how))) == kept  # type: ignore[arg-type]
