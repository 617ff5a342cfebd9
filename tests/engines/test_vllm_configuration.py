"""What a record keeps of vLLM's configuration, from its objects and from its JSON."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from pydantic import BaseModel, field_validator

from pytest_speedbench.engines import EngineConfig, Speculation, open_engine
from pytest_speedbench.engines.packages import installed_packages
from pytest_speedbench.engines.vllm.backend import start
from pytest_speedbench.engines.vllm.configuration import configuration, dtype_of
from pytest_speedbench.errors import EngineError

from .serving.fake import serving
from .serving.vllm_fake import MODEL, Vllm


class Mode(Enum):
    NONE = 0


SECTIONS: dict[str, dict[str, Any]] = {
    "model_config": {"max_model_len": 2048, "quantization": None, "dtype": "torch.bfloat16"},
    "cache_config": {"cache_dtype": "auto", "block_size": 128, "enable_prefix_caching": False},
    "parallel_config": {"tensor_parallel_size": 1},
    "scheduler_config": {"max_num_seqs": 4, "policy": "fcfs"},
    "compilation_config": {"mode": Mode.NONE, "static_forward_context": {}},
    "attention_config": {"backend": "FLASH_ATTN", "flash_attn_version": 3},
    "speculative_config": {
        "method": "ngram",
        "model": "ngram",
        "prompt_lookup_min": 2,
        "prompt_lookup_max": None,
        "target_model_config": object(),
        "_cached": 1,
        "draft_model_config": {"dtype": "torch.float32"},
    },
}
KEPT = {
    "max_model_len": 2048,
    "quantization": None,
    "kv_cache_dtype": "auto",
    "block_size": 128,
    "tensor_parallel_size": 1,
    "max_num_seqs": 4,
    "scheduling_policy": "fcfs",
    "compilation_mode": "NONE",
    "attention_backend": "FLASH_ATTN",
    "attention_config": {"flash_attn_version": 3},
    "speculative": {
        "method": "ngram",
        "prompt_lookup_min": 2,
        "prompt_lookup_max": None,
        "draft_model.dtype": "float32",
        "draft_model.quantization": None,
        "draft_model.max_model_len": None,
    },
    "prefix_caching": False,
    "speculative_method": "ngram",
}


def as_objects(sections: dict[str, dict[str, Any]]) -> SimpleNamespace:
    return SimpleNamespace(**{name: SimpleNamespace(**part) for name, part in sections.items()})


@pytest.mark.parametrize("settings", [SECTIONS, as_objects(SECTIONS)], ids=["json", "objects"])
def test_settings_have_the_names_of_their_arguments(settings: Any) -> None:
    assert configuration(settings) == KEPT
    assert dtype_of(settings) == "bfloat16"


def test_without_speculation_and_sections_of_other_versions() -> None:
    found = configuration({"model_config": {"max_model_len": 8}, "cache_config": {}})
    assert found == {
        "max_model_len": 8,
        "prefix_caching": None,
        "attention_backend": None,
        "attention_config": {},
        "speculative": {},
        "speculative_method": "none",
    }


def test_the_backend_that_layers_have_is_the_one_used() -> None:
    layer = SimpleNamespace(attn_backend=SimpleNamespace(get_name=lambda: "CPU_ATTN"))
    compilation = {"static_forward_context": {"layers.0": layer}}
    found = configuration({**SECTIONS, "compilation_config": compilation})
    assert found["attention_backend"] == "CPU_ATTN"


@pytest.mark.parametrize("development", [True, False])
def test_a_server_reports_all_of_it_in_development_mode_alone(development: bool) -> None:
    fake = Vllm()
    if development:
        page = "/server_info?config_format=json"
        speculative = {"method": "eagle3", "num_speculative_tokens": 3}
        fake.script.pages[page] = {
            "vllm_config": {
                "model_config": {"dtype": "torch.bfloat16", "max_model_len": 4096},
                "speculative_config": speculative,
            }
        }
    with serving(fake.script) as url:
        speculation = Speculation("eagle3", 3, "org/head")
        engine = open_engine(EngineConfig("vllm-server", MODEL, speculation, 8, url), 5)
        engine.close()
    info = engine.info
    assert info.details["block_size"] == "16"
    assert info.details["speculative_method"] == ("eagle3" if development else "unknown")
    assert info.dtype == ("bfloat16" if development else "unknown")
    assert ("speculative" in info.details) == development
    assert info.details["max_model_len"] == (4096 if development else 2048)


def test_packages_are_those_that_are_installed() -> None:
    from importlib.metadata import version

    found = installed_packages()
    names = found.keys() - {"cuda", "hip"}
    assert found == {**found, **{name: version(name) for name in names}}
    assert "sglang-of-another-day" not in found


@pytest.mark.parametrize(("method", "verified"), [("synthetic", False), ("block", None)])
def test_drafts_that_are_accepted_at_a_set_rate_are_not_verified(
    method: str, verified: bool | None
) -> None:
    speculative = {**SECTIONS["speculative_config"], "rejection_sample_method": method}
    found = configuration({**SECTIONS, "speculative_config": speculative})
    assert found.get("drafts_verified") is verified


class Refused(BaseModel):
    """A configuration as vLLM checks it."""

    method: Literal["ngram", "mtp"]
    num_speculative_tokens: int

    @field_validator("num_speculative_tokens")
    @classmethod
    def _layers(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"num_speculative_tokens:{value} must be divisible by n_predict=2")
        return value


def test_a_refused_configuration_names_each_setting_and_the_reason() -> None:
    def refuse() -> None:
        Refused.model_validate({"method": "mpt", "num_speculative_tokens": 3})

    config = EngineConfig("vllm", "org/m", Speculation("mtp", 3))
    with pytest.raises(EngineError) as found:
        start(SimpleNamespace(LLM=refuse), {}, config)
    assert str(found.value) == (
        "vLLM does not start with model 'org/m', method 'mtp': method: expected 'ngram' or 'mtp', "
        "got 'mpt'; num_speculative_tokens: num_speculative_tokens:3 must be divisible by "
        "n_predict=2"
    )
