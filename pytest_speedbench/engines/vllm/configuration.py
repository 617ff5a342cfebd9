"""vLLM's configuration as it was resolved at the start, under the names of its arguments.

Read from a ``VllmConfig``, or from the JSON of one, as a server in development mode sends it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

# Section of the configuration → its field → our name, where that is another one.
_KEPT: Mapping[str, Mapping[str, str]] = {
    "model_config": {
        "max_model_len": "",
        "quantization": "",
        "enforce_eager": "",
        "model_impl": "",
        "disable_sliding_window": "",
        "disable_cascade_attn": "",
        "hf_overrides": "",
        "override_generation_config": "",
        "seed": "",
    },
    "cache_config": {
        "enable_prefix_caching": "prefix_caching",
        "cache_dtype": "kv_cache_dtype",
        "block_size": "",
        "num_gpu_blocks": "kv_blocks",
        "gpu_memory_utilization": "",
        "sliding_window": "",
        "kv_cache_layout": "",
    },
    "parallel_config": {
        "tensor_parallel_size": "",
        "pipeline_parallel_size": "",
        "data_parallel_size": "",
        "decode_context_parallel_size": "",
        "enable_expert_parallel": "",
        "disable_custom_all_reduce": "",
        "distributed_executor_backend": "",
    },
    "scheduler_config": {
        "max_num_seqs": "",
        "max_num_batched_tokens": "",
        "max_num_scheduled_tokens": "",
        "enable_chunked_prefill": "",
        "async_scheduling": "",
        "policy": "scheduling_policy",
        "stream_interval": "",
    },
    "compilation_config": {
        "mode": "compilation_mode",
        "level": "compilation_level",
        "cudagraph_mode": "compilation_cudagraph_mode",
        "backend": "compilation_backend",
        "custom_ops": "compilation_custom_ops",
        "cudagraph_capture_sizes": "",
        "use_inductor_graph_partition": "",
    },
    "kernel_config": {"moe_backend": "", "linear_backend": "", "enable_flashinfer_autotune": ""},
    "": {"use_v2_model_runner": "v2_model_runner", "optimization_level": ""},
}
_DRAFT_MODEL = ("dtype", "quantization", "max_model_len")
_BACKEND = "attention_backend"
_MISSING = object()


def configuration(settings: Any) -> dict[str, object]:
    """What of ``settings`` decides about speed and acceptance; None is a setting that is not set,
    and one that this version does not have is missing."""
    found: dict[str, object] = {"prefix_caching": None}
    for section, names in _KEPT.items():
        part = _get(settings, section) if section else settings
        for field, name in names.items():
            value = _get(part, field, _MISSING)
            if value is not _MISSING:
                found[name or field] = _plain(value)
    attention = dict(_scalars(_get(settings, "attention_config")))
    chosen = _attention_backend(settings) or attention.pop("backend", None)
    speculative = _get(settings, "speculative_config")
    return {
        **found,
        _BACKEND: chosen,
        "attention_config": attention,
        "speculative": _speculative(speculative),
        **verification(_get(speculative, "rejection_sample_method")),
        "speculative_method": str(_get(speculative, "method") or "none"),
    }


def verification(method: object) -> dict[str, object]:
    """That drafts are not verified, where vLLM accepts them at a rate that was set."""
    return {"drafts_verified": False} if method == "synthetic" else {}


def dtype_of(settings: Any) -> str:
    """The type of weights and logits, such as ``bfloat16``."""
    return str(_get(_get(settings, "model_config"), "dtype")).removeprefix("torch.")


def _speculative(settings: Any) -> dict[str, object]:
    """Every plain field, by the names of ``speculative.KEY=VALUE``; the drafter's weights are
    identified elsewhere."""
    found = dict(_scalars(settings))
    found.pop("model", None)
    draft = _get(settings, "draft_model_config")
    if draft is not None:
        found |= {f"draft_model.{name}": _plain(_get(draft, name)) for name in _DRAFT_MODEL}
    return found


def _scalars(part: Any) -> Iterator[tuple[str, object]]:
    fields = part if isinstance(part, Mapping) else getattr(part, "__dict__", {})
    for name, value in fields.items():
        plain = _plain(value)
        hidden = name.startswith("_") or name.endswith("_config")
        if not hidden and (plain is not None or value is None):
            yield name, plain


def _plain(value: Any) -> object:
    """``value`` as JSON; None where it is not a plain value."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, str) or type(value).__name__ == "dtype":
        return str(value).removeprefix("torch.")
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [plain for item in value if (plain := _plain(item)) is not None]
    if not isinstance(value, Mapping):
        return None
    items = ((str(key), _plain(item)) for key, item in value.items())
    return {key: plain for key, plain in items if plain is not None} or None


def _get(part: Any, name: str, default: object = None) -> Any:
    return part.get(name, default) if isinstance(part, Mapping) else getattr(part, name, default)


def _attention_backend(settings: Any) -> str | None:
    """The backend that vLLM chose, where the model is in this process."""
    layers = _get(_get(settings, "compilation_config"), "static_forward_context") or {}
    for layer in layers.values() if isinstance(layers, Mapping) else ():
        chosen = getattr(layer, "attn_backend", None)
        if chosen is not None:
            return str(chosen.get_name())
    return None


def environment_variables() -> dict[str, str]:
    """The variables of this process that vLLM reads."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith("VLLM_")}
