"""vLLM: the library in a child process, and ``vllm serve``, started here or joined.

The library is engine ``vllm``, the server (:mod:`~.vllm.server`) engine ``vllm-server``.
"""

from __future__ import annotations

from pytest_speedbench.engines.methods import methods_of
from pytest_speedbench.engines.process.parent import open_child
from pytest_speedbench.engines.protocol import FILTERS, EngineType
from pytest_speedbench.engines.vllm.arguments import (
    DRAFT_SAMPLINGS,
    SCHEDULES,
    environment,
    own_arguments,
    own_methods,
    refuse,
    refuse_sampling,
)

ENGINE = EngineType(
    name="vllm",
    methods=methods_of("vllm"),
    own_methods=own_methods,
    open=open_child("pytest_speedbench.engines.vllm.backend:VllmBackend", environment),
    requires="vllm",
    extra="vllm",
    scores=True,
    elsewhere=True,
    memory_share="gpu_memory_utilization",
    memory_size="kv_cache_memory_bytes",
    arguments=own_arguments,
    prefix_caching=True,
    schedules=SCHEDULES,
    filters=FILTERS,
    draft_samplings=DRAFT_SAMPLINGS,
    refuse=refuse,
    refuse_sampling=refuse_sampling,
)
