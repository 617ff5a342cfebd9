"""An ``EngineConfig`` → arguments and environment of vLLM; configurations that are refused.

The library and ``vllm serve`` take the same arguments. Nothing here imports vLLM.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.drafters import refuse_mismatch
from pytest_speedbench.engines.installed import class_fields, literal_values, source_of
from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import EngineConfig, Sampling
from pytest_speedbench.errors import EngineError

# vLLM's limit (vllm/v1/sample/rejection_sampler.py, MAX_SPEC_LEN).
_MAX_DRAFT_LENGTH = 128
# ``speculative.KEY=VALUE`` goes into vLLM's speculative configuration.
_PREFIX = "speculative."
SCHEDULES = (f"{_PREFIX}num_speculative_tokens_per_batch_size",)
DRAFT_SAMPLINGS = ("greedy", "probabilistic")
# The argument for acceptance with each request; older versions do not have it.
PER_REQUEST_METRICS = "per_request_spec_decode_metrics"


def engine_arguments(config: EngineConfig, *, on_cpu: bool) -> dict[str, Any]:
    """Keyword arguments of ``vllm.LLM``; those that the user gave take precedence."""
    given = {k: v for k, v in config.args if not k.startswith(_PREFIX)}
    arguments: dict[str, Any] = {
        "model": resolve_model(config.model),
        "max_num_seqs": config.max_batch,
        # With a prefix cache later rounds skip the prefill of the first round.
        "enable_prefix_caching": config.prefix_caching,
        "disable_log_stats": False,
        "skip_tokenizer_init": True,
        "seed": 0,
        **({"enforce_eager": True} if on_cpu else {}),
    }
    if speculative := speculative_config(config):
        arguments["speculative_config"] = speculative
    return {**arguments, **given}


def speculative_config(config: EngineConfig) -> dict[str, Any] | None:
    """vLLM's ``speculative_config``, with the keys given as ``speculative.KEY=VALUE``."""
    speculation = config.speculation
    if not speculation.active:
        return None
    result: dict[str, Any] = {
        "method": speculation.method,
        "num_speculative_tokens": speculation.draft_length,
    }
    if speculation.drafter:
        result["model"] = resolve_model(speculation.drafter)
    if speculation.draft_sampling:
        result["draft_sample_method"] = speculation.draft_sampling
    if speculation.method == "ngram":
        result |= {"prompt_lookup_max": 4, "prompt_lookup_min": 2}
    prefix = len(_PREFIX)
    given = {k[prefix:]: v for k, v in config.args if k.startswith(_PREFIX)}
    return {**result, **given}


def own_arguments(config: EngineConfig) -> Collection[str] | None:
    """The engine arguments of the installed vLLM; None where it is not installed."""
    names = class_fields(source_of("vllm", "engine/arg_utils.py"), "EngineArgs", "AsyncEngineArgs")
    return {*names, f"{_PREFIX}*"} if "model" in names else None


def serve_arguments() -> Collection[str]:
    """The arguments of the installed ``vllm serve`` itself; empty where they are not found."""
    module = "entrypoints/launchers/cli_args.py"
    return class_fields(source_of("vllm", module), "BaseFrontendArgs", "FrontendArgs")


def has_argument(name: str) -> bool:
    """Whether the installed vLLM has the engine argument ``name``."""
    return name in source_of("vllm", "engine/arg_utils.py")


def environment(config: EngineConfig) -> dict[str, str]:
    """Environment variables of the child process; those that the user has set are kept."""
    wanted = {"VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
    if cpu_build():
        wanted |= {
            # One process: no queue between the client and the engine core.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            # It would override the argument.
            **({} if config.option("kv_cache_memory_bytes") else {"VLLM_CPU_KVCACHE_SPACE": "2"}),
        }
        if library := _openmp():
            wanted["LD_PRELOAD"] = library
    return {name: value for name, value in wanted.items() if name not in os.environ}


def cpu_build() -> bool:
    """Whether the CPU build of vLLM is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return bool(version("vllm-cpu"))
    except PackageNotFoundError:
        return False


def _openmp() -> str | None:
    """Intel's OpenMP runtime, if it is installed: vLLM on a CPU is twice as fast with it."""
    beside = Path(sys.prefix) / "lib" / "libiomp5.so"
    return str(beside) if beside.exists() else ctypes.util.find_library("iomp5")


def own_methods() -> Collection[str]:
    """The methods that the installed vLLM lists; empty where it is not installed."""
    return literal_values(source_of("vllm", "config/speculative.py"), "SpeculativeMethod")


def refuse_sampling(config: EngineConfig, sampling: Sampling) -> None:
    """Refuses what vLLM would refuse with the first request, and what it gets wrong."""
    if not config.speculation.active:
        return
    if sampling.min_p:
        raise EngineError("vLLM has no min_p with speculation: use --speed-top-p or --speed-top-k")
    here = not (config.url or config.python)
    if here and not sampling.greedy and cpu_build() and _verifies_without_temperature():
        raise EngineError(
            "the installed vLLM's CPU build verifies drafts without the temperature, top_p and "
            "top_k of the request (it reads memory that nothing has written): use "
            "--speed-temperature 0, or a GPU"
        )


def _verifies_without_temperature() -> bool:
    """Whether the CPU kernel that gives each draft token the settings of its request writes them
    into a converted copy of its output, as in vLLM 0.32."""
    source = " ".join(source_of("vllm", "utils/cpu_triton_utils.py").split())
    return "expand_kernel_impl( _ensure_int64(output)," in source


def refuse(config: EngineConfig) -> None:
    """Refuses what vLLM would notice only after loading, or never."""
    speculation = config.speculation
    if not speculation.active:
        return
    if speculation.draft_length > _MAX_DRAFT_LENGTH:
        raise EngineError(
            f"vLLM drafts at most {_MAX_DRAFT_LENGTH} tokens per step, got "
            f"dl={speculation.draft_length}"
        )
    method = str(config.option(f"{_PREFIX}method", speculation.method))
    if traits(method).needs_drafter and not speculation.drafter:
        raise EngineError(f"method {method} needs a drafter: --speed-drafter PATH")
    if method == "suffix" and not importlib.util.find_spec("arctic_inference"):
        raise EngineError("method suffix needs: pip install arctic-inference==0.1.1")
    if method == "ngram_gpu" and cpu_build():
        raise EngineError("vLLM's CPU build has no ngram_gpu: use --speed-method ngram")
    mapped = config.option(f"{_PREFIX}use_heterogeneous_vocab") is True
    refuse_mismatch(config.model, speculation, any_vocabulary=mapped)
