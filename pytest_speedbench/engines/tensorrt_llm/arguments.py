"""An ``EngineConfig`` → arguments of TensorRT-LLM's ``LLM``; configurations that are refused.

Plain dictionaries, which ``trtllm-serve`` takes as its options file and
:mod:`~.tensorrt_llm.backend` turns into TensorRT-LLM's own classes. Names change between releases:
where two are in use, the source of the installed package decides
(``tensorrt_llm/llmapi/llm_args.py``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.drafters import refuse_mismatch
from pytest_speedbench.engines.forms import OURS, serves
from pytest_speedbench.engines.installed import source_of
from pytest_speedbench.engines.methods import own_names, traits
from pytest_speedbench.engines.protocol import EngineConfig
from pytest_speedbench.errors import EngineError

_TYPES = re.compile(r"decoding_type\s*:\s*Literal\[\s*[\"'](\w+)[\"']")
# Many releases draft these outside the target's graph and require the overlap scheduler to be off.
_WITHOUT_OVERLAP = ("ngram", "draft_model")

_PREFIX = "speculative."
_OPTION_FOR = {
    "model": "--speed-model",
    "speculative_config": "--speed-method and speculative.KEY=VALUE",
    "speculative.decoding_type": "--speed-method",
    "speculative.max_draft_len": "--speed-dl",
    "speculative.num_nextn_predict_layers": "--speed-dl",
    "speculative.speculative_model": "--speed-drafter",
    "speculative.speculative_model_dir": "--speed-drafter",
}
_CHANGES_DURING_RUN = {
    "max_concurrency": "switches speculation off at larger batches",
    "draft_len_schedule": "changes the draft length with the batch",
    "acceptance_window": "switches speculation off for good if acceptance is low",
    "acceptance_length_threshold": "switches speculation off for good if acceptance is low",
    "acceptance_rate_window_size": "switches speculation off for good if acceptance is low",
    "acceptance_rate_threshold": "switches speculation off for good if acceptance is low",
}
_TREES = ("use_dynamic_tree", "dynamic_tree_max_topK", "eagle_choices")


def llm_arguments(config: EngineConfig) -> dict[str, Any]:
    """Keyword arguments of ``LLM`` as plain data; those of the user win, in dictionaries by key."""
    found: dict[str, Any] = {
        "model": resolve_model(config.model),
        "max_batch_size": config.max_batch,
        # With block reuse later rounds would skip the prefill of the first round.
        "kv_cache_config": {"enable_block_reuse": False},
        # CUDA graphs for every batch size up to the largest; the default stops earlier.
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
    """The keys of the speculative configuration that the user gave."""
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
        # A pool shared by all requests would find the outputs of earlier ones.
        found["is_public_pool"] = False
    return {**found, **given_speculative(config)}


def decoding_type(method: str) -> str:
    """TensorRT-LLM's name for ``method``, in its own spelling if the table does not have it."""
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
    """In older releases MTP's draft length had its own name, and ``max_draft_len`` no effect."""
    old = method == "mtp" and not knows(r"'num_nextn_predict_layers' is deprecated")
    return "num_nextn_predict_layers" if old else "max_draft_len"


def knows(pattern: str) -> bool:
    """Whether ``pattern`` is in the source of the installed TensorRT-LLM's arguments.

    True if it is not installed: then the names of the newest release are used.
    """
    source = _source()
    return not source or re.search(pattern, source, re.MULTILINE) is not None


def _source() -> str:
    return source_of("tensorrt_llm", "llmapi/llm_args.py")


def drafts_a_chain(given: Mapping[str, Any]) -> bool:
    """Whether drafts are chains, so that all draft tokens of a step can be accepted."""
    return not any(given.get(name) for name in _TREES)


def refuse_values(config: EngineConfig) -> None:
    """Refuses arguments that have an option of their own, or that would make it change its draft
    length, and a ``serve`` that is no switch.

    Raises:
        EngineError: the message names the fix.
    """
    serves(config)
    names = [name for name, _ in config.args]
    for name, option in _OPTION_FOR.items():
        if name in names:
            raise EngineError(f"--speed-engine-arg {name}: use {option} instead")
    for name in given_speculative(config):
        if name in _CHANGES_DURING_RUN:
            raise EngineError(
                f"speculative.{name} {_CHANGES_DURING_RUN[name]}, during the run: leave it out"
            )


def refuse(config: EngineConfig) -> None:
    """Refuses what TensorRT-LLM would notice only after loading, or never.

    Raises:
        EngineError: the message names the fix.
    """
    names = [name for name, _ in config.args]
    method = config.speculation.method
    if traits(method).needs_drafter and not config.speculation.drafter:
        raise EngineError(f"method {method} needs a drafter: --speed-drafter PATH")
    if not config.url:
        refuse_mismatch(config.model, config.speculation)
    if method in _WITHOUT_OVERLAP and not config.url and "disable_overlap_scheduler" not in names:
        raise EngineError(
            f"TensorRT-LLM requires {method} to run without its overlap scheduler, and then the "
            "arm without SD must run without it too: set --speed-engine-arg "
            "disable_overlap_scheduler=true (or =false, if your release supports both)"
        )
