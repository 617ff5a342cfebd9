"""A configuration of ours → arguments of TensorRT-LLM's ``LLM``, and what must be refused.

Plain dictionaries, which ``trtllm-serve`` takes as its options file and
:mod:`~.tensorrt_llm.backend` turns into TensorRT-LLM's own classes. Names move between
releases: where two are in use, the installed package's source says which it has
(``tensorrt_llm/llmapi/llm_args.py``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.installed import source_of
from pytest_speedbench.engines.library_or_server import OURS, serves
from pytest_speedbench.engines.methods import own_names, traits
from pytest_speedbench.engines.protocol import EngineConfig
from pytest_speedbench.errors import EngineError

_TYPES = re.compile(r"decoding_type\s*:\s*Literal\[\s*[\"'](\w+)[\"']")
# Drafted outside the target's graph in many releases: the documents want no overlap scheduler.
_WITHOUT_OVERLAP = ("ngram", "draft_model")

_PREFIX = "speculative."
_SAID = {
    "model": "--speed-model",
    "speculative_config": "--speed-method, and its keys as speculative.KEY=VALUE",
    "speculative.decoding_type": "--speed-method",
    "speculative.max_draft_len": "--speed-dl",
    "speculative.num_nextn_predict_layers": "--speed-dl",
    "speculative.speculative_model": "--speed-drafter",
    "speculative.speculative_model_dir": "--speed-drafter",
}
_CHANGES_ITSELF = {
    "max_concurrency": "switches speculation off at larger batches",
    "draft_len_schedule": "changes the draft length with the batch",
    "acceptance_window": "switches speculation off for good where acceptance is low",
    "acceptance_length_threshold": "switches speculation off for good where acceptance is low",
    "acceptance_rate_window_size": "switches speculation off for good where acceptance is low",
    "acceptance_rate_threshold": "switches speculation off for good where acceptance is low",
}
_TREES = ("use_dynamic_tree", "dynamic_tree_max_topK", "eagle_choices")


def llm_arguments(config: EngineConfig) -> dict[str, Any]:
    """Keyword arguments of ``LLM`` as plain data; what the user gave wins, dictionaries by key."""
    found: dict[str, Any] = {
        "model": resolve_model(config.model),
        "max_batch_size": config.max_batch,
        # Reused blocks would let later rounds skip the prefill that the first one paid.
        "kv_cache_config": {"enable_block_reuse": False},
        # Graphs for every batch up to the largest; its own default ends earlier.
        "cuda_graph_config": {"max_batch_size": config.max_batch, "enable_padding": True},
    }
    if config.speculation.active:
        found["speculative_config"] = speculative_config(config)
    for name, value in config.args:
        if name in OURS or name.startswith(_PREFIX):
            continue
        ours = found.get(name)
        if isinstance(ours, dict) and isinstance(value, dict):
            found[name] = {**ours, **value}
        else:
            found[name] = value
    return found


def given_speculative(config: EngineConfig) -> dict[str, Any]:
    """Keys that the user gave for the speculative configuration."""
    size = len(_PREFIX)
    return {k[size:]: v for k, v in config.args if k.startswith(_PREFIX)}


def speculative_config(config: EngineConfig) -> dict[str, Any]:
    """The speculative configuration for exactly ``draft_length`` draft tokens a step."""
    speculation = config.speculation
    found: dict[str, Any] = {
        "decoding_type": decoding_type(speculation.method),
        _length_key(speculation.method): speculation.draft_length,
    }
    if speculation.drafter and traits(speculation.method).takes_drafter:
        found[_drafter_key()] = resolve_model(speculation.drafter)
    if speculation.method == "ngram":
        # A pool shared by all requests would find the answers of earlier ones.
        found["is_public_pool"] = False
    return {**found, **given_speculative(config)}


def decoding_type(method: str) -> str:
    """TensorRT-LLM's name for ``method``, of one that is not in the table its own spelling."""
    if method == "eagle3" and not knows(r"^class Eagle3DecodingConfig\b"):
        return "Eagle"
    own = {name.lower(): name for name in own_methods()}
    return own_names("tensorrt-llm").get(method) or own.get(method.lower(), method)


def config_class(method: str) -> str:
    """The class of TensorRT-LLM that holds the configuration of ``method``."""
    return f"{decoding_type(method).replace('_', '')}DecodingConfig"


def own_methods() -> Collection[str]:
    """The decoding types that the installed TensorRT-LLM lists; empty where it is not installed."""
    return frozenset(_TYPES.findall(_source()))


def _drafter_key() -> str:
    return "speculative_model" if knows(r"^\s+speculative_model\s*:") else "speculative_model_dir"


def _length_key(method: str) -> str:
    """MTP's draft length had a name of its own, and ``max_draft_len`` no effect on it."""
    old = method == "mtp" and not knows(r"'num_nextn_predict_layers' is deprecated")
    return "num_nextn_predict_layers" if old else "max_draft_len"


def knows(pattern: str) -> bool:
    """Whether the installed TensorRT-LLM's arguments have ``pattern``; without one, the newest do.

    Its source is read, since importing it takes long and wants a GPU.
    """
    source = _source()
    return not source or re.search(pattern, source, re.MULTILINE) is not None


def _source() -> str:
    return source_of("tensorrt_llm", "llmapi/llm_args.py")


def drafts_a_chain(given: Mapping[str, Any]) -> bool:
    """Whether each draft token follows the one before it, so that all of them can be accepted."""
    return not any(given.get(name) for name in _TREES)


def refuse(config: EngineConfig) -> None:
    """What TensorRT-LLM would only notice after loading, or never.

    Raises:
        EngineError: with the mend.
    """
    serves(config)
    names = [name for name, _ in config.args]
    for name, option in _SAID.items():
        if name in names:
            raise EngineError(f"--speed-engine-arg {name}: say it with {option}")
    for name in given_speculative(config):
        if name in _CHANGES_ITSELF:
            raise EngineError(
                f"speculative.{name} {_CHANGES_ITSELF[name]}, while it is measured: leave it out"
            )
    method = config.speculation.method
    if traits(method).needs_drafter and not config.speculation.drafter:
        raise EngineError(f"method {method} needs a drafter: --speed-drafter PATH")
    if method in _WITHOUT_OVERLAP and not config.url and "disable_overlap_scheduler" not in names:
        raise EngineError(
            f"TensorRT-LLM wants {method} without its overlap scheduler, and then the arm without "
            "SD must have none either: --speed-engine-arg disable_overlap_scheduler=true (or "
            "=false, where your release says otherwise)"
        )
